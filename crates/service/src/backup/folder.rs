//! The folder of backups below the registry's, and the names of new ones in it.

use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Job, Result, Timestamp};

use super::BackupContent;
use crate::archive::Compression;
use crate::folders::{FolderFile, NamedFolder};
use crate::new_file::NewFile;

/// How many backups may be made within one second.
const MOST_PER_SECOND: u32 = 100;

/// Where backups are kept unless somebody names another place.
#[derive(Debug, Clone)]
pub struct BackupFolder {
    files: NamedFolder,
}

impl BackupFolder {
    /// Returns the folder at `path`, which is made when the first backup is.
    pub fn new(path: PathBuf) -> BackupFolder {
        BackupFolder { files: NamedFolder::new(path, "backup") }
    }

    /// Returns where it is.
    pub fn path(&self) -> &Path {
        self.files.path()
    }

    /// Returns it as a folder of files, for requests that name them in `field`.
    pub(crate) fn files(&self, field: &'static str) -> NamedFolder {
        self.files.about(field)
    }

    /// Returns the path of a backup in this folder; see [`NamedFolder::existing`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere, [`Error::NotFound`] when there is no such file.
    pub fn existing(&self, name: &str) -> Result<PathBuf> {
        self.files.existing(name)
    }

    /// Returns the path that a backup in this folder has or would have.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere.
    pub fn resolve(&self, name: &str) -> Result<PathBuf> {
        self.files.resolve(name)
    }

    /// Returns the backups in it, newest first; the digests beside backups of the records are none themselves.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<FolderFile>> {
        let mut files = self.files.list()?;
        files.retain(|file| !file.name.ends_with(".sha256"));
        Ok(files)
    }

    /// Returns the path of the backup that a job makes.
    pub(crate) fn of_job(&self, job: &Job, content: BackupContent, compression: Compression) -> Result<PathBuf> {
        let (stem, extension) = name_parts(content, compression);
        self.files.of_job(job, &format!("{stem}_{}_job{}.{extension}", job.created_at.for_file_name(), job.id))
    }

    /// Begins a backup with a name of its own, as the original system names it where it is one of the records.
    pub(super) fn new_backup(
        &self,
        at: Timestamp,
        content: BackupContent,
        compression: Compression,
    ) -> Result<NewFile> {
        self.files.make()?;
        let ((stem, extension), at) = (name_parts(content, compression), at.for_file_name());
        for number in 1..=MOST_PER_SECOND {
            let name = match number {
                1 => format!("{stem}_{at}.{extension}"),
                _ => format!("{stem}_{at}_{number}.{extension}"),
            };
            match NewFile::create(self.path().join(name)) {
                Err(Error::Invalid { .. }) => {}
                outcome => return outcome,
            }
        }
        Err(Error::Exhausted { what: "backups within one second".into(), limit: MOST_PER_SECOND as usize })
    }
}

fn name_parts(content: BackupContent, compression: Compression) -> (&'static str, &'static str) {
    match (content, compression) {
        (BackupContent::MetadataOnly, _) => ("metadata_backup", "json"),
        (BackupContent::Everything, Compression::None) => ("seedhouse_backup", "tar"),
        (BackupContent::Everything, Compression::Zstd) => ("seedhouse_backup", "tar.zst"),
    }
}
