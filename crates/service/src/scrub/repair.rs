//! Repairing a damaged artifact from a copy: the copy is verified while it is read in, and takes the damaged one's place only
//! then.

use std::io::{self, Read};

use seedhouse_core::{Digest, Entry, Error, Examination, Progress, Result};

use super::{Scrub, files_of};

/// What became of a damaged artifact.
pub(super) enum Outcome {
    /// It is whole again.
    Repaired,
    /// Nobody said from where to repair.
    NoSource,
    /// It is as it was, and why.
    NotRepaired(String),
}

impl Scrub<'_> {
    /// Repairs a damaged artifact if there is an intact copy.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and those of the metadata store; what is wrong with the copy is an outcome.
    pub(super) fn repair(&mut self, digest: &Digest) -> Result<Outcome> {
        let Some(source) = &self.source else { return Ok(Outcome::NoSource) };
        let staged = match source.open(digest) {
            Ok(Some(copy)) => {
                let mut copy = Cancellable { copy, progress: self.progress };
                self.service.artifacts.stage(&format!("copy of {digest}"), &mut copy)
            }
            Ok(None) => return Ok(Outcome::NotRepaired("there is no copy".into())),
            Err(error) => Err(error),
        };
        self.progress.check()?;
        let staged = match staged {
            Ok(staged) if staged.digest() == *digest => staged,
            Ok(staged) => {
                return Ok(Outcome::NotRepaired(format!("the copy is damaged, too: it hashes to {}", staged.digest())));
            }
            Err(error) => return Ok(Outcome::NotRepaired(told(digest, &error))),
        };
        let owners = self.owners(digest)?;
        self.unlink(&owners)?;
        let replaced = self.service.artifacts.replace(digest, staged);
        // In any case: the names must not stay away.
        self.link(&owners)?;
        if let Err(error) = replaced {
            return Ok(Outcome::NotRepaired(told(digest, &error)));
        }
        for entry in owners {
            let files = files_of(&entry)?.into_iter().filter(|file| file.digest == *digest);
            let whole = files.map(|file| file.path).collect();
            self.unmark(Examination { model_id: entry.record.model_id, damaged: Vec::new(), whole })?;
        }
        Ok(Outcome::Repaired)
    }

    fn owners(&self, digest: &Digest) -> Result<Vec<Entry>> {
        let ids = self.needed_by.get(digest).into_iter().flatten();
        ids.map(|model_id| self.service.store.version_even_deleted(model_id)).collect()
    }

    /// A conventional name is a link to the damaged bytes and would keep naming them; as a stranger's file it would be set aside.
    fn unlink(&self, owners: &[Entry]) -> Result<()> {
        for entry in owners {
            if let Some(manifest) = entry.record.manifest()?
                && let Err(error) = self.service.artifacts.unlink(&entry.record, &manifest)
            {
                // Linking sets aside what stands in its way.
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot take a name from damaged bytes");
            }
        }
        Ok(())
    }

    fn link(&self, owners: &[Entry]) -> Result<()> {
        for entry in owners {
            if let Some(manifest) = entry.record.manifest()? {
                self.service.link(entry, &manifest);
            }
        }
        Ok(())
    }
}

/// Says why there was no repair. The causes are for the log: a report is for everybody who may read.
fn told(digest: &Digest, error: &Error) -> String {
    tracing::warn!(%digest, error = error as &dyn std::error::Error, "cannot repair an artifact");
    match error {
        Error::Io { action, .. } => format!("the system cannot {action} it; the log says more"),
        error => error.to_string(),
    }
}

/// Reading a large copy ends where the scrub should.
struct Cancellable<'p> {
    copy: Box<dyn Read>,
    progress: &'p dyn Progress,
}

impl Read for Cancellable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.copy.read(buffer)
    }
}
