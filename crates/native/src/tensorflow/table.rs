//! A table of LevelDB (`doc/table_format.md` there), the container of a checkpoint's index: sorted keys and their values.
//!
//! ```text
//! blocks of entries … │ block of filters │ index: the places of the blocks of entries │ footer: the places of those two, magic number
//! ```
//!
//! A block is followed by how it is compressed and a checksum of both. Nothing in a block is believed before its checksum is.

use std::borrow::Cow;

use seedhouse_core::{Error, Result};

use super::checksum::masked;
use super::wire::take_number;
use crate::quote::quote;

/// What the file ends with.
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

/// Two places of at most 20 bytes each, and the magic number.
const FOOTER: usize = 48;

/// How a block is compressed (1 byte) and its checksum.
const TRAILER: usize = 5;

/// The most that bytes may claim to become: a copy of 64 bytes takes 3 in Snappy.
const LARGEST_EXPANSION: usize = 32;

/// Returns whether the bytes end like a table.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.len() >= FOOTER && bytes.ends_with(&MAGIC)
}

/// What is called with each key and its value.
pub(super) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'v;

/// Calls `visit` with every entry, in the order of the keys. Errors name `file`.
///
/// # Errors
/// [`Error::Malformed`] with the place, what was found and what was expected; those of `visit`.
pub(super) fn visit(file: &str, bytes: &[u8], visit: &mut Visit<'_>) -> Result<()> {
    let table = Table { file, bytes };
    let (filters, index) = table.footer()?;
    // TensorFlow leaves it empty, but it belongs to the file.
    table.block(filters)?;
    let index = table.block(index)?;
    let mut last: Option<Vec<u8>> = None;
    let mut places = Entries::new(&index)?;
    while let Some(mut place) = places.next()? {
        let block = table.block(Place::take(&mut place).ok_or_else(|| index.malformed("a place does not end"))?)?;
        let mut entries = Entries::new(&block)?;
        // An empty block would let a small file have the same bytes unpacked over and over.
        let mut value = entries.next()?.ok_or_else(|| block.malformed("it has no entries"))?;
        if last.as_ref().is_some_and(|last| *last >= entries.key) {
            let (key, last) = (lossy(&entries.key), lossy(&last.unwrap_or_default()));
            return Err(block.malformed(&format!("key {key} comes after {last}, but keys are sorted")));
        }
        loop {
            visit(&entries.key, value)?;
            match entries.next()? {
                Some(next) => value = next,
                None => break,
            }
        }
        last = Some(entries.key);
    }
    Ok(())
}

fn lossy(key: &[u8]) -> String {
    quote(&String::from_utf8_lossy(key))
}

struct Table<'a> {
    file: &'a str,
    bytes: &'a [u8],
}

/// Where a block stands (`BlockHandle`).
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    size: u64,
}

impl Place {
    fn take(bytes: &mut &[u8]) -> Option<Place> {
        Some(Place { offset: take_number(bytes)?, size: take_number(bytes)? })
    }
}

/// A block whose checksum was right.
struct Block<'a> {
    file: &'a str,
    offset: u64,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Table<'a> {
    /// Reads the footer: the places of a block of filters and of the index.
    fn footer(&self) -> Result<(Place, Place)> {
        let length = self.bytes.len();
        let Some(footer) = length.checked_sub(FOOTER).map(|start| &self.bytes[start..]) else {
            return Err(Error::malformed(self.file, format!("it has {length} bytes, and the footer takes {FOOTER}")));
        };
        let (mut places, magic) = footer.split_at(FOOTER - MAGIC.len());
        if magic != MAGIC {
            let (found, expected) = (hex(magic), hex(&MAGIC));
            return Err(Error::malformed(
                self.file,
                format!("it ends with the bytes {found}, a table with {expected}"),
            ));
        }
        let places = Place::take(&mut places).zip(Place::take(&mut places));
        places.ok_or_else(|| Error::malformed(self.file, "a place in its footer does not end"))
    }

    /// Returns a block, checked and unpacked.
    fn block(&self, place: Place) -> Result<Block<'a>> {
        let Place { offset, size } = place;
        let broken = |reason: String| Error::malformed(self.file, format!("block at byte {offset}: {reason}"));
        let limit = self.bytes.len() - FOOTER;
        let start = usize::try_from(offset).ok().filter(|start| *start <= limit);
        let found = start.zip(usize::try_from(size).ok()).and_then(|(start, size)| {
            let (bytes, rest) = self.bytes[start..limit].split_at_checked(size)?;
            Some((bytes, rest.first_chunk::<TRAILER>()?))
        });
        let Some((bytes, [compression, checksum @ ..])) = found else {
            return Err(broken(format!("it has {size} bytes and {TRAILER} more, but the footer begins at {limit}")));
        };
        let (said, actual) = (u32::from_le_bytes(*checksum), checksum_of(bytes, *compression));
        if said != actual {
            return Err(broken(format!("its checksum is {actual:08x}, but {said:08x} was written")));
        }
        let bytes = match compression {
            0 => Cow::Borrowed(bytes),
            1 => Cow::Owned(unpacked(bytes).map_err(broken)?),
            other => return Err(broken(format!("its compression is {other}; 0 (none) and 1 (Snappy) exist"))),
        };
        Ok(Block { file: self.file, offset, bytes })
    }
}

