//! Reader of GGUF files, versions 2 and 3, little-endian.
//!
//! ```text
//! magic "GGUF", version u32, tensor count u64, key count u64
//! keys and values        metadata (all types, borrowed from the file)
//! tensor infos           name, shape, type, offset
//! padding, then the data section; offsets count from its start
//! ```
//!
//! The file is untrusted: what this module returns was checked against the length of the file, and tensors neither reach
//! past its end nor overlap. Whether they make a model is for the family to say.

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};

mod cursor;
mod metadata;
mod tensor_info;
mod tensor_type;
mod value;
mod writer;

use cursor::Cursor;
pub(crate) use metadata::Metadata;
pub(crate) use tensor_info::TensorInfo;
pub(crate) use tensor_type::TensorType;
pub(crate) use value::{Array, Value};
pub(crate) use writer::{GgufHeader, padding};

use crate::quote::quote;

/// The first bytes of every GGUF file.
pub(crate) const MAGIC: &[u8] = b"GGUF";
/// The largest mixture-of-experts models have some ten thousand tensors; the limit keeps the table of a hostile file small.
const MOST_TENSORS: u64 = 1 << 18;
const ALIGNMENT_KEY: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of a file.
#[derive(Debug)]
pub(crate) struct Gguf<'a> {
    /// The name under which errors mention the file.
    pub(crate) path: &'a str,
    pub(crate) metadata: Metadata<'a>,
    pub(crate) tensors: BTreeMap<&'a str, TensorInfo<'a>>,
}

impl<'a> Gguf<'a> {
    /// Reads the header of the file that errors call `path`.
    ///
    /// # Errors
    /// [`Error::Malformed`] naming what is wrong and both values; [`Error::Unsupported`] for another version of the
    /// format or an unknown tensor type.
    pub(crate) fn parse(path: &'a str, bytes: &'a [u8]) -> Result<Gguf<'a>> {
        let mut cursor = Cursor::new(path, bytes);
        if cursor.take(MAGIC.len() as u64, "the magic number")? != MAGIC {
            return Err(cursor.malformed("the file does not start with `GGUF`"));
        }
        check_version(cursor.u32("the version of the format")?)?;
        let tensor_count = cursor.count(TensorInfo::SMALLEST_BYTES, "the number of tensors")?;
        if tensor_count > MOST_TENSORS {
            return Err(cursor
                .malformed(format!("the number of tensors is {tensor_count}, but at most {MOST_TENSORS} are read")));
        }
        let key_count = Metadata::read_count(&mut cursor)?;
        let metadata = Metadata::read(&mut cursor, path, key_count)?;
        let tensors = read_tensors(&mut cursor, tensor_count)?;
        let mut gguf = Gguf { path, metadata, tensors };
        gguf.place_tensors(cursor.position() as u64, bytes.len() as u64)?;
        Ok(gguf)
    }

    fn place_tensors(&mut self, header_bytes: u64, file_length: u64) -> Result<()> {
        let alignment = self.metadata.unsigned(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
        if !alignment.is_power_of_two() || alignment > u64::from(u32::MAX) {
            return Err(self.metadata.broken_rule(ALIGNMENT_KEY, alignment, "must be a power of two below 2^32"));
        }
        let data_start = header_bytes.next_multiple_of(alignment);
        for tensor in self.tensors.values_mut() {
            tensor.place(self.path, data_start, alignment, file_length)?;
        }
        let mut in_file_order: Vec<&TensorInfo<'_>> = self.tensors.values().collect();
        in_file_order.sort_by_key(|tensor| tensor.range().start);
        match in_file_order.windows(2).find(|pair| pair[0].range().end > pair[1].range().start) {
            None => Ok(()),
            Some(pair) => Err(Error::malformed(
                self.path,
                format!(
                    "tensor {} at bytes {:?} and tensor {} at bytes {:?} overlap",
                    quote(pair[0].name),
                    pair[0].range(),
                    quote(pair[1].name),
                    pair[1].range()
                ),
            )),
        }
    }
}

fn check_version(version: u32) -> Result<()> {
    match version {
        2 | 3 => Ok(()),
        _ if (1..=3).contains(&version.swap_bytes()) => Err(Error::unsupported(
            format!("big-endian GGUF version {}", version.swap_bytes()),
            "versions 2 and 3 are read in little-endian order",
        )),
        _ => Err(Error::unsupported(format!("GGUF version {version}"), "versions 2 and 3 are read")),
    }
}

fn read_tensors<'a>(cursor: &mut Cursor<'a>, count: u64) -> Result<BTreeMap<&'a str, TensorInfo<'a>>> {
    let mut tensors = BTreeMap::new();
    for index in 0..count {
        let tensor = TensorInfo::read(cursor, index)?;
        let name = tensor.name;
        if tensors.insert(name, tensor).is_some() {
            return Err(cursor.malformed(format!("tensor {} occurs twice", quote(name))));
        }
    }
    Ok(tensors)
}
