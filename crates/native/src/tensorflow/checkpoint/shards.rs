//! The files with the values of a checkpoint.

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::{Error, Result};

use super::super::checksum::masked;
use super::super::data_type::Storage;
use super::super::wire::take_number;
use super::super::{at, shown};
use super::entry::Entry;
use crate::mapped_file::MappedFile;
use crate::quote::quote;

/// The files, in order.
pub(super) struct Shards(Vec<Shard>);

struct Shard {
    /// What it is called in errors.
    file: String,
    bytes: MappedFile,
}

/// Returns whether files with values stand beside an index of this name.
pub(super) fn are_beside(prefix: &str, files: &LocalFiles) -> bool {
    files.0.iter().any(|file| {
        let numbers = file.path.as_str().strip_prefix(prefix).and_then(|rest| rest.strip_prefix(".data-"));
        let numbers = numbers.and_then(|numbers| numbers.split_once("-of-"));
        let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        numbers.is_some_and(|(number, count)| is_number(number) && is_number(count))
    })
}

impl Shards {
    /// Opens all of them.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming the first that is missing.
    pub(super) fn open(index: &str, prefix: &str, count: u32, files: &LocalFiles) -> Result<Shards> {
        let mut shards = Vec::new();
        // However large the count is, there are no more rounds than files.
        for number in 0..count {
            let path = format!("{prefix}.data-{number:05}-of-{count:05}");
            let file = at(files, &path).ok_or_else(|| {
                let reason =
                    format!("it has {count} shards, but `{path}` is not among the files; register the whole folder");
                Error::malformed(index, reason)
            })?;
            shards.push(Shard { file: shown(file), bytes: MappedFile::open(&file.local)? });
        }
        Ok(Shards(shards))
    }

    /// Checks that every tensor lies in its shard, that no two share bytes, and that their checksums are right.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming shard, tensor, place and both values.
    pub(super) fn check<'e>(&self, entries: impl Iterator<Item = &'e Entry>) -> Result<()> {
        let mut entries: Vec<&Entry> = entries.collect();
        entries.sort_by_key(|entry| (entry.shard, entry.offset, entry.size));
        for entry in &entries {
            self.shard_of(entry).bytes_of(entry)?;
        }
        self.check_disjoint(&entries)?;
        for entry in entries {
            self.shard_of(entry).check_values(entry)?;
        }
        // They were read for this alone, so they need not stay in memory.
        self.0.iter().for_each(|shard| shard.bytes.forget_pages());
        Ok(())
    }

    fn check_disjoint(&self, sorted: &[&Entry]) -> Result<()> {
        let with_bytes: Vec<&Entry> = sorted.iter().copied().filter(|entry| entry.size > 0).collect();
        for pair in with_bytes.windows(2) {
            let (first, second) = (pair[0], pair[1]);
            // Both lie in their files, so the sum does not overflow.
            let end = first.offset + first.size;
            if first.shard == second.shard && second.offset < end {
                let (one, two) = (quote(&first.name()), quote(&second.name()));
                let reason = format!("{one} ends before byte {end}, but {two} begins at byte {}", second.offset);
                return Err(Error::malformed(&self.shard_of(first).file, format!("two tensors overlap: {reason}")));
            }
        }
        Ok(())
    }

    /// Returns the shard of an entry, whose number [`Entry`] holds against the number of shards.
    fn shard_of(&self, entry: &Entry) -> &Shard {
        &self.0[entry.shard as usize]
    }
}

impl Shard {
    fn bytes_of(&self, entry: &Entry) -> Result<&[u8]> {
        let place = usize::try_from(entry.offset).ok().zip(usize::try_from(entry.size).ok());
        let range = place.and_then(|(start, size)| Some(start..start.checked_add(size)?));
        range.and_then(|range| self.bytes.get(range)).ok_or_else(|| {
            let (size, offset, held) = (entry.size, entry.offset, self.bytes.len());
            self.malformed(entry, &format!("has {size} bytes from byte {offset} on, but the file has {held}"))
        })
    }

    fn check_values(&self, entry: &Entry) -> Result<()> {
        let bytes = self.bytes_of(entry)?;
        let actual = match entry.storage {
            Storage::Bytes(_) => crc32c::crc32c(bytes),
            Storage::Texts => {
                checksum_of_texts(bytes, entry.elements).map_err(|reason| self.malformed(entry, &reason))?
            }
            // Each has a checksum of its own among its bytes, in a form that nothing here reads.
            Storage::Objects => return Ok(()),
        };
        let (actual, said) = (masked(actual), entry.checksum);
        if actual != said {
            let offset = entry.offset;
            let reason = format!("at byte {offset} has the checksum {actual:08x}, but the index says {said:08x}");
            return Err(self.malformed(entry, &reason));
        }
        Ok(())
    }

    fn malformed(&self, entry: &Entry, reason: &str) -> Error {
        Error::malformed(&self.file, format!("tensor {} {reason}", quote(&entry.name())))
    }
}

/// Returns the checksum of texts: of their lengths as numbers of 32 bits (64 where they need them), of the checksum of those, which
/// stands behind them, and of the texts (`WriteStringTensor` in `tensor_bundle.cc`).
fn checksum_of_texts(bytes: &[u8], count: u64) -> std::result::Result<u32, String> {
    let (mut rest, mut checksum, mut total) = (bytes, 0, 0_u64);
    for _ in 0..count {
        let length = take_number(&mut rest).ok_or("has the length of a text that does not end")?;
        checksum = match u32::try_from(length) {
            Ok(length) => crc32c::crc32c_append(checksum, &length.to_le_bytes()),
            Err(_) => crc32c::crc32c_append(checksum, &length.to_le_bytes()),
        };
        total = total.saturating_add(length);
    }
    let (said, texts) = rest.split_first_chunk().ok_or("ends before the checksum of its lengths")?;
    let (said, actual) = (u32::from_le_bytes(*said), masked(checksum));
    if said != actual {
        return Err(format!("has lengths with the checksum {actual:08x}, but {said:08x} was written"));
    }
    if texts.len() as u64 != total {
        return Err(format!("has {} bytes of text, but their lengths add up to {total}", texts.len()));
    }
    let checksum = crc32c::crc32c_append(checksum, &said.to_le_bytes());
    Ok(crc32c::crc32c_append(checksum, texts))
}
