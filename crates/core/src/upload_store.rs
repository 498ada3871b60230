//! The port for uploads in parts: bytes that arrive over many requests and survive the end of the process.

use std::fmt;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;

use crate::{Checksum, Error, ManifestPath, Result, StagedArtifact, Timestamp};

/// How long an upload is kept without a byte arriving.
pub const UPLOAD_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Keeps unfinished files. Part of an [`ArtifactStore`](crate::ArtifactStore), which publishes what is finished here.
///
/// An upload belongs to one caller at a time: who appends to it, finishes it or removes it keeps the others out, also those
/// of other processes. They get [`Error::UploadBusy`] at once and never wait. An upload to which no byte came for
/// [`UPLOAD_RETENTION`] counts as unknown.
pub trait UploadStore: Send + Sync {
    /// Makes an upload without bytes. Expired ones are removed first.
    ///
    /// # Errors
    /// [`Error::Exhausted`] when there are `most_open` already.
    fn begin(&self, new: &NewUpload, most_open: usize) -> Result<Upload>;

    /// Returns where an upload stands. What its offset counts survives a power failure.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    fn state(&self, id: &UploadId) -> Result<Upload>;

    /// Adds bytes to the end and returns where the upload stands then. When the reader or the disk fails, what came before
    /// stays; of a part with a checksum, and of one that is too long, nothing does. [`state`](UploadStore::state) tells.
    ///
    /// # Errors
    /// [`Error::Changed`] when the part does not begin where the bytes end, [`Error::TooLarge`] when it goes beyond the
    /// length of the upload, [`Error::WrongChecksum`], [`Error::BrokenUpload`] when the reader fails, [`Error::NotFound`],
    /// [`Error::UploadBusy`].
    fn append(&self, id: &UploadId, part: &Part, bytes: &mut dyn Read) -> Result<Upload>;

    /// Hashes a complete upload and lends it for publishing.
    ///
    /// # Errors
    /// [`Error::UploadIncomplete`] with both lengths, [`Error::NotFound`], [`Error::UploadBusy`].
    fn finish(&self, id: &UploadId) -> Result<FinishedUpload>;

    /// Removes an upload with its bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::UploadBusy`].
    fn remove(&self, id: &UploadId) -> Result<()>;

    /// Removes what is expired at this time and in nobody's hands, and returns how many uploads that were.
    fn sweep(&self, now: Timestamp) -> Result<usize>;
}

/// The name of an upload: 128 random bits, so that nobody can guess it, as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(String);

impl UploadId {
    /// Returns the id with these bits.
    pub fn from_bits(bits: [u8; 16]) -> UploadId {
        UploadId(hex::encode(bits))
    }

    /// Returns the id as text: digits, so it can be part of a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UploadId {
    type Err = Error;

    fn from_str(text: &str) -> Result<UploadId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == 32 && text.bytes().all(is_digit) {
            true => Ok(UploadId(text.to_owned())),
            false => Err(Error::invalid("upload_id", text.escape_debug(), "must be 32 lower-case hexadecimal digits")),
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What the sender says about an upload before the first byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// How many bytes it will have.
    pub length: u64,
    /// Where the file stands within its version unless a registration says otherwise.
    pub name: Option<ManifestPath>,
    /// What else the sender wants to find again, in its own words.
    pub metadata: Option<String>,
}

/// An upload, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name.
    pub id: UploadId,
    /// How many bytes it will have.
    pub length: u64,
    /// How many are there and durable.
    pub offset: u64,
    /// Where the file stands within its version unless a registration says otherwise.
    pub name: Option<ManifestPath>,
    /// What the sender wanted to find again.
    pub metadata: Option<String>,
    /// When it goes away unless another byte arrives.
    pub expires_at: Timestamp,
}

/// Bytes to be added to an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// How many bytes the sender believes to be there.
    pub offset: u64,
    /// How many the part has, where the sender says so: what cannot fit is then refused before it is read.
    pub length: Option<u64>,
    /// What they must hash to.
    pub checksum: Option<Checksum>,
}

/// A complete upload in the hands of one caller.
pub struct FinishedUpload {
    /// The bytes, for the store to which the upload belongs. Dropping them does not remove the upload.
    pub staged: Box<dyn StagedArtifact>,
    /// Keeps everybody else out.
    pub claim: Box<dyn UploadClaim>,
}

/// The right to an upload. Dropping it gives the upload back as it was.
pub trait UploadClaim: Send {
    /// Removes the upload; bytes that were published stay published.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_digits_of_one_length_and_nothing_else() {
        let id = UploadId::from_bits([0xab; 16]);
        assert_eq!(id.to_string().parse::<UploadId>().unwrap(), id);
        let digits = "a".repeat(31);
        for text in ["", "..", "../../etc/passwd", &digits, &format!("{digits}aa"), &format!("{digits}A")] {
            assert_eq!(text.parse::<UploadId>().unwrap_err().field(), Some("upload_id"), "{text}");
        }
        for last in ["/", ".", "g", "\0", "é"] {
            assert!(format!("{digits}{last}").parse::<UploadId>().is_err(), "{last:?}");
        }
    }
}
