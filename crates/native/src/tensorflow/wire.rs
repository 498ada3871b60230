//! Protocol buffers read where they stand: a graph may take gigabytes, of which a description needs a few names.

use seedhouse_core::{Error, Result};

/// A message, as a part of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    /// What the file is called in errors.
    file: &'a str,
    /// What the message is called in errors.
    name: &'static str,
    bytes: &'a [u8],
    /// Where it begins in the file.
    start: usize,
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Number(u64),
    /// A text or a message.
    Bytes(Message<'a>),
    /// A number that is kept in four or eight bytes.
    Fixed,
}

impl<'a> Message<'a> {
    /// Returns the message that a whole file is.
    pub(super) fn of_file(file: &'a str, name: &'static str, bytes: &'a [u8]) -> Message<'a> {
        Message { file, name, bytes, start: 0 }
    }

    /// Returns its fields with their numbers. After an error there are none.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields { message: self, rest: self.bytes }
    }

    /// Returns how many bytes it has.
    pub(super) fn len(self) -> usize {
        self.bytes.len()
    }

    /// Returns the text that a field is.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it is none in UTF-8.
    pub(super) fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Reads it into a struct.
    ///
    /// # Errors
    /// [`Error::Malformed`] saying where it stands.
    pub(super) fn decode<T: prost::Message + Default>(self) -> Result<T> {
        T::decode(self.bytes).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Gives it the name that errors have for it.
    pub(super) fn named(self, name: &'static str) -> Message<'a> {
        Message { name, ..self }
    }

    fn malformed(self, reason: &str) -> Error {
        Error::malformed(self.file, format!("{} at byte {}: {reason}", self.name, self.start))
    }
}

/// The fields of a message.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    message: Message<'a>,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u64, Value<'a>)> {
        let tag = self.number()?;
        let field = tag >> 3;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(field, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(field, length)?)
            }
            5 => self.take(field, 4).map(|_| Value::Fixed)?,
            other => return Err(self.malformed(&format!("field {field} has the wire type {other}"))),
        };
        Ok((field, value))
    }

    fn number(&mut self) -> Result<u64> {
        take_number(&mut self.rest).ok_or_else(|| self.malformed("a number does not end"))
    }

    fn take(&mut self, field: u64, length: u64) -> Result<Message<'a>> {
        let start = self.place();
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = taken else {
            return Err(self.malformed(&format!("field {field} has {length} bytes, but {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(Message { bytes, start, ..self.message })
    }

    /// Returns where in the file the next byte stands.
    fn place(&self) -> usize {
        self.message.start + self.message.bytes.len() - self.rest.len()
    }

    fn malformed(&self, reason: &str) -> Error {
        let Message { file, name, start, .. } = self.message;
        Error::malformed(file, format!("{name} at byte {start}: {reason}, at byte {}", self.place()))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        Some(read)
    }
}

/// Takes a number in groups of seven bits off the front, the least first; `None` when it does not end or has more than 64 bits.
pub(super) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    const MOST_BYTES: usize = 10;
    let mut value = 0_u64;
    for index in 0..MOST_BYTES {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if index == MOST_BYTES - 1 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
