//! Writing tar: regular files only, with nothing in their headers that depends on the machine, the user or the day.

use std::io::{self, Write};

use seedhouse_core::{Error, Result};

use super::BLOCK;

/// Writes one entry after the other.
pub(super) struct TarWriter<W> {
    into: W,
    /// How many bytes of the entry that was begun are missing.
    missing: u64,
    padding: usize,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(into: W) -> TarWriter<W> {
        TarWriter { into, missing: 0, padding: 0 }
    }

    /// Begins an entry; its bytes are written next.
    pub(super) fn begin(&mut self, name: &str, size_bytes: u64) -> Result<()> {
        self.end_entry()?;
        let header = header(name, size_bytes)?;
        self.into.write_all(header.as_bytes()).map_err(not_written)?;
        self.missing = size_bytes;
        self.padding = padding_after(size_bytes);
        Ok(())
    }

    /// Ends the archive and returns what it was written to.
    pub(super) fn finish(mut self) -> Result<W> {
        self.end_entry()?;
        self.into.write_all(&[0; 2 * BLOCK]).map_err(not_written)?;
        Ok(self.into)
    }

    fn end_entry(&mut self) -> Result<()> {
        if self.missing > 0 {
            return Err(Error::Internal(format!("an entry of an archive was left {} bytes short", self.missing)));
        }
        self.into.write_all(&[0; BLOCK][..self.padding]).map_err(not_written)?;
        self.padding = 0;
        Ok(())
    }
}

impl<W: Write> Write for TarWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.len() as u64 > self.missing {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an entry of an archive has more bytes than its header says",
            ));
        }
        let written = self.into.write(buffer)?;
        self.missing -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Returns how many zeros follow a file of this size.
pub(super) fn padding_after(size_bytes: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size_bytes % block) % block).expect("below the size of a block")
}

/// Made for `map_err`: the archive cannot be written.
pub(super) fn not_written(error: io::Error) -> Error {
    Error::io("write", "the archive")(error)
}

fn header(name: &str, size_bytes: u64) -> Result<tar::Header> {
    let mut header = tar::Header::new_ustar();
    // Sizes from 8 GiB on do not fit into octal digits and are written in the binary form that every tar reads.
    header.set_size(size_bytes);
    header.set_path(name).map_err(|error| Error::Internal(format!("`{name}` cannot stand in a tar: {error}")))?;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}
