//! The keys and values of a GGUF file, each key once, with errors that name the key and what stands there.

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};

use super::cursor::Cursor;
use super::value::{Array, Value};
use crate::quote::quote;

/// Real files have less than a hundred keys; the limit keeps the table of a hostile one small.
const MOST_KEYS: u64 = 1 << 16;
/// No name of an architecture, a tokenizer or a kind of file comes near.
const LONGEST_NAME_BYTES: usize = 64;
/// An empty key, a type and a value of one byte.
const SMALLEST_ENTRY_BYTES: u64 = 13;

/// What a file says about itself.
#[derive(Debug)]
pub(crate) struct Metadata<'a> {
    path: &'a str,
    entries: BTreeMap<&'a str, Value<'a>>,
}

impl<'a> Metadata<'a> {
    /// Reads `count` entries.
    pub(crate) fn read(cursor: &mut Cursor<'a>, path: &'a str, count: u64) -> Result<Metadata<'a>> {
        let mut entries = BTreeMap::new();
        for index in 0..count {
            let key = cursor.text(&format!("key {index} of the metadata"))?;
            let value = Value::read(cursor, &format!("metadata {}", quote(key)))?;
            if entries.insert(key, value).is_some() {
                return Err(cursor.malformed(format!("metadata {} occurs twice", quote(key))));
            }
        }
        Ok(Metadata { path, entries })
    }

    /// Reads the number of entries, before the entries themselves.
    pub(crate) fn read_count(cursor: &mut Cursor<'a>) -> Result<u64> {
        let count = cursor.count(SMALLEST_ENTRY_BYTES, "the number of metadata keys")?;
        if count > MOST_KEYS {
            return Err(
                cursor.malformed(format!("the number of metadata keys is {count}, but at most {MOST_KEYS} are read"))
            );
        }
        Ok(count)
    }

    /// Returns the value of a key, whatever its type.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.entries.get(key).copied()
    }

    /// Returns every key that begins with `prefix`, with its value.
    pub(crate) fn starting_with<'m>(&'m self, prefix: &'m str) -> impl Iterator<Item = (&'a str, Value<'a>)> + 'm {
        let found = self.entries.iter().filter(move |(key, _)| key.starts_with(prefix));
        found.map(|(key, value)| (*key, *value))
    }

    /// Returns a text of at most `longest` bytes.
    pub(crate) fn text_up_to(&self, key: &str, longest: usize) -> Result<Option<&'a str>> {
        match self.text(key)? {
            Some(text) if text.len() > longest => {
                let rule = format!("must have at most {longest} bytes");
                Err(self.broken_rule(key, format!("a text of {} bytes", text.len()), &rule))
            }
            text => Ok(text),
        }
    }

    /// Returns a name, which records and messages repeat.
    pub(crate) fn name(&self, key: &str) -> Result<Option<&'a str>> {
        self.text_up_to(key, LONGEST_NAME_BYTES)
    }

    /// Returns a text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    /// Returns a whole number of at least 0.
    pub(crate) fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a whole number of at least 0", Value::as_unsigned)
    }

    /// Returns a number with a fraction.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a floating-point number", |value| match value {
            Value::Float(number) => Some(number),
            _ => None,
        })
    }

    /// Returns a truth value.
    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a truth value", |value| match value {
            Value::Boolean(truth) => Some(truth),
            _ => None,
        })
    }

    /// Returns an array.
    pub(crate) fn array(&self, key: &str) -> Result<Option<Array<'a>>> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    /// Insists on a value that one of the functions above returned.
    pub(crate) fn required<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::malformed(self.path, format!("metadata `{key}` is missing")))
    }

    /// Returns an error about the value of a key.
    pub(crate) fn broken_rule(&self, key: &str, value: impl std::fmt::Display, rule: &str) -> Error {
        Error::malformed(self.path, format!("metadata `{key}` is {value}, but {rule}"))
    }

    fn typed<T>(&self, key: &str, expected: &str, convert: impl Fn(Value<'a>) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Some(converted) => Ok(Some(converted)),
            None => Err(self.broken_rule(key, value, &format!("must be {expected}"))),
        }
    }
}
