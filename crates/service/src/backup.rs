//! Backups: the whole registry at one revision, or only what its records say, in one file.
//!
//! ```text
//! shared hold (no collection meanwhile)
//!   snapshot ──> parts (JSON lines, staged and hashed) ──> audited ──> the view ends, writes never waited
//!   backup.json, parts, blobs ──> temporary name ──> synced ──> final name
//! ```
//!
//! The archive has the form of [`archive`](crate::archive):
//!
//! ```text
//! backup.json, backup.json.sha256   what the backup is: revision, head, counts, digests and sizes of the parts
//! events.jsonl                      the history, oldest event first
//! entries.jsonl                     every version, deleted ones too, oldest registration first
//! keys.jsonl                        idempotency keys, so that a request sent again is still answered with its version
//! blobs/sha256/<64 hex>             the bytes of all versions, in order of their digests
//! ```
//!
//! Tokens are no part of a backup: who may enter is decided where it is restored.

mod check;
mod folder;
mod header;
mod kind;
mod lines;
mod metadata_only;
mod parts;
mod reading;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;

use seedhouse_core::{Digest, Error, HoldKind, Progress, ProgressUnit, Result, StagedArtifact, Timestamp, Unwatched};
use serde::{Deserialize, Serialize};

pub use check::BackupCheck;
pub use folder::BackupFolder;
pub(crate) use header::{BackupHeader, HEADER_NAME};
pub(crate) use kind::BackupKind;
pub(crate) use metadata_only::MetadataBackup;
pub(crate) use reading::ReadBackup;

use crate::Service;
use crate::archive::{ArchiveWriter, Compression};
use crate::new_file::{NewFile, Written};
use parts::Parts;

/// What to back up, and where to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// What the backup holds.
    #[serde(default)]
    pub content: BackupContent,
    /// The file to make, which may not exist yet; by default one in the backup folder, named by the time.
    #[serde(default)]
    pub output: Option<PathBuf>,
    /// How it is compressed; a backup of the records alone never is.
    #[serde(default)]
    pub compression: Compression,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupContent {
    /// Records, history and bytes.
    #[default]
    Everything,
    /// The records of the versions that are not deleted, as `metadata.json` has them: neither history nor bytes.
    MetadataOnly,
}

/// The backup that was made.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReport {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub content: BackupContent,
    /// When the view of the registry was taken.
    pub taken_at: Timestamp,
    /// The revision that it shows.
    pub revision: u64,
    /// The digest of the last event; `None` without events.
    pub head: Option<Digest>,
    /// Versions that are not deleted.
    pub versions: u64,
    /// Versions that are; a backup of the records alone leaves them out.
    pub deleted_versions: u64,
    /// Artifacts.
    pub blobs: u64,
    /// The sum of their sizes.
    pub blob_bytes: u64,
    /// Bytes of deleted versions that a collection had removed before.
    pub collected_blobs: u64,
    /// The size of the file.
    pub size_bytes: u64,
    /// The digest of the file.
    pub digest: Digest,
}

impl BackupRequest {
    /// Checks that the parts of the request go together.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub(crate) fn check(&self) -> Result<()> {
        match (self.content, self.compression) {
            (BackupContent::MetadataOnly, Compression::Zstd) => {
                let rule = "must be left out: a backup of the records is plain JSON";
                Err(Error::invalid("compression", "zstd", rule))
            }
            _ => Ok(()),
        }
    }
}

impl Service {
    /// Makes a backup while the registry is used. Collections of garbage wait for it; nothing else does.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the file exists, [`Error::MissingBytes`] and [`Error::CorruptState`] when the registry is not
    /// whole, [`Error::Cancelled`]. Nothing of the name asked for is left behind then.
    pub fn backup(&self, request: &BackupRequest, progress: &dyn Progress) -> Result<BackupReport> {
        request.check()?;
        match request.content {
            BackupContent::Everything => self.back_everything_up(request, progress),
            BackupContent::MetadataOnly => self.back_metadata_up(request, progress),
        }
    }

    /// Backs the records up into a file of the folder of backups, by default one named by the time. `name` is what the
    /// request field `field` says.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere or is taken.
    pub fn back_records_up(&self, field: &'static str, name: Option<&str>) -> Result<BackupReport> {
        let files = self.backup_folder()?.files(field);
        let output = name.map(|name| files.free(name)).transpose()?;
        let request = BackupRequest { content: BackupContent::MetadataOnly, output, compression: Compression::None };
        let report = self.backup(&request, &Unwatched)?;
        Ok(BackupReport { path: files.shown(&report.path), ..report })
    }

    fn back_everything_up(&self, request: &BackupRequest, progress: &dyn Progress) -> Result<BackupReport> {
        // Before the view is taken: what it names must still be there when it is copied.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let taken_at = self.clock.now();
        let output = match &request.output {
            Some(path) => NewFile::create(path.clone())?,
            None => self.backup_folder()?.new_backup(taken_at, request.content, request.compression)?,
        };
        let parts = self.spool(progress)?;
        let header = BackupHeader::of(&parts, taken_at);
        let written = self.write_archive(output, &header, &parts, request.compression, progress)?;
        Ok(BackupReport {
            path: written.path,
            content: BackupContent::Everything,
            taken_at,
            revision: header.revision,
            head: header.head,
            versions: header.versions,
            deleted_versions: header.deleted_versions,
            blobs: header.blobs.count,
            blob_bytes: header.blobs.size_bytes,
            collected_blobs: header.collected_blobs.len() as u64,
            size_bytes: written.size_bytes,
            digest: written.digest,
        })
    }

    fn write_archive(
        &self,
        mut output: NewFile,
        header: &BackupHeader,
        parts: &Parts,
        compression: Compression,
        progress: &dyn Progress,
    ) -> Result<Written> {
        let mut archive = ArchiveWriter::new(&mut output, compression)?;
        archive.document(HEADER_NAME, header)?;
        progress.stage("writing records and history", Some(header.parts_bytes()), ProgressUnit::Bytes);
        for (name, staged) in parts.named() {
            archive.entry(name, staged.size_bytes(), &mut open(staged)?, progress)?;
        }
        progress.stage("copying artifacts", Some(header.blobs.size_bytes), ProgressUnit::Bytes);
        for blob in &parts.blobs {
            let path = self.artifacts.local_path(&blob.digest)?;
            let mut file = File::open(&path).map_err(Error::io("read", &path))?;
            archive.blob(blob, &mut file, progress)?;
        }
        archive.finish()?;
        output.finish()
    }
}

fn open(staged: &dyn StagedArtifact) -> Result<File> {
    File::open(staged.path()).map_err(Error::io("read", staged.path()))
}
