//! Model files as memory. The one place of the workspace with `unsafe`.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};
use seedhouse_core::{Error, Result};

/// A file whose pages are read when they are first touched, and shared with every other process that maps it.
#[derive(Debug)]
pub(crate) struct MappedFile {
    /// `None` for an empty file, which systems refuse to map.
    pages: Option<Mmap>,
}

impl MappedFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened or mapped.
    #[expect(unsafe_code, reason = "a map is unsafe because nothing stops others from changing the file")]
    pub(crate) fn open(path: &Path) -> Result<MappedFile> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        if file.metadata().map_err(Error::io("read the length of", path))?.len() == 0 {
            return Ok(MappedFile { pages: None });
        }
        // SAFETY: the bytes must not change while they are mapped. This program writes a file once, closes it, and only then lets
        // a runtime see it, as an upload that is being registered or as a blob of the artifact store; afterwards it renames, links
        // or removes it, which leaves mapped pages as they are, and never writes to it again. A plan of `plan/stored` is written under
        // another name, and replaced by renaming. What remains is somebody else:
        // a blob and its file under the model's own name are one inode, and who may write there can change the bytes below the checks
        // or cut the file, after which touching a missing page ends the process with SIGBUS. The folder of a registry must
        // therefore be writable for nobody but those who run it.
        let pages = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Ok(MappedFile { pages: Some(pages) })
    }

    /// Gives the pages that were read back to the system, which reads them again when they are touched: what only had to be
    /// read once does not count as this process's memory any longer.
    #[expect(unsafe_code, reason = "the advice would lose what somebody wrote into a private map")]
    pub(crate) fn forget_pages(&self) {
        let Some(pages) = &self.pages else { return };
        // SAFETY: nothing can be written through this map. It shows a file whose bytes do not change, as `open` says, so whoever
        // reads it meanwhile or later finds the same bytes in fresh pages.
        let forgotten = unsafe { pages.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Pages that stay are a matter of memory, not of what is computed.
        if let Err(error) = forgotten {
            tracing::debug!(%error, "the system keeps the pages of a file");
        }
    }

    /// Copies bytes that are in no file.
    ///
    /// # Errors
    /// [`Error::Internal`] when there is no memory.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<MappedFile> {
        let failed = |error: std::io::Error| Error::Internal(format!("cannot map {} bytes: {error}", bytes.len()));
        if bytes.is_empty() {
            return Ok(MappedFile { pages: None });
        }
        let mut pages = memmap2::MmapMut::map_anon(bytes.len()).map_err(failed)?;
        pages.copy_from_slice(bytes);
        Ok(MappedFile { pages: Some(pages.make_read_only().map_err(failed)?) })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.pages.as_deref().unwrap_or_default()
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_file_is_an_empty_slice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(MappedFile::open(file.path()).unwrap().is_empty());
    }

    #[test]
    fn missing_file_is_named() {
        let error = MappedFile::open(Path::new("no-such-file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `no-such-file`");
    }
}
