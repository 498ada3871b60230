//! Reading an archive: the caller says what it expects next, and anything else is refused.

use std::io::Read;

use seedhouse_core::{ArtifactStore, Digest, Error, Progress, Result, StagedArtifact};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::tar_reader::TarReader;
use super::watched::Watched;
use super::{BlobEntry, compression, digest_entry, digest_line, failure};

/// Reads an archive in one pass, without knowing its length.
pub struct ArchiveReader<'a> {
    what: String,
    tar: TarReader<'a>,
}

impl<'a> ArchiveReader<'a> {
    /// Begins to read an archive, which errors call `what`.
    ///
    /// # Errors
    /// [`Error::BrokenUpload`] when `from` fails.
    pub fn open(what: &str, from: &'a mut dyn Read) -> Result<ArchiveReader<'a>> {
        let source = compression::source(what, from)?;
        Ok(ArchiveReader { what: what.to_owned(), tar: TarReader::new(what, source) })
    }

    /// Reads a document and checks its digest, which follows it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when something else stands there, [`Error::TooLarge`] when it is longer than `most_bytes`,
    /// [`Error::CorruptTransfer`] naming both digests.
    pub fn document(&mut self, name: &str, most_bytes: u64) -> Result<Vec<u8>> {
        let text = self.short_entry(name, most_bytes)?;
        let (actual, line) = (Digest::of(&text), digest_entry(name));
        let said = self.short_entry(&line, digest_line(name, &actual).len() as u64)?;
        if said != digest_line(name, &actual).as_bytes() {
            let said = String::from_utf8_lossy(&said[..said.len().min(64)]).escape_debug().to_string();
            return Err(Error::CorruptTransfer {
                what: format!("`{name}` of {}", self.what),
                reason: format!("`{line}` says sha256:{said}, its bytes are {actual}"),
            });
        }
        Ok(text)
    }

    /// Begins a further entry of the use case, which must come next and have this size. Its bytes are not checked.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming what stands there instead.
    pub fn entry(&mut self, name: &str, size_bytes: u64) -> Result<impl Read> {
        let actual = self.expect(name)?;
        if actual != size_bytes {
            let reason = format!("entry `{name}` has {actual} bytes, but {size_bytes} are declared");
            return Err(Error::malformed(&self.what, reason));
        }
        Ok(&mut self.tar)
    }

    /// Takes the next blob into the store, where it waits to be published.
    ///
    /// # Errors
    /// [`Error::Malformed`] when something else comes next, [`Error::CorruptTransfer`] naming both digests when its bytes are not
    /// what its name says, [`Error::Cancelled`], and the store's own.
    pub fn stage_blob(
        &mut self,
        artifacts: &dyn ArtifactStore,
        blob: &BlobEntry,
        progress: &dyn Progress,
    ) -> Result<Box<dyn StagedArtifact>> {
        let name = blob.name();
        let mut bytes = self.entry(&name, blob.size_bytes)?;
        let mut watched = Watched { from: &mut bytes, progress };
        let staged = artifacts.stage(&name, &mut watched).map_err(failure::cause_of)?;
        drop(bytes);
        if staged.digest() != blob.digest {
            return Err(Error::CorruptTransfer {
                what: format!("blob {} of {}", blob.digest, self.what),
                reason: format!("its bytes hash to {}", staged.digest()),
            });
        }
        Ok(staged)
    }

    /// Checks that the archive ends here.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is cut off, or goes on.
    pub fn finish(mut self) -> Result<()> {
        match self.tar.next()? {
            None => Ok(()),
            Some(entry) => {
                let reason = format!("entry `{}` stands where it should end", entry.name);
                Err(Error::malformed(&self.what, reason))
            }
        }
    }

    /// Returns the size of the next entry, which must have this name.
    fn expect(&mut self, name: &str) -> Result<u64> {
        match self.tar.next()? {
            Some(entry) if entry.name.as_str() == name => Ok(entry.size_bytes),
            Some(entry) => {
                let reason = format!("entry `{}` stands where `{name}` should", entry.name);
                Err(Error::malformed(&self.what, reason))
            }
            None => Err(Error::malformed(&self.what, format!("it ends where `{name}` should stand"))),
        }
    }

    /// Reads an entry whole. Memory grows with what is really there, whatever the header says.
    fn short_entry(&mut self, name: &str, most_bytes: u64) -> Result<Vec<u8>> {
        let size_bytes = self.expect(name)?;
        if size_bytes > most_bytes {
            return Err(Error::TooLarge {
                what: format!("`{name}` of {}", self.what),
                size: format!("{size_bytes} bytes"),
                limit: format!("{most_bytes} bytes"),
            });
        }
        let mut bytes = Vec::new();
        self.tar.read_to_end(&mut bytes).map_err(|error| failure::unwrap(&self.what, error))?;
        Ok(bytes)
    }
}

/// Reads a document after checking that its `format` and `format_version` are the ones expected, so that an archive of
/// another kind or of a later program is refused by name and not by its first strange field.
///
/// # Errors
/// [`Error::Malformed`] for another format and for a document that is not read; [`Error::Unsupported`] naming both versions.
pub fn check_format<T: DeserializeOwned>(what: &str, text: &[u8], format: &str, format_version: u64) -> Result<T> {
    #[derive(Deserialize)]
    struct Envelope {
        format: String,
        format_version: u64,
    }
    let unreadable = |error: serde_json::Error| Error::malformed(what, error.to_string());
    let envelope: Envelope = serde_json::from_slice(text).map_err(unreadable)?;
    if envelope.format != format {
        let reason = format!("its format is `{}`, not `{format}`", envelope.format.escape_debug());
        return Err(Error::malformed(what, reason));
    }
    if envelope.format_version != format_version {
        return Err(Error::unsupported(
            format!("format version {} of {what}", envelope.format_version),
            format!("this program reads version {format_version} of `{format}`"),
        ));
    }
    serde_json::from_slice(text).map_err(unreadable)
}
