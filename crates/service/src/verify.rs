//! Verifying: hash the stored bytes again and compare with the record.

use std::collections::HashMap;

use seedhouse_core::{Digest, Entry, Error, ManifestPath, ModelId, Reference, Result};

use crate::Service;

/// One file of one version, hashed again.
#[derive(Debug, Clone)]
pub struct VerifiedFile {
    /// The version.
    pub model_id: ModelId,
    /// The file within it.
    pub path: ManifestPath,
    /// Its length, as the manifest says.
    pub size_bytes: u64,
    /// Its digest, as the manifest says.
    pub expected: Digest,
    /// What was found.
    pub finding: Finding,
}

/// What verification found.
#[derive(Debug, Clone)]
pub enum Finding {
    /// The bytes are those of the record.
    Intact,
    /// The bytes have another digest.
    Corrupt {
        /// The digest that they have.
        actual: Digest,
    },
    /// The bytes are gone.
    Missing,
    /// The bytes cannot be read.
    Unreadable(Error),
}

impl Finding {
    /// Returns whether the bytes are those of the record.
    pub fn is_intact(&self) -> bool {
        matches!(self, Finding::Intact)
    }
}

impl VerifiedFile {
    /// Returns the error that this file is, if it is not intact.
    pub fn error(&self) -> Option<Error> {
        let (model_id, path, expected) = (self.model_id.to_string(), self.path.to_string(), self.expected);
        match &self.finding {
            Finding::Intact => None,
            Finding::Corrupt { actual } => Some(Error::DigestMismatch { model_id, path, expected, actual: *actual }),
            Finding::Unreadable(error) => Some(error.clone()),
            Finding::Missing => Some(Error::MissingBytes { model_id, path, expected }),
        }
    }
}

impl Service {
    /// Hashes the files of the given versions, or of all when none is given, and reports each.
    ///
    /// Bytes that several versions share are read once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a reference. Corrupt, missing and unreadable files are findings, not errors.
    pub fn verify(&self, references: &[Reference], report: &mut dyn FnMut(VerifiedFile)) -> Result<()> {
        let entries = match references {
            [] => self.store.shown()?,
            references => references.iter().map(|reference| self.store.version(reference)).collect::<Result<_>>()?,
        };
        let mut seen = HashMap::new();
        entries
            .iter()
            .try_for_each(|entry| self.verify_entry(entry, &mut seen, &|digest| self.artifacts.rehash(digest), report))
    }

    fn verify_entry(
        &self,
        entry: &Entry,
        seen: &mut HashMap<Digest, Finding>,
        rehash: &dyn Fn(&Digest) -> Result<Digest>,
        report: &mut dyn FnMut(VerifiedFile),
    ) -> Result<()> {
        let Some(manifest) = entry.record.manifest()? else { return Ok(()) };
        for file in manifest.files() {
            let finding = match seen.get(&file.digest) {
                Some(finding) => finding.clone(),
                None => finding(&file.digest, rehash(&file.digest)),
            };
            seen.insert(file.digest, finding.clone());
            report(VerifiedFile {
                model_id: entry.record.model_id.clone(),
                path: file.path.clone(),
                size_bytes: file.size_bytes,
                expected: file.digest,
                finding,
            });
        }
        Ok(())
    }

    /// Verifies the files of a version that may have changed since they were last found intact, and stops at the first that is not.
    pub(crate) fn require_intact(&self, entry: &Entry) -> Result<()> {
        let mut first = None;
        let rehash = |digest: &Digest| self.artifacts.rehash_if_touched(digest);
        self.verify_entry(entry, &mut HashMap::new(), &rehash, &mut |file| {
            first = first.take().or_else(|| file.error());
        })?;
        first.map_or(Ok(()), Err)
    }
}

fn finding(expected: &Digest, found: Result<Digest>) -> Finding {
    match found {
        Ok(actual) if actual == *expected => Finding::Intact,
        Ok(actual) => Finding::Corrupt { actual },
        Err(Error::NotFound { .. }) => Finding::Missing,
        // One bad sector must not hide what the other files are.
        Err(error) => Finding::Unreadable(error),
    }
}
