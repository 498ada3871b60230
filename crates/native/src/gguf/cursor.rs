//! Reads little-endian values from untrusted bytes. Every read is checked against what is left, and every count against
//! the fewest bytes its items can have, before anything is allocated.

use seedhouse_core::{Error, Result};

/// A position in the bytes of a file.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    path: &'a str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of the file that errors call `path`.
    pub(crate) fn new(path: &'a str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { path, bytes, position: 0 }
    }

    /// Returns how many bytes were read.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Returns the bytes between an earlier position and this one.
    pub(crate) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.position]
    }

    /// Returns an error about the file.
    pub(crate) fn malformed(&self, reason: impl Into<String>) -> Error {
        Error::malformed(self.path, reason)
    }

    /// Reads `count` bytes.
    pub(crate) fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let end = usize::try_from(count).ok().and_then(|count| self.position.checked_add(count));
        match end.and_then(|end| self.bytes.get(self.position..end)) {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(self.malformed(format!(
                "{what} has {count} bytes from offset {}, but the file has {} bytes",
                self.position,
                self.bytes.len()
            ))),
        }
    }

    /// Reads as many bytes as an array has.
    pub(crate) fn array<const LENGTH: usize>(&mut self, what: &str) -> Result<[u8; LENGTH]> {
        let bytes = self.take(LENGTH as u64, what)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked"))
    }

    /// Reads a 32-bit number.
    pub(crate) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Reads a 64-bit number.
    pub(crate) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Reads a count of items that have at least `smallest_bytes` bytes each.
    pub(crate) fn count(&mut self, smallest_bytes: u64, what: &str) -> Result<u64> {
        let count = self.u64(what)?;
        let left = (self.bytes.len() - self.position) as u64;
        if count > left / smallest_bytes {
            return Err(self.malformed(format!(
                "{what} is {count}, which needs at least {smallest_bytes} bytes each, but {left} of {} bytes are left",
                self.bytes.len()
            )));
        }
        Ok(count)
    }

    /// Reads a text with its length before it.
    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str> {
        let length = self.u64(what)?;
        let start = self.position;
        std::str::from_utf8(self.take(length, what)?)
            .map_err(|error| self.malformed(format!("{what} at offset {start} is not UTF-8: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_beyond_the_end_is_refused_with_both_numbers() {
        let bytes = [&u64::MAX.to_le_bytes()[..], b"abc"].concat();
        let error = Cursor::new("m", &bytes).text("key").unwrap_err().to_string();
        assert_eq!(
            error,
            "m is malformed: key has 18446744073709551615 bytes from offset 8, but the file has 11 bytes"
        );
    }

    #[test]
    fn count_that_cannot_fit_is_refused() {
        let bytes = [&3u64.to_le_bytes()[..], &[0; 38]].concat();
        assert!(Cursor::new("m", &bytes).count(13, "count").is_err());
        assert_eq!(Cursor::new("m", &bytes).count(12, "count").unwrap(), 3);
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_offset() {
        let bytes = [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
        let error = Cursor::new("m", &bytes).text("key").unwrap_err().to_string();
        assert!(error.contains("key at offset 8 is not UTF-8"), "{error}");
    }
}
