//! Blobs: the bytes that follow a document, and the check of what it declares about them.

use std::collections::BTreeMap;

use seedhouse_core::{Digest, Error, FileEntry, Result};
use serde::{Deserialize, Serialize};

/// Bytes that an archive carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobEntry {
    /// What they hash to.
    pub digest: Digest,
    /// Their number.
    pub size_bytes: u64,
}

impl BlobEntry {
    /// Returns the name of the entry that carries them.
    pub fn name(&self) -> String {
        format!("blobs/sha256/{}", self.digest.hex())
    }

    /// Returns the blobs of files, each digest once, in the order in which an archive carries them.
    ///
    /// # Errors
    /// [`Error::CorruptState`] when two files give one digest different sizes.
    pub fn of_files<'a>(files: impl IntoIterator<Item = &'a FileEntry>) -> Result<Vec<BlobEntry>> {
        let mut sizes = BTreeMap::new();
        for file in files {
            let known = *sizes.entry(file.digest).or_insert(file.size_bytes);
            if known != file.size_bytes {
                return Err(Error::CorruptState {
                    what: format!("the size of {}", file.digest),
                    reason: format!("one record says {known} bytes, another {}", file.size_bytes),
                });
            }
        }
        Ok(sizes.into_iter().map(|(digest, size_bytes)| BlobEntry { digest, size_bytes }).collect())
    }
}

/// Checks the blobs that the document of `what` declares, and returns the sum of their sizes.
///
/// # Errors
/// [`Error::Malformed`] when they are out of order, one stands there twice, or the sum overflows; [`Error::TooLarge`] when
/// it is above `most_bytes`.
pub fn check_blobs(what: &str, blobs: &[BlobEntry], most_bytes: u64) -> Result<u64> {
    if let Some(pair) = blobs.windows(2).find(|pair| pair[0].digest >= pair[1].digest) {
        let reason =
            format!("{} stands after {}: each digest may stand there once, in order", pair[1].digest, pair[0].digest);
        return Err(Error::malformed(what, reason));
    }
    let total = blobs.iter().try_fold(0u64, |sum, blob| sum.checked_add(blob.size_bytes));
    match total {
        Some(total) if total <= most_bytes => Ok(total),
        Some(total) => Err(Error::TooLarge {
            what: what.to_owned(),
            size: format!("{total} bytes"),
            limit: format!("{most_bytes} bytes"),
        }),
        None => Err(Error::malformed(what, "the sizes of its blobs add up to more than 2^64 bytes")),
    }
}
