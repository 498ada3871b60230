//! Values of GGUF metadata. Texts and arrays are views of the file, so that a vocabulary costs nothing until it is used.

use std::fmt;

use seedhouse_core::Result;

use super::cursor::Cursor;

/// Arrays in arrays are allowed by the format and used by nobody; deeper nesting than this is hostile.
const DEEPEST_NESTING: usize = 4;

/// A value, with the widths of numbers left behind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Boolean(bool),
    Text(&'a str),
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// Reads the type and the value.
    pub(crate) fn read(cursor: &mut Cursor<'a>, what: &str) -> Result<Value<'a>> {
        let value_type = ValueType::read(cursor, what)?;
        Ok(match value_type {
            ValueType::U8 => Value::Unsigned(u8::from_le_bytes(cursor.array(what)?).into()),
            ValueType::I8 => Value::Signed(i8::from_le_bytes(cursor.array(what)?).into()),
            ValueType::U16 => Value::Unsigned(u16::from_le_bytes(cursor.array(what)?).into()),
            ValueType::I16 => Value::Signed(i16::from_le_bytes(cursor.array(what)?).into()),
            ValueType::U32 => Value::Unsigned(cursor.u32(what)?.into()),
            ValueType::I32 => Value::Signed(i32::from_le_bytes(cursor.array(what)?).into()),
            ValueType::F32 => Value::Float(f32::from_le_bytes(cursor.array(what)?).into()),
            ValueType::Boolean => Value::Boolean(boolean(cursor, what)?),
            ValueType::Text => Value::Text(cursor.text(what)?),
            ValueType::Array => Value::Array(Array::read(cursor, what, 1)?),
            ValueType::U64 => Value::Unsigned(cursor.u64(what)?),
            ValueType::I64 => Value::Signed(i64::from_le_bytes(cursor.array(what)?)),
            ValueType::F64 => Value::Float(f64::from_le_bytes(cursor.array(what)?)),
        })
    }

    /// Returns the number if it is whole and not negative.
    pub(crate) fn as_unsigned(self) -> Option<u64> {
        match self {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => number.try_into().ok(),
            Value::Float(_) | Value::Boolean(_) | Value::Text(_) | Value::Array(_) => None,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(number) => write!(formatter, "{number}"),
            Value::Signed(number) => write!(formatter, "{number}"),
            Value::Float(number) => write!(formatter, "{number}"),
            Value::Boolean(truth) => write!(formatter, "{truth}"),
            Value::Text(text) => write!(formatter, "the text {:?}", text.chars().take(40).collect::<String>()),
            Value::Array(array) => write!(formatter, "an array of {} values", array.length),
        }
    }
}

/// Reads a truth value; other bytes than 0 and 1 mean that the reader is not where it should be.
fn boolean(cursor: &mut Cursor<'_>, what: &str) -> Result<bool> {
    match cursor.array(what)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [other] => Err(cursor.malformed(format!("{what} is the byte {other}, but a truth value is 0 or 1"))),
    }
}

/// Values of one type. The bytes were checked when the array was read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Array<'a> {
    element: ValueType,
    length: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    fn read(cursor: &mut Cursor<'a>, what: &str, depth: usize) -> Result<Array<'a>> {
        if depth > DEEPEST_NESTING {
            return Err(cursor.malformed(format!("{what} nests arrays deeper than {DEEPEST_NESTING}")));
        }
        let element = ValueType::read(cursor, what)?;
        let length = cursor.count(element.smallest_bytes(), what)?;
        let start = cursor.position();
        for _ in 0..length {
            match element {
                ValueType::Text => {
                    cursor.text(what)?;
                }
                ValueType::Array => {
                    Array::read(cursor, what, depth + 1)?;
                }
                ValueType::Boolean => {
                    boolean(cursor, what)?;
                }
                _ => {
                    cursor.take(length * element.smallest_bytes(), what)?;
                    break;
                }
            }
        }
        let length = usize::try_from(length).expect("a count of items in memory fits");
        Ok(Array { element, length, bytes: cursor.since(start) })
    }

    /// Returns how many elements there are.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Returns the elements if they are texts.
    pub(crate) fn texts(self) -> Option<impl Iterator<Item = &'a str>> {
        (self.element == ValueType::Text).then(|| {
            let mut cursor = Cursor::new("", self.bytes);
            (0..self.length).map(move |_| cursor.text("").expect("the array was read once before"))
        })
    }

    /// Returns the elements if they are 32-bit floating-point numbers.
    pub(crate) fn floats(self) -> Option<impl Iterator<Item = f32> + 'a> {
        let (numbers, _) = self.bytes.as_chunks::<4>();
        (self.element == ValueType::F32).then(|| numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)))
    }

    /// Returns the elements if they are 32-bit integers, the only width that tokenizer tables use.
    pub(crate) fn integers(self) -> Option<impl Iterator<Item = i64> + 'a> {
        let signed = match self.element {
            ValueType::I32 => true,
            ValueType::U32 => false,
            _ => return None,
        };
        let (numbers, _) = self.bytes.as_chunks::<4>();
        Some(numbers.iter().map(move |&bytes| {
            if signed { i32::from_le_bytes(bytes).into() } else { u32::from_le_bytes(bytes).into() }
        }))
    }
}

