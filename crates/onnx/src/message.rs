//! A message as it is written.

use crate::wire::Broken;

/// Bytes of a message so far.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) bytes: Vec<u8>,
}

/// Bytes kept free for a length that is only known when its message is written: 35 bits, in the longest spelling.
const LENGTH_BYTES: usize = 5;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Writes a whole number.
    pub(crate) fn integer(&mut self, number: u64, value: i64) {
        self.varint(number << 3);
        self.varint(value.cast_unsigned());
    }

    /// Writes an f32.
    pub(crate) fn float(&mut self, number: u64, value: f32) {
        self.varint(number << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
    }

    /// Writes what stands before so many bytes; they follow from somebody else.
    pub(crate) fn start(&mut self, number: u64, length: u64) {
        self.varint(number << 3 | 2);
        self.varint(length);
    }

    /// Writes bytes.
    pub(crate) fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.start(number, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes a text.
    pub(crate) fn text(&mut self, number: u64, text: &str) {
        self.bytes(number, text.as_bytes());
    }

    /// Writes a name; an empty one is none.
    pub(crate) fn name(&mut self, number: u64, name: &str) {
        if !name.is_empty() {
            self.text(number, name);
        }
    }

    /// Writes a message within this one, in place: weights are not copied once for each level.
    pub(crate) fn message(
        &mut self,
        number: u64,
        write: impl FnOnce(&mut Message) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        self.varint(number << 3 | 2);
        let start = self.bytes.len();
        self.bytes.extend([0; LENGTH_BYTES]);
        write(self)?;
        let mut length = self.bytes.len() - start - LENGTH_BYTES;
        for (index, byte) in self.bytes[start..start + LENGTH_BYTES].iter_mut().enumerate() {
            let more = if index + 1 < LENGTH_BYTES { 0x80 } else { 0 };
            *byte = (length & 0x7f) as u8 | more;
            length >>= 7;
        }
        match length {
            0 => Ok(()),
            _ => Err(Broken::new("a part of it has more than 34 GB")),
        }
    }
}
