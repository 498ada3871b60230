//! The wire format of protocol buffers: fields with a number and a value, one after the other.
//!
//! Nothing is allocated here, and no value reaches beyond the bytes that are there.

use seedhouse_core::{Error, ManifestPath};

/// What is wrong with a file; the caller knows its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) String);

impl Broken {
    pub(crate) fn new(reason: impl Into<String>) -> Broken {
        Broken(reason.into())
    }

    /// Names the file.
    pub(crate) fn in_file(self, path: &ManifestPath) -> Error {
        Error::malformed(format!("file `{path}`"), self.0)
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of a message.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Fields<'a> {
    /// Reads a message; `message` names it in errors.
    pub(crate) fn new(bytes: &'a [u8], message: &'static str) -> Fields<'a> {
        Fields { rest: bytes, message }
    }

    fn read(&mut self) -> Result<(u64, Wire<'a>), Broken> {
        let tag = self.varint()?;
        let number = tag >> 3;
        let value = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(self.fixed(number)?),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(number, length)?)
            }
            5 => Wire::Fixed32(self.fixed(number)?),
            other => {
                let reason = format!("field {number} of {} has the wire type {other}", self.message);
                return Err(Broken::new(reason));
            }
        };
        Ok((number, value))
    }

    fn varint(&mut self) -> Result<u64, Broken> {
        take_varint(&mut self.rest).ok_or_else(|| Broken::new(format!("{} ends within a number", self.message)))
    }

    fn fixed<const N: usize>(&mut self, number: u64) -> Result<[u8; N], Broken> {
        let bytes = self.take(number, N as u64)?;
        Ok(bytes.try_into().expect("as many bytes were taken"))
    }

    fn take(&mut self, number: u64, length: u64) -> Result<&'a [u8], Broken> {
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (value, rest) = taken.ok_or_else(|| {
            let left = self.rest.len();
            Broken::new(format!("field {number} of {} has {length} bytes, but {left} are left", self.message))
        })?;
        self.rest = rest;
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Broken>;

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

/// Takes a number off the front; `None` when it does not end or has more than 64 bits.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

impl<'a> Wire<'a> {
    /// Returns the number.
    pub(crate) fn integer(self, what: &str) -> Result<i64, Broken> {
        match self {
            // Negative numbers are written as their two's complement.
            Wire::Varint(value) => Ok(value.cast_signed()),
            _ => Err(Broken::new(format!("{what} is no whole number"))),
        }
    }

    /// Returns the bytes.
    pub(crate) fn bytes(self, what: &str) -> Result<&'a [u8], Broken> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(Broken::new(format!("{what} is a number, but bytes are expected"))),
        }
    }

    /// Returns the text.
    pub(crate) fn text(self, what: &str) -> Result<&'a str, Broken> {
        let bytes = self.bytes(what)?;
        std::str::from_utf8(bytes).map_err(|error| Broken::new(format!("{what} is not UTF-8: {error}")))
    }

    /// Adds the numbers of a repeated field, which stand alone or packed.
    pub(crate) fn integers(self, what: &str, into: &mut Vec<i64>) -> Result<(), Broken> {
        match self {
            Wire::Bytes(mut packed) => {
                while !packed.is_empty() {
                    let value = take_varint(&mut packed);
                    into.push(value.ok_or_else(|| Broken::new(format!("{what} ends within a number")))?.cast_signed());
                }
            }
            single => into.push(single.integer(what)?),
        }
        Ok(())
    }

    /// Adds the bytes of numbers of 64 bits.
    pub(crate) fn eights(self, what: &str, into: &mut Vec<u8>) -> Result<(), Broken> {
        match self {
            Wire::Fixed64(bytes) => into.extend(bytes),
            Wire::Bytes(packed) if packed.len().is_multiple_of(8) => into.extend(packed),
            Wire::Bytes(packed) => {
                return Err(Broken::new(format!("{what} has {} bytes, which is no multiple of 8", packed.len())));
            }
            _ => return Err(Broken::new(format!("{what} is no number of 64 bits"))),
        }
        Ok(())
    }

    /// Adds the values of a repeated field of f32.
    pub(crate) fn floats(self, what: &str, into: &mut Vec<f32>) -> Result<(), Broken> {
        match self {
            Wire::Fixed32(bytes) => into.push(f32::from_le_bytes(bytes)),
            Wire::Bytes(packed) => {
                let (values, rest) = packed.as_chunks();
                if !rest.is_empty() {
                    return Err(Broken::new(format!("{what} has {} bytes, which is no multiple of 4", packed.len())));
                }
                into.extend(values.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            _ => return Err(Broken::new(format!("{what} is no number of 32 bits"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Wire<'_>)>, Broken> {
        Fields::new(bytes, "the message").collect()
    }

    #[test]
    fn fields_have_their_numbers_and_values() {
        let bytes = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 1, 0, 0, 0];
        let expected = [(1, Wire::Varint(150)), (2, Wire::Bytes(b"hi")), (3, Wire::Fixed32([1, 0, 0, 0]))];
        assert_eq!(read(&bytes).unwrap(), expected);
    }

    #[test]
    fn broken_messages_say_what_is_wrong() {
        let too_long = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        let cases: [(&[u8], &str); 5] = [
            (&[0x08], "ends within a number"),
            (&[0x08, 0x80], "ends within a number"),
            (&too_long, "ends within a number"),
            (&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], "has 4294967295 bytes, but 1 are left"),
            (&[0x0b], "wire type 3"),
        ];
        for (bytes, expected) in cases {
            let Broken(reason) = read(bytes).unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }

    #[test]
    fn packed_and_single_numbers_are_the_same() {
        let mut integers = Vec::new();
        Wire::Bytes(&[1, 0x96, 0x01]).integers("dims", &mut integers).unwrap();
        Wire::Varint(u64::MAX).integers("dims", &mut integers).unwrap();
        assert_eq!(integers, [1, 150, -1]);
        let mut floats = Vec::new();
        assert!(Wire::Bytes(&[0; 7]).floats("floats", &mut floats).is_err());
    }
}