/// The types of the format, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Boolean,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Boolean,
        ValueType::Text,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    fn read(cursor: &mut Cursor<'_>, what: &str) -> Result<ValueType> {
        let number = cursor.u32(what)?;
        let found = ValueType::ALL.get(number as usize).copied();
        found
            .ok_or_else(|| cursor.malformed(format!("{what} has type {number}, but the types of metadata are 0 to 12")))
    }

    /// Returns the fewest bytes that a value has, which is the exact number for values of fixed size.
    fn smallest_bytes(self) -> u64 {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Boolean => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::Text => 8,
            ValueType::Array => 12,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Value<'_>> {
        Value::read(&mut Cursor::new("m", bytes), "value")
    }

    fn array(element: u32, length: u64, content: &[u8]) -> Vec<u8> {
        [&9u32.to_le_bytes()[..], &element.to_le_bytes(), &length.to_le_bytes(), content].concat()
    }

    #[test]
    fn numbers_of_every_width_are_read() {
        for (value_type, bytes, expected) in [
            (0u32, vec![200], Value::Unsigned(200)),
            (1, vec![0xff], Value::Signed(-1)),
            (2, 60_000u16.to_le_bytes().to_vec(), Value::Unsigned(60_000)),
            (3, (-3i16).to_le_bytes().to_vec(), Value::Signed(-3)),
            (4, u32::MAX.to_le_bytes().to_vec(), Value::Unsigned(u32::MAX.into())),
            (5, i32::MIN.to_le_bytes().to_vec(), Value::Signed(i32::MIN.into())),
            (6, 0.5f32.to_le_bytes().to_vec(), Value::Float(0.5)),
            (7, vec![1], Value::Boolean(true)),
            (10, u64::MAX.to_le_bytes().to_vec(), Value::Unsigned(u64::MAX)),
            (11, i64::MIN.to_le_bytes().to_vec(), Value::Signed(i64::MIN)),
            (12, 0.1f64.to_le_bytes().to_vec(), Value::Float(0.1)),
        ] {
            assert_eq!(read(&[&value_type.to_le_bytes()[..], &bytes].concat()).unwrap(), expected);
        }
    }

    #[test]
    fn nested_arrays_are_read_to_a_depth_and_no_deeper() {
        let nest = |depth: usize| {
            let mut bytes = array(0, 1, &[7]);
            for _ in 1..depth {
                bytes = array(9, 1, &bytes[4..]);
            }
            bytes
        };
        assert!(read(&nest(4)).is_ok());
        assert!(read(&nest(5)).unwrap_err().to_string().contains("deeper than 4"));
        assert!(read(&nest(10_000)).is_err());
    }

    #[test]
    fn array_lengths_are_checked_against_the_file() {
        for (element, length) in [(0, u64::MAX), (8, 2), (9, 2), (10, u64::MAX / 8 + 2), (7, 17)] {
            let error = read(&array(element, length, &[0; 15])).unwrap_err().to_string();
            assert!(error.contains(&length.to_string()), "{error}");
        }
    }

    #[test]
    fn truth_values_other_than_0_and_1_are_refused() {
        assert!(read(&[7, 0, 0, 0, 2]).is_err());
        assert!(read(&array(7, 2, &[1, 3])).is_err());
    }

    #[test]
    fn texts_of_an_array_come_back_in_order() {
        let content = [&2u64.to_le_bytes()[..], "é".as_bytes(), &0u64.to_le_bytes()].concat();
        let bytes = array(8, 2, &content);
        let Value::Array(found) = read(&bytes).unwrap() else { panic!("not an array") };
        assert_eq!(found.texts().unwrap().collect::<Vec<_>>(), ["é", ""]);
        assert!(found.integers().is_none());
    }
}
