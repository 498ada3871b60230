//! Receiving bytes: a file per upload, locked while its process lives, so that only what nobody owns is swept.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::{Digest, DigestWriter, Error, Result, StagedArtifact};
use tempfile::{NamedTempFile, TempPath};

use super::hashed_copy::{self, BUFFER_BYTES, CopyError, fill};

const PREFIX: &str = "upload-";

/// The folder for bytes that are being received.
pub(super) struct Staging {
    folder: PathBuf,
}

/// Received bytes. The open file keeps the lock, and dropping it removes the file.
pub(super) struct Received {
    path: TempPath,
    #[expect(dead_code, reason = "held, never read")]
    lock: Arc<File>,
    digest: Digest,
    size_bytes: u64,
}

impl Staging {
    /// Makes the folder if needed and removes what a process that is gone has left in it.
    pub(super) fn open(folder: PathBuf) -> Result<Staging> {
        fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                remove_if_abandoned(&entry.path())?;
            }
        }
        Ok(Staging { folder })
    }

    /// Returns whether a path is that of an upload to this folder.
    pub(super) fn holds(&self, path: &Path) -> bool {
        path.parent() == Some(&self.folder)
    }

    /// Copies bytes into a file of their own and hashes them on the way.
    pub(super) fn receive(&self, what: &str, bytes: &mut dyn Read) -> Result<Received> {
        let file = self.locked_file()?;
        let (digest, size_bytes) = hashed_copy::copy(bytes, file.as_file()).map_err(|error| match error {
            CopyError::Read(source) => Error::BrokenUpload { what: what.to_owned(), source: source.into() },
            CopyError::Write(source) => Error::io("write", file.path())(source),
            CopyError::Sync(source) => Error::io("sync", file.path())(source),
        })?;
        let (file, path) = file.into_parts();
        Ok(Received { path, lock: Arc::new(file), digest, size_bytes })
    }

    /// Hashes a file that stands elsewhere on the same disk and gives it a further name here. The first name stays; `lock`
    /// is the file, open and locked.
    pub(super) fn lend(&self, path: &Path, lock: Arc<File>) -> Result<Received> {
        let mut hasher = DigestWriter::new(io::sink());
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        loop {
            match fill(&mut file, &mut buffer).map_err(Error::io("read", path))? {
                0 => break,
                count => hasher.write_all(&buffer[..count]).map_err(Error::io("hash", path))?,
            }
        }
        let (_, digest, size_bytes) = hasher.finish();
        let link = tempfile::Builder::new().prefix(PREFIX).make_in(&self.folder, |name| fs::hard_link(path, name));
        let ((), path) = link.map_err(Error::io("make a link in", &self.folder))?.into_parts();
        Ok(Received { path, lock, digest, size_bytes })
    }

    fn locked_file(&self) -> Result<NamedTempFile> {
        let failed = || Error::io("create a file in", &self.folder);
        loop {
            let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.folder).map_err(failed())?;
            file.as_file().lock().map_err(failed())?;
            // Between the creation and the lock another process may have taken the file for abandoned.
            if file.as_file().metadata().map_err(failed())?.nlink() > 0 {
                return Ok(file);
            }
        }
    }
}

fn remove_if_abandoned(path: &Path) -> Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    match file.try_lock() {
        Ok(()) => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        },
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

impl StagedArtifact for Received {
    fn digest(&self) -> Digest {
        self.digest
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
