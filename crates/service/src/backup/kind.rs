//! What a file is, by its first bytes.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use seedhouse_core::{Error, Kind, Result};

/// The two forms of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackupKind {
    /// Everything, in an archive.
    Archive,
    /// The records alone, in the original system's format.
    Metadata,
}

impl BackupKind {
    /// Looks at a file. What begins like a JSON object is one; everything else must be an archive, which is checked when it
    /// is read.
    pub(crate) fn of(path: &Path) -> Result<BackupKind> {
        let mut first = [0; 16];
        let mut file = open_backup(path)?;
        let count = file.read(&mut first).map_err(Error::io("read", path))?;
        let text = first[..count].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&first[..count]);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => Ok(BackupKind::Metadata),
            _ => Ok(BackupKind::Archive),
        }
    }
}

/// Returns what errors call a backup: where a server keeps it is nobody's business, and whoever named it knows.
pub(super) fn file_name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()
}

/// Opens a file that somebody says is a backup.
pub(super) fn open_backup(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::not_found(Kind::File, path.display()),
        _ => Error::io("read", path)(error),
    })?;
    match file.metadata().map_err(Error::io("look at", path))?.is_file() {
        true => Ok(file),
        // A pipe cannot be read twice, which restoring does.
        false => Err(Error::invalid("backup", path.display(), "must be a plain file")),
    }
}
