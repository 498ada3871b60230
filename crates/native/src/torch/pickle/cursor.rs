//! Reads the operands of opcodes and checks every length against the bytes that are left.

use seedhouse_core::{Error, Result};

/// A position in a pickle.
pub(super) struct Cursor<'f, 'a> {
    file: &'f str,
    bytes: &'a [u8],
    pub(super) position: usize,
}

impl<'f, 'a> Cursor<'f, 'a> {
    pub(super) fn new(file: &'f str, bytes: &'a [u8], position: usize) -> Self {
        Cursor { file, bytes, position }
    }

    /// Returns an error about the present place.
    pub(super) fn error(&self, reason: impl AsRef<str>) -> Error {
        Error::malformed(self.file, format!("before byte {} of its pickle, {}", self.position, reason.as_ref()))
    }

    /// Returns the next bytes; `length` may be any number.
    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8]> {
        let left = &self.bytes[self.position..];
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| left.get(..length))
            .ok_or_else(|| self.error(format!("{what} needs {length} bytes, but {} are left", left.len())))?;
        self.position += taken.len();
        Ok(taken)
    }

    /// Returns the next bytes as an array.
    pub(super) fn array<const SIZE: usize>(&mut self, what: &str) -> Result<[u8; SIZE]> {
        let bytes = self.take(SIZE as u64, what)?;
        Ok(bytes.try_into().expect("take returns as many bytes as asked for"))
    }

    /// Returns the next bytes as a text.
    pub(super) fn text(&mut self, length: u64) -> Result<&'a str> {
        let bytes = self.take(length, "a text")?;
        std::str::from_utf8(bytes).map_err(|error| self.error(format!("a text is not UTF-8: {error}")))
    }

    /// Returns the text up to the next line feed, as the oldest opcodes write names.
    pub(super) fn line(&mut self) -> Result<&'a str> {
        const LONGEST: usize = 1024;
        let left = &self.bytes[self.position..];
        let window = &left[..left.len().min(LONGEST)];
        let length = window
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or_else(|| self.error(format!("the name of a global does not end within {} bytes", window.len())))?;
        let text = self.text(length as u64)?;
        self.position += 1;
        Ok(text)
    }
}
