//! Verifying a backup: it is read as a restoration reads it, and nothing is changed.

use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, Progress, Result, Timestamp};
use serde::Serialize;

use super::{BackupContent, BackupKind, MetadataBackup, ReadBackup};
use crate::Service;

/// What an intact backup holds.
#[derive(Debug, Clone, Serialize)]
pub struct BackupCheck {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub content: BackupContent,
    /// Whether it carries the digests that prove that it is whole. A backup of the original system does not.
    pub proven: bool,
    /// When it was taken, where it says so.
    pub taken_at: Option<Timestamp>,
    /// The revision that it shows, where it says so.
    pub revision: Option<u64>,
    /// The digest of the last event, where it has a history.
    pub head: Option<Digest>,
    /// Versions that are not deleted.
    pub versions: u64,
    /// Versions that are.
    pub deleted_versions: u64,
    /// Artifacts.
    pub blobs: u64,
    /// The sum of their sizes.
    pub blob_bytes: u64,
    /// Bytes of deleted versions that a collection had removed before the backup.
    pub collected_blobs: u64,
}

impl Service {
    /// Reads every byte of a backup and checks digests, counts and the chain of events.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) and
    /// [`Error::CorruptState`](seedhouse_core::Error::CorruptState) naming what is damaged.
    pub fn verify_backup(&self, path: &Path, progress: &dyn Progress) -> Result<BackupCheck> {
        let path_buf = path.to_owned();
        match BackupKind::of(path)? {
            BackupKind::Archive => {
                let backup = ReadBackup::read(path, &*self.artifacts, progress)?;
                let header = &backup.header;
                Ok(BackupCheck {
                    path: path_buf,
                    content: BackupContent::Everything,
                    proven: true,
                    taken_at: Some(header.taken_at),
                    revision: Some(header.revision),
                    head: header.head,
                    versions: header.versions,
                    deleted_versions: header.deleted_versions,
                    blobs: header.blobs.count,
                    blob_bytes: header.blobs.size_bytes,
                    collected_blobs: header.collected_blobs.len() as u64,
                })
            }
            BackupKind::Metadata => {
                let backup = MetadataBackup::read(path)?;
                Ok(BackupCheck {
                    path: path_buf,
                    content: BackupContent::MetadataOnly,
                    proven: backup.proven,
                    taken_at: None,
                    revision: None,
                    head: None,
                    versions: backup.content.models.len() as u64,
                    deleted_versions: 0,
                    blobs: 0,
                    blob_bytes: 0,
                    collected_blobs: 0,
                })
            }
        }
    }
}
