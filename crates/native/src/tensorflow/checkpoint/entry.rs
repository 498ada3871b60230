//! What an index says about its tensors, held against itself.

use std::borrow::Cow;

use seedhouse_core::{Error, Result};

use super::super::data_type::{DataType, Storage};
use super::super::messages::{BundleEntry, BundleHeader, Shape};
use crate::quote::quote;

/// The version of the format that is read (`kTensorBundleVersion`).
const VERSION: i32 = 1;

/// As many as TensorFlow allows (`TensorShape::MaxDimensions`).
const MOST_DIMENSIONS: usize = 254;

/// What the entries of an index may take in memory, which is more than they take in the file. Real ones have some thousand of a
/// hundred bytes each.
const MOST_MEMORY: usize = 256 << 20;

/// A tensor, or a part of one.
#[derive(Debug)]
pub(super) struct Entry {
    key: Vec<u8>,
    pub(super) data_type: DataType,
    pub(super) storage: Storage,
    pub(super) shape: Vec<u64>,
    /// The product of the shape.
    pub(super) elements: u64,
    /// Whether its values are in other entries.
    pub(super) is_sliced: bool,
    pub(super) shard: u32,
    /// Where its bytes lie in the shard.
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) checksum: u32,
}

impl Entry {
    /// Returns its name, for people and records.
    pub(super) fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }

    /// Returns whether it is a part of a tensor. The keys of parts begin with a zero.
    pub(super) fn is_slice(&self) -> bool {
        self.key.first() == Some(&0)
    }

    /// Returns its key in the index.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }
}

/// An index as it is read.
pub(super) struct Index<'f> {
    file: &'f str,
    header: Option<BundleHeader>,
    memory: usize,
    pub(super) entries: Vec<Entry>,
}

impl<'f> Index<'f> {
    /// Returns one without entries. Errors name `file`.
    pub(super) fn new(file: &'f str) -> Index<'f> {
        Index { file, header: None, memory: 0, entries: Vec::new() }
    }

    /// Adds what stands under a key. The first of all keys is empty, and the header stands there.
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match &self.header {
            None if key.is_empty() => self.header = Some(self.read_header(value)?),
            None => return Err(self.malformed(format!("its first key is {}, not the empty one", shown(key)))),
            Some(header) => {
                let entry = self.read_entry(header.shard_count, key, value)?;
                self.memory = self
                    .memory
                    .saturating_add(size_of::<Entry>() + entry.key.len() + size_of_val(entry.shape.as_slice()));
                if self.memory > MOST_MEMORY {
                    return Err(self.too_large());
                }
                self.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Returns how many files have values.
    pub(super) fn shard_count(&self) -> Result<u32> {
        let count = self.header.as_ref().map(|header| header.shard_count);
        let count = count.ok_or_else(|| self.malformed("it has no entries".into()))?;
        u32::try_from(count).map_err(|_| self.malformed(format!("it has {count} shards")))
    }

    fn read_header(&self, value: &[u8]) -> Result<BundleHeader> {
        let header: BundleHeader = self.decode("its header", value)?;
        let oldest_reader = header.version.as_ref().map_or(0, |version| version.oldest_reader);
        if oldest_reader > VERSION {
            let reason = format!("its format needs a reader of version {oldest_reader}; {VERSION} is read");
            return Err(Error::unsupported(self.file, reason));
        }
        match header.byte_order {
            0 => Ok(header),
            1 => Err(Error::unsupported(self.file, "its numbers are big-endian; little-endian ones are read")),
            other => Err(self.malformed(format!("its byte order is {other}; 0 and 1 exist"))),
        }
    }

    fn read_entry(&self, shard_count: i32, key: &[u8], value: &[u8]) -> Result<Entry> {
        let about = |reason: String| self.malformed(format!("tensor {} {reason}", shown(key)));
        if key.first() != Some(&0) {
            std::str::from_utf8(key).map_err(|error| about(format!("has a name that is no text: {error}")))?;
        }
        let entry: BundleEntry = self.decode(&format!("the entry of tensor {}", shown(key)), value)?;
        let data_type = DataType(entry.data_type);
        let storage = data_type.storage().ok_or_else(|| {
            Error::unsupported(self.file, format!("tensor {} is of {}", shown(key), data_type.name()))
        })?;
        let (shape, elements) = shape_of(entry.shape).map_err(about)?;
        let shard = u32::try_from(entry.shard).ok().filter(|_| entry.shard < shard_count);
        let shard = shard.ok_or_else(|| about(format!("is in shard {}, and there are {shard_count}", entry.shard)))?;
        let place = u64::try_from(entry.offset).ok().zip(u64::try_from(entry.size).ok());
        let (offset, size) =
            place.ok_or_else(|| about(format!("has {} bytes at byte {}", entry.size, entry.offset)))?;
        let is_sliced = !entry.slices.is_empty();
        if !is_sliced {
            check_size(storage, elements, size).map_err(|reason| about(format!("of shape {shape:?} {reason}")))?;
        }
        let (key, checksum) = (key.to_vec(), entry.checksum);
        Ok(Entry { key, data_type, storage, shape, elements, is_sliced, shard, offset, size, checksum })
    }

    fn decode<T: prost::Message + Default>(&self, what: &str, value: &[u8]) -> Result<T> {
        T::decode(value).map_err(|error| self.malformed(format!("{what}: {error}")))
    }

    fn malformed(&self, reason: String) -> Error {
        Error::malformed(self.file, reason)
    }

    fn too_large(&self) -> Error {
        Error::TooLarge {
            what: format!("the index in {}", self.file),
            size: format!("more than {MOST_MEMORY} bytes in memory"),
            limit: format!("{MOST_MEMORY} bytes"),
        }
    }
}

fn shown(key: &[u8]) -> String {
    quote(&String::from_utf8_lossy(key))
}

fn shape_of(shape: Option<Shape>) -> std::result::Result<(Vec<u64>, u64), String> {
    let shape = shape.unwrap_or_default();
    if shape.is_unknown {
        return Err("has an unknown shape".into());
    }
    if shape.dimensions.len() > MOST_DIMENSIONS {
        return Err(format!("has {} dimensions, and {MOST_DIMENSIONS} are possible", shape.dimensions.len()));
    }
    let sizes: Vec<i64> = shape.dimensions.iter().map(|dimension| dimension.size).collect();
    let sizes = sizes
        .iter()
        .map(|size| u64::try_from(*size))
        .collect::<std::result::Result<Vec<u64>, _>>()
        .map_err(|_| format!("has the shape {sizes:?}"))?;
    let elements = sizes.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    let elements = elements.ok_or_else(|| format!("has the shape {sizes:?}, whose product overflows 64 bits"))?;
    Ok((sizes, elements))
}

fn check_size(storage: Storage, elements: u64, size: u64) -> std::result::Result<(), String> {
    match storage {
        Storage::Bytes(each) if u128::from(elements) * u128::from(each) != u128::from(size) => {
            Err(format!("has {size} bytes, but {elements} values of {each} bytes"))
        }
        // Each value has at least its length.
        Storage::Texts | Storage::Objects if elements > size => Err(format!("has {size} bytes, but {elements} values")),
        Storage::Bytes(_) | Storage::Texts | Storage::Objects => Ok(()),
    }
}
