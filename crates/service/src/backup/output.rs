//! The file of a backup: written under a temporary name, synced, and given its name when it is whole. A name that is taken
//! is never written over.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, DigestWriter, Error, Result};
use tempfile::NamedTempFile;

/// The data goes to the disk in pieces of this size. Left to itself the system writes gigabytes at once, and the commits of
/// the metadata beside it wait for that.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// A file that is being written. Dropping it removes what there is.
pub(super) struct Output {
    path: PathBuf,
    file: DigestWriter<NamedTempFile>,
    handle: File,
    unsynced: u64,
}

/// A file that stands under its name.
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) digest: Digest,
}

impl Output {
    /// Begins a file that will be called `path`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when something has the name.
    pub(super) fn create(path: PathBuf) -> Result<Output> {
        if fs::symlink_metadata(&path).is_ok() {
            return Err(taken(&path));
        }
        let name = path.file_name().ok_or_else(|| Error::invalid("output", path.display(), "must name a file"))?;
        let prefix = format!("{}.partial-", name.to_string_lossy());
        let folder = folder_of(&path);
        let failed = || Error::io("create a file in", folder);
        let file = tempfile::Builder::new().prefix(&prefix).tempfile_in(folder).map_err(failed())?;
        let handle = file.as_file().try_clone().map_err(failed())?;
        Ok(Output { path, file: DigestWriter::new(file), handle, unsynced: 0 })
    }

    /// Returns the name that it will have.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name was taken meanwhile.
    pub(super) fn finish(self) -> Result<Written> {
        let Output { path, file, handle, .. } = self;
        let (file, digest, size_bytes) = file.finish();
        handle.sync_all().map_err(Error::io("sync", file.path()))?;
        file.persist_noclobber(&path).map_err(|refused| match refused.error.kind() {
            ErrorKind::AlreadyExists => taken(&path),
            _ => Error::io("name", &path)(refused.error),
        })?;
        let folder = folder_of(&path);
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("sync the folder", folder))?;
        Ok(Written { path, size_bytes, digest })
    }
}

impl Write for Output {
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

fn taken(path: &Path) -> Error {
    Error::invalid("output", path.display(), "exists already, and a backup never replaces a file")
}
