//! The layout that torch wrote before 1.6 (and still writes on request), all numbers little-endian:
//!
//! ```text
//! pickle: the magic number    pickle: 1001    pickle: {little_endian, type_sizes, …}
//! pickle: the object          pickle: [storage key, …]
//! for each key: i64 count of elements, then the elements
//! ```
//!
//! Source: `_legacy_save` and `_legacy_load` in `torch/serialization.py`.

use std::collections::BTreeMap;

use seedhouse_core::{Error, Result};

use super::checkpoint::TensorView;
use super::pickle::{self, Pickle, Value};
use super::{quote, state_dict};

/// The pickle of 0x1950a86a20f9469cfc6c, byte for byte as every version of torch writes it.
const MAGIC: [u8; 15] = [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
const PROTOCOL_VERSION: i64 = 1001;

/// Returns whether the bytes begin like a legacy checkpoint.
pub(super) fn has_magic(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Reads the tensors of a legacy checkpoint.
pub(super) fn read<'a>(file: &str, bytes: &'a [u8]) -> Result<BTreeMap<&'a str, TensorView<'a>>> {
    let protocol = pickle::parse(file, bytes, MAGIC.len())?;
    check_protocol(file, protocol.root())?;
    let system = pickle::parse(file, bytes, protocol.end)?;
    check_byte_order(file, &system)?;
    let object = pickle::parse(file, bytes, system.end)?;
    let keys = pickle::parse(file, bytes, object.end)?;
    let storages = read_storages(file, bytes, &object, &keys)?;
    state_dict::tensors(file, bytes.len(), &object, &storages)
}

fn check_protocol(file: &str, value: &Value<'_>) -> Result<()> {
    match value {
        Value::Integer(PROTOCOL_VERSION) => Ok(()),
        Value::Integer(other) => {
            let reason = format!("version {other} of torch's legacy layout; {PROTOCOL_VERSION} is read");
            Err(Error::unsupported(file, reason))
        }
        other => Err(Error::malformed(
            file,
            format!("the protocol version is {}, expected the integer {PROTOCOL_VERSION}", other.describe()),
        )),
    }
}

fn check_byte_order(file: &str, system: &Pickle<'_>) -> Result<()> {
    match system.entry(system.root(), "little_endian") {
        Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(Error::unsupported(file, "its numbers are big-endian; little-endian is read")),
        Some(other) => {
            Err(Error::malformed(file, format!("`little_endian` is {}, expected a boolean", other.describe())))
        }
        None => Err(Error::malformed(file, "the third pickle is not a dictionary with the key `little_endian`")),
    }
}

/// Finds the bytes of each storage that the object names, in the order of `object.storages`.
fn read_storages<'a>(file: &str, bytes: &'a [u8], object: &Pickle<'a>, keys: &Pickle<'a>) -> Result<Vec<&'a [u8]>> {
    let Value::List(list) = keys.root() else {
        let found = keys.root().describe();
        return Err(Error::malformed(file, format!("the list of storage keys is {found}, expected a list")));
    };
    let mut found: Vec<Option<&[u8]>> = vec![None; object.storages.len()];
    let mut position = keys.end;
    for handle in list {
        let Value::Text(key) = keys.value(*handle) else {
            let what = keys.value(*handle).describe();
            return Err(Error::malformed(file, format!("a storage key is {what}, expected a text")));
        };
        let Some(index) = object.storage_index(key) else {
            return Err(Error::malformed(file, format!("storage {} is listed, but no tensor uses it", quote(key))));
        };
        if found[index].is_some() {
            return Err(Error::malformed(file, format!("storage {} is listed twice", quote(key))));
        }
        let (storage, end) = read_storage(file, bytes, position, object, index)?;
        found[index] = Some(storage);
        position = end;
    }
    if position != bytes.len() {
        let surplus = bytes.len() - position;
        let reason = format!("the last storage ends at byte {position}, but {surplus} more bytes follow");
        return Err(Error::malformed(file, reason));
    }
    let missing = |index: usize| {
        let key = quote(object.storages[index].key);
        Error::malformed(file, format!("storage {key} is used by a tensor, but not listed"))
    };
    found.into_iter().enumerate().map(|(index, storage)| storage.ok_or_else(|| missing(index))).collect()
}

fn read_storage<'a>(
    file: &str,
    bytes: &'a [u8],
    position: usize,
    object: &Pickle<'a>,
    index: usize,
) -> Result<(&'a [u8], usize)> {
    const COUNT_BYTES: usize = 8;
    let storage = &object.storages[index];
    let left = &bytes[position..];
    let Some((count, data)) = left.split_first_chunk::<COUNT_BYTES>() else {
        let reason = format!(
            "the count of storage {} needs {COUNT_BYTES} bytes at byte {position}, but {} are left",
            quote(storage.key),
            left.len()
        );
        return Err(Error::malformed(file, reason));
    };
    let count = i64::from_le_bytes(*count);
    if usize::try_from(count) != Ok(storage.element_count) {
        let reason = format!(
            "storage {} has {count} elements, but the pickle says {}",
            quote(storage.key),
            storage.element_count
        );
        return Err(Error::malformed(file, reason));
    }
    let Some(data) = data.get(..storage.size_bytes) else {
        let reason =
            format!("storage {} needs {} bytes, but {} are left", quote(storage.key), storage.size_bytes, data.len());
        return Err(Error::malformed(file, reason));
    };
    Ok((data, position + COUNT_BYTES + storage.size_bytes))
}
