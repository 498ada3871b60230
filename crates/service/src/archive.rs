//! Archives: one stream that carries a document and the bytes it speaks of, from one registry to another.
//!
//! ```text
//! bundle.json            what the archive is and what follows: a document of the use case, with every blob and its size
//! bundle.json.sha256     its digest, so that a changed letter is noticed (`sha256sum -c` reads it)
//! blobs/sha256/<64 hex>  the bytes, each digest once, in order
//! ```
//!
//! The form is tar, plain or under zstd, so that it can be opened without this program. Writing is deterministic and
//! streams: the same content gives the same bytes on any machine. Reading streams, too, and is strict: the use case says
//! which entry it expects next, and anything else ends it. Nothing is ever extracted; blobs go to the artifact store,
//! which names them by what they hash to.
//!
//! What an archive may cost is bounded before it is read: the document by a limit, the blobs by what the document
//! declares, which [`check_blobs`] holds against a limit of the caller.

mod blob;
mod blobs;
mod compression;
pub(crate) mod failure;
mod reader;
mod tar_reader;
mod tar_writer;
#[cfg(test)]
mod tests;
pub(crate) mod watched;
mod writer;

pub use blob::{BlobEntry, check_blobs};
pub(crate) use blobs::ArchiveBlobs;
pub use compression::Compression;
pub use reader::{ArchiveReader, check_format};
pub use writer::ArchiveWriter;

/// Large enough that hashing and not the calls set the pace.
const BUFFER_BYTES: usize = 1 << 18;

/// Tar counts in blocks of this size.
const BLOCK: usize = 512;

/// Returns the name of the entry that carries a document's digest.
fn digest_entry(document: &str) -> String {
    format!("{document}.sha256")
}

/// Returns what stands in it, in the form of `sha256sum`.
fn digest_line(document: &str, digest: &seedhouse_core::Digest) -> String {
    format!("{}  {document}\n", digest.hex())
}
