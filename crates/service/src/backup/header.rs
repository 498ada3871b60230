//! `backup.json`: what a backup is and what follows in the archive. Its own digest stands beside it.

use seedhouse_core::{Digest, Error, Result, StagedArtifact, Timestamp};
use serde::{Deserialize, Serialize};

use super::parts::{PART_NAMES, Parts};

/// The name of the document.
pub(crate) const HEADER_NAME: &str = "backup.json";

/// What the field `format` says.
pub(crate) const FORMAT: &str = "seedhouse-backup";

/// The layout that this program writes.
pub(crate) const FORMAT_VERSION: u64 = 1;

/// The document at the beginning of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupHeader {
    format: String,
    format_version: u64,
    /// When the view of the registry was taken.
    pub(crate) taken_at: Timestamp,
    /// The number of the last event.
    pub(crate) revision: u64,
    /// Its digest.
    pub(crate) head: Option<Digest>,
    /// How many versions are not deleted.
    pub(crate) versions: u64,
    /// How many are.
    pub(crate) deleted_versions: u64,
    /// How many events the history has.
    pub(crate) events: u64,
    /// How many idempotency keys are remembered.
    pub(crate) keys: u64,
    /// The files of JSON lines that follow, in this order.
    pub(crate) parts: [PartEntry; 3],
    /// The bytes after them: each that a version names, in order of digests.
    pub(crate) blobs: BlobTotal,
    /// Bytes that only deleted versions name, and that a collection had removed.
    pub(crate) collected_blobs: Vec<Digest>,
}

/// A part by name, size and digest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PartEntry {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) digest: Digest,
}

/// How many blobs there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlobTotal {
    pub(crate) count: u64,
    pub(crate) size_bytes: u64,
}

impl BackupHeader {
    /// Describes what was read from the registry.
    pub(super) fn of(parts: &Parts, taken_at: Timestamp) -> BackupHeader {
        let entry = |(name, staged): (&str, &dyn StagedArtifact)| PartEntry {
            name: name.to_owned(),
            size_bytes: staged.size_bytes(),
            digest: staged.digest(),
        };
        BackupHeader {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            taken_at,
            revision: parts.found.revision(),
            head: parts.found.head(),
            versions: parts.found.versions,
            deleted_versions: parts.found.deleted_versions,
            events: parts.found.events(),
            keys: parts.found.keys,
            parts: parts.named().map(entry),
            blobs: BlobTotal {
                count: parts.blobs.len() as u64,
                size_bytes: parts.blobs.iter().map(|blob| blob.size_bytes).sum(),
            },
            collected_blobs: parts.collected.clone(),
        }
    }

    /// Returns the sum of the sizes of the parts.
    pub(crate) fn parts_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.size_bytes))
    }

    /// Checks what can be checked before anything else is read: the names of the parts, and that everything declared can be
    /// in a file of this size.
    pub(super) fn check(&self, what: &str, file_bytes: u64) -> Result<()> {
        /// What zstd can do at most: 128 KiB of one byte in a block of four.
        const MOST_TIMES_SMALLER: u64 = 32_768;
        /// Parts are copied to the disk before they are understood. Records of many similar versions become some fifty times
        /// smaller.
        const MOST_TIMES_SMALLER_PARTS: u64 = 1000;
        for (part, name) in self.parts.iter().zip(PART_NAMES) {
            if part.name != name {
                let reason = format!("its part `{}` stands where `{name}` should", part.name.escape_debug());
                return Err(Error::malformed(what, reason));
            }
        }
        let parts = self.parts_bytes();
        let all = parts.saturating_add(self.blobs.size_bytes);
        for (declared, most) in [(all, MOST_TIMES_SMALLER), (parts, MOST_TIMES_SMALLER_PARTS)] {
            if declared / most > file_bytes {
                let reason = format!("it declares {declared} bytes, and the file has {file_bytes}");
                return Err(Error::malformed(what, reason));
            }
        }
        Ok(())
    }
}