fn checksum_of(bytes: &[u8], compression: u8) -> u32 {
    masked(crc32c::crc32c_append(crc32c::crc32c(bytes), &[compression]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unpacked(bytes: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(bytes).map_err(|error| error.to_string())?;
    let limit = bytes.len().saturating_mul(LARGEST_EXPANSION);
    if length > limit {
        return Err(format!("it claims to become {length} bytes, but {} become at most {limit}", bytes.len()));
    }
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(|error| error.to_string())
}

impl Block<'_> {
    fn malformed(&self, reason: &str) -> Error {
        Error::malformed(self.file, format!("block at byte {}: {reason}", self.offset))
    }
}

/// The entries of a block. A key is kept as what it has more than the one before.
struct Entries<'b> {
    block: &'b Block<'b>,
    rest: &'b [u8],
    key: Vec<u8>,
    is_first: bool,
}

/// An entry as it stands there.
struct Stored<'b> {
    /// How many bytes of the key before are the beginning of this one.
    shared: usize,
    added: &'b [u8],
    value: &'b [u8],
}

impl<'b> Entries<'b> {
    fn new(block: &'b Block<'b>) -> Result<Entries<'b>> {
        Ok(Entries { block, rest: entry_bytes(block)?, key: Vec::new(), is_first: true })
    }

    /// Moves to the next entry: sets `key` and returns its value.
    fn next(&mut self) -> Result<Option<&'b [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Stored { shared, added, value } = self.take().ok_or_else(|| self.broken("an entry does not end"))?;
        let length = self.key.len();
        if shared > length {
            return Err(self.broken(&format!("a key has {shared} bytes of the one before, which has {length}")));
        }
        // Both begin alike, so the rest decides.
        if !self.is_first && added <= &self.key[shared..] {
            return Err(self.broken(&format!("keys are not sorted after {}", lossy(&self.key))));
        }
        self.is_first = false;
        self.key.truncate(shared);
        self.key.extend_from_slice(added);
        Ok(Some(value))
    }

    /// Takes three lengths and what they announce.
    fn take(&mut self) -> Option<Stored<'b>> {
        let mut length = || usize::try_from(take_number(&mut self.rest)?).ok();
        let (shared, added, value) = (length()?, length()?, length()?);
        let (added, rest) = self.rest.split_at_checked(added)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.rest = rest;
        Some(Stored { shared, added, value })
    }

    fn broken(&self, reason: &str) -> Error {
        let place = self.block.bytes.len() - self.rest.len();
        self.block.malformed(&format!("{reason}, near its byte {place}"))
    }
}

/// Returns a block without the places at its end where keys stand whole, which only a search needs.
fn entry_bytes<'b>(block: &'b Block<'b>) -> Result<&'b [u8]> {
    const PLACE: usize = 4;
    let bytes: &[u8] = &block.bytes;
    let Some((rest, count)) = bytes.split_last_chunk::<PLACE>() else {
        return Err(block.malformed(&format!("it has {} bytes, too few for a count", bytes.len())));
    };
    let count = u32::from_le_bytes(*count);
    let places = usize::try_from(count).ok().and_then(|count| count.checked_mul(PLACE));
    let entries = places.and_then(|places| rest.len().checked_sub(places));
    let entries = entries.ok_or_else(|| block.malformed(&format!("it has {count} places in {} bytes", rest.len())))?;
    Ok(&rest[..entries])
}
