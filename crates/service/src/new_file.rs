//! A file that is made for somebody, such as a backup: written under a temporary name, synced, and given its name when it is
//! whole. A name that is taken is not written over, unless what stands there is another making of the same.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, DigestWriter, Error, Result};
use tempfile::NamedTempFile;

/// The data goes to the disk in pieces of this size. Left to itself the system writes gigabytes at once, and the commits of
/// the metadata beside it wait for that.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// What stands behind the name of a file that is not whole, before letters of chance.
pub(crate) const PARTIAL: &str = ".partial-";

/// A file that is being written. Dropping it removes what there is.
pub(crate) struct NewFile {
    path: PathBuf,
    if_taken: IfTaken,
    file: DigestWriter<NamedTempFile>,
    handle: File,
    unsynced: u64,
}

/// What to do with what has the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfTaken {
    /// It stays, and nothing is made.
    Refuse,
    /// It goes.
    Replace,
}

/// A file that stands under its name.
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
    pub(crate) digest: Digest,
}

impl NewFile {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when something has the name.
    pub(crate) fn create(path: PathBuf) -> Result<NewFile> {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(taken(&path));
        }
        NewFile::begin(path, IfTaken::Refuse)
    }

    /// Begins a file that takes the place of what is called `path`, once it is whole.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn replacing(path: PathBuf) -> Result<NewFile> {
        NewFile::begin(path, IfTaken::Replace)
    }

    fn begin(path: PathBuf, if_taken: IfTaken) -> Result<NewFile> {
        let name = path.file_name().ok_or_else(|| Error::invalid("output", path.display(), "must name a file"))?;
        let prefix = format!("{}{PARTIAL}", name.to_string_lossy());
        let folder = folder_of(&path);
        let failed = || Error::io("create a file in", folder);
        let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).map_err(failed())?;
        let handle = file.as_file().try_clone().map_err(failed())?;
        Ok(NewFile { path, if_taken, file: DigestWriter::new(file), handle, unsynced: 0 })
    }

    /// Returns the name that it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name was taken meanwhile.
    pub(crate) fn finish(self) -> Result<Written> {
        self.finish_if(|_| Ok(()))
    }

    /// The same, if what was written has the right digest.
    ///
    /// # Errors
    /// Those of [`finish`](NewFile::finish) and of `check`; nothing is left behind then.
    pub(crate) fn finish_if(self, check: impl FnOnce(Digest) -> Result<()>) -> Result<Written> {
        let NewFile { path, if_taken, file, handle, .. } = self;
        let (file, digest, size_bytes) = file.finish();
        check(digest)?;
        handle.sync_all().map_err(Error::io("sync", file.path()))?;
        let named = match if_taken {
            IfTaken::Refuse => file.persist_noclobber(&path),
            IfTaken::Replace => file.persist(&path),
        };
        named.map_err(|refused| match refused.error.kind() {
            ErrorKind::AlreadyExists => taken(&path),
            _ => Error::io("name", &path)(refused.error),
        })?;
        let folder = folder_of(&path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync the folder", folder))?;
        Ok(Written { path, size_bytes, digest })
    }
}

impl Write for NewFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.unsynced += written as u64;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.handle.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

pub(crate) fn taken(path: &Path) -> Error {
    Error::invalid("output", path.display(), "exists already, and no file is replaced")
}
