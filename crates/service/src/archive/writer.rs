//! Writing an archive: the document, then what it declares.

use std::io::{Read, Write};

use seedhouse_core::{Digest, DigestWriter, Error, Progress, Result};
use serde::Serialize;

use super::compression::Sink;
use super::tar_writer::{TarWriter, not_written};
use super::watched::Watched;
use super::{BUFFER_BYTES, BlobEntry, Compression, digest_entry, digest_line, failure};

/// Writes an archive in one pass. What is written depends on nothing but what is handed in.
pub struct ArchiveWriter<'a> {
    tar: TarWriter<Sink<'a>>,
    last_blob: Option<Digest>,
}

impl<'a> ArchiveWriter<'a> {
    /// Begins an archive.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can be written.
    pub fn new(into: &'a mut dyn Write, compression: Compression) -> Result<ArchiveWriter<'a>> {
        let sink = Sink::new(into, compression).map_err(not_written)?;
        Ok(ArchiveWriter { tar: TarWriter::new(sink), last_blob: None })
    }

    /// Writes a JSON document and its digest.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn document(&mut self, name: &str, document: &impl Serialize) -> Result<()> {
        let text = json(name, document)?;
        self.bytes(name, &text)?;
        self.bytes(&digest_entry(name), digest_line(name, &Digest::of(&text)).as_bytes())
    }

    /// Writes a JSON document alone, for forms in which no other file may stand beside it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written.
    pub fn plain_document(&mut self, name: &str, document: &impl Serialize) -> Result<()> {
        self.bytes(name, &json(name, document)?)
    }

    /// Writes a further entry of the use case; `bytes` must give as many bytes as `size_bytes` says.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::CorruptState`] when there are more or fewer bytes, the reader's own
    /// errors, [`Error::Cancelled`].
    pub fn entry(
        &mut self,
        name: &str,
        size_bytes: u64,
        bytes: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        self.tar.begin(name, size_bytes)?;
        let mut watched = Watched { from: bytes, progress };
        let mut hashed = DigestWriter::new(&mut self.tar);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut missing = size_bytes;
        let wrong_size = |there: String| Error::CorruptState {
            what: format!("`{name}`"),
            reason: format!("the record says {size_bytes} bytes, and there are {there}"),
        };
        loop {
            let count = read(&mut watched, name, &mut buffer)?;
            match count as u64 {
                0 if missing == 0 => return Ok(hashed.finish().1),
                0 => return Err(wrong_size((size_bytes - missing).to_string())),
                count if count > missing => return Err(wrong_size("more".into())),
                count => missing -= count,
            }
            hashed.write_all(&buffer[..count]).map_err(not_written)?;
        }
    }

    /// Writes a blob, hashing it on the way. Blobs are written in order of their digests.
    ///
    /// # Errors
    /// Those of [`entry`](ArchiveWriter::entry); [`Error::CorruptState`] when the bytes hash to something else.
    pub fn blob(&mut self, blob: &BlobEntry, bytes: &mut dyn Read, progress: &dyn Progress) -> Result<()> {
        if self.last_blob.is_some_and(|last| last >= blob.digest) {
            return Err(Error::Internal(format!("{} was to be written out of order", blob.digest)));
        }
        let actual = self.entry(&blob.name(), blob.size_bytes, bytes, progress)?;
        if actual != blob.digest {
            return Err(Error::CorruptState {
                what: format!("blob {}", blob.digest),
                reason: format!("the stored bytes hash to {actual}"),
            });
        }
        self.last_blob = Some(blob.digest);
        Ok(())
    }

    /// Ends the archive. Without it, what was written is recognised as cut off.
    ///
    /// # Errors
    /// [`Error::Io`] when the rest cannot be written.
    pub fn finish(self) -> Result<()> {
        self.tar.finish()?.finish().map_err(not_written)
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.tar.begin(name, bytes.len() as u64)?;
        self.tar.write_all(bytes).map_err(not_written)
    }
}

/// Returns a document on one line.
fn json(name: &str, document: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec(document)
        .map_err(|error| Error::Internal(format!("`{name}` cannot be written as JSON: {error}")))?;
    text.push(b'\n');
    Ok(text)
}

fn read(from: &mut dyn Read, name: &str, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match from.read(buffer) {
            Ok(count) => return Ok(count),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(failure::ours(&error).unwrap_or_else(|| Error::io("read", name)(error)));
            }
        }
    }
}
