//! Reading tar: one regular file after the other, and nothing else. Names are returned, never used as paths.

use std::io::{self, Read};

use seedhouse_core::{Error, ManifestPath, Result};

use super::tar_writer::padding_after;
use super::{BLOCK, failure};

/// Zeros that may follow the end: tar writes in records of 10 KiB, some with larger ones.
const MOST_ZEROS_AFTER_END: u64 = 1 << 20;

/// Where things stand in a header (POSIX.1-1988, "ustar").
const NAME: std::ops::Range<usize> = 0..100;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const TYPE: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..262;
const PREFIX: std::ops::Range<usize> = 345..500;

/// A file in an archive; its bytes come next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TarEntry {
    pub(super) name: ManifestPath,
    pub(super) size_bytes: u64,
}

/// Reads one entry after the other; reading from it gives the bytes of the last one.
pub(super) struct TarReader<'a> {
    what: String,
    from: Box<dyn Read + 'a>,
    position: u64,
    /// How many bytes of the current entry have not been read.
    missing: u64,
    padding: usize,
}

impl<'a> TarReader<'a> {
    pub(super) fn new(what: &str, from: Box<dyn Read + 'a>) -> TarReader<'a> {
        TarReader { what: what.to_owned(), from, position: 0, missing: 0, padding: 0 }
    }

    /// Returns the next file, or `None` at the end, after which nothing may follow. What was not read of the file before is
    /// read now.
    ///
    /// # Errors
    /// [`Error::Malformed`] for anything but a regular file with a name that stays below a folder.
    pub(super) fn next(&mut self) -> Result<Option<TarEntry>> {
        self.end_entry()?;
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if is_zero(&block) {
            self.fill(&mut block)?;
            return match is_zero(&block) {
                true => self.end().map(|()| None),
                false => Err(self.malformed("after a block of zeros another must follow")),
            };
        }
        let entry = self.entry(&block)?;
        self.missing = entry.size_bytes;
        self.padding = padding_after(entry.size_bytes);
        Ok(Some(entry))
    }

    fn end_entry(&mut self) -> Result<()> {
        let missing = self.missing;
        let skipped = io::copy(&mut self.by_ref().take(missing), &mut io::sink());
        skipped.map_err(|error| failure::unwrap(&self.what, error))?;
        let mut padding = [0; BLOCK];
        let count = std::mem::take(&mut self.padding);
        self.fill(&mut padding[..count])?;
        match is_zero(&padding) {
            true => Ok(()),
            false => Err(self.malformed("a file is not followed by zeros up to the next block")),
        }
    }

    fn entry(&self, block: &[u8; BLOCK]) -> Result<TarEntry> {
        self.check_header(block)?;
        let name = self.name(block)?;
        match block[TYPE] {
            b'0' | 0 => {}
            other => {
                return Err(
                    self.malformed(format!("entry `{name}` is {}; only plain files may stand there", kind(other)))
                );
            }
        }
        let size = tar::Header::from_byte_slice(block).entry_size();
        let size_bytes = size.map_err(|_| self.malformed(format!("the size of entry `{name}` is not a number")))?;
        Ok(TarEntry { name, size_bytes })
    }

    fn check_header(&self, block: &[u8; BLOCK]) -> Result<()> {
        if &block[MAGIC] != b"ustar" {
            return Err(self.malformed("it is not a tar archive, plain or under zstd"));
        }
        let bytes = block.iter().enumerate();
        let actual: u32 = bytes.map(|(at, byte)| if CHECKSUM.contains(&at) { 32 } else { u32::from(*byte) }).sum();
        match tar::Header::from_byte_slice(block).cksum() {
            Ok(said) if said == actual => Ok(()),
            Ok(said) => Err(self.malformed(format!("the checksum of a header is {actual}, but it says {said}"))),
            Err(_) => Err(self.malformed("the checksum of a header is not a number")),
        }
    }

    /// The rules for paths within a version hold for the names of entries.
    fn name(&self, block: &[u8; BLOCK]) -> Result<ManifestPath> {
        let (name, prefix) = (text(&block[NAME]), text(&block[PREFIX]));
        let is_ustar = &block[257..265] == b"ustar\x0000";
        let name = match (name, prefix) {
            (Some(name), Some(prefix)) if is_ustar && !prefix.is_empty() => [prefix, b"/", name].concat(),
            (Some(name), Some(_)) => name.to_vec(),
            (Some(name), None) if !is_ustar => name.to_vec(),
            _ => return Err(self.malformed("the name of an entry has bytes after its end")),
        };
        let unreadable =
            |name: &[u8]| self.malformed(format!("the name `{}` of an entry is not UTF-8", name.escape_ascii()));
        let name = String::from_utf8(name).map_err(|error| unreadable(error.as_bytes()))?;
        name.parse().map_err(|error: Error| match error {
            Error::Invalid { value, rule, .. } => {
                self.malformed(format!("an entry is called `{value}`, but its name {rule}"))
            }
            other => other,
        })
    }

    /// Reads what may follow the end.
    fn end(&mut self) -> Result<()> {
        let mut buffer = [0; BLOCK];
        let mut zeros = 0;
        loop {
            let count = read_some(&mut *self.from, &mut buffer).map_err(|error| failure::unwrap(&self.what, error))?;
            zeros += count as u64;
            match count {
                0 => return Ok(()),
                count if is_zero(&buffer[..count]) && zeros <= MOST_ZEROS_AFTER_END => {}
                _ => return Err(self.malformed(format!("something follows its end at byte {}", self.position))),
            }
        }
    }

    /// Fills a buffer from the archive itself.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let count = read_some(&mut *self.from, &mut buffer[filled..])
                .map_err(|error| failure::unwrap(&self.what, error))?;
            if count == 0 {
                return Err(self.cut_off(filled));
            }
            filled += count;
        }
        self.position += filled as u64;
        Ok(())
    }

    fn cut_off(&self, filled: usize) -> Error {
        self.malformed(format!("it ends after {} bytes, before it is complete", self.position + filled as u64))
    }

    fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::malformed(&self.what, reason)
    }
}

impl Read for TarReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = read_some(&mut *self.from, &mut buffer[..wanted])?;
        if count == 0 {
            return Err(failure::wrap(self.cut_off(0)));
        }
        self.missing -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

fn read_some(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Returns a field up to its zeros; `None` when something stands after them.
fn text(field: &[u8]) -> Option<&[u8]> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    is_zero(&field[end..]).then_some(&field[..end])
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn kind(entry_type: u8) -> String {
    match entry_type {
        b'1' => "a hard link".into(),
        b'2' => "a symbolic link".into(),
        b'3' | b'4' => "a device".into(),
        b'5' => "a folder".into(),
        b'6' => "a pipe".into(),
        b'g' | b'x' | b'L' | b'K' => format!("an extended header (`{}`)", char::from(entry_type)),
        other => format!("of type `{}`", other.escape_ascii()),
    }
}
