//! Parses pickles of protocol 2 to 5 without executing anything.
//!
//! A pickle is a program for a stack machine, and Python's machine calls whatever the program names. This one knows a
//! table of globals ([`global`]), builds plain values out of them, and refuses every other name and opcode.
//!
//! Values live in one arena and refer to each other by [`Handle`], so that sharing costs nothing, nesting needs no
//! recursion, and dropping the deepest tree is freeing a vector.

mod calls;
mod cursor;
mod global;
mod machine;
mod opcode;
mod tensor_record;
mod value;

use std::collections::HashMap;

use seedhouse_core::Result;

pub(super) use self::tensor_record::TensorRecord;
pub(super) use self::value::{Handle, Storage, Value};

/// The bounds of one pickle. A state dict takes about 40 operations per tensor.
const MOST_OPERATIONS: usize = 1 << 22;

/// What a pickle describes.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Handle,
    /// The storages that its persistent ids name.
    pub(super) storages: Vec<Storage<'a>>,
    storage_indices: HashMap<&'a str, usize>,
    /// Where the byte after its last one stands.
    pub(super) end: usize,
}

/// Returns whether the bytes begin like a pickle of protocol 2 to 5.
pub(super) fn looks_like_one(bytes: &[u8]) -> bool {
    let known = |byte: &u8| opcode::name_of(*byte).is_some();
    matches!(bytes, [0x80, 2..=5, rest @ ..] if rest.first().is_none_or(known))
}

/// Parses the pickle that begins at `start`.
///
/// # Errors
/// [`seedhouse_core::Error::Malformed`] with the place and what was found there.
pub(super) fn parse<'a>(file: &str, bytes: &'a [u8], start: usize) -> Result<Pickle<'a>> {
    machine::Machine::new(file, bytes, start).run()
}

impl<'a> Pickle<'a> {
    /// Returns the value that the handle refers to.
    pub(super) fn value(&self, handle: Handle) -> &Value<'a> {
        &self.values[handle.index()]
    }

    /// Returns the outermost value.
    pub(super) fn root(&self) -> &Value<'a> {
        self.value(self.root)
    }

    /// Returns what `dictionary` has under a text, if it is one and has it. The last of equal keys counts, as in Python.
    pub(super) fn entry(&self, dictionary: &Value<'a>, key: &str) -> Option<&Value<'a>> {
        let Value::Dictionary(entries) = dictionary else { return None };
        let matching = |handle: Handle| matches!(self.value(handle), Value::Text(text) if *text == key);
        entries.iter().rev().find(|(name, _)| matching(*name)).map(|(_, value)| self.value(*value))
    }

    /// Returns the position in `storages` of the one called `key`.
    pub(super) fn storage_index(&self, key: &str) -> Option<usize> {
        self.storage_indices.get(key).copied()
    }
}
