//! Writes what TensorFlow would not: checkpoints with any entries, in tables with any blocks.

use prost::Message;

use super::super::checksum::masked;
use super::super::messages::{BundleEntry, BundleHeader, Dimension, Shape, Slice};
use super::Folder;

/// A table as its blocks: entries by key, in the order they are written.
pub(super) struct TableWriter {
    pub(super) blocks: Vec<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(super) is_compressed: bool,
}

impl TableWriter {
    pub(super) fn of(entries: Vec<(Vec<u8>, Vec<u8>)>) -> TableWriter {
        TableWriter { blocks: vec![entries], is_compressed: false }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let mut places = Vec::new();
        for (number, entries) in self.blocks.iter().enumerate() {
            let place = self.write(&mut file, &block(entries));
            places.push((format!("{number:04}").into_bytes(), place));
        }
        let index = self.write(&mut file, &block(&places));
        finish(file, &index)
    }

    /// Adds a block and returns its place.
    fn write(&self, file: &mut Vec<u8>, block: &[u8]) -> Vec<u8> {
        let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        let bytes = if self.is_compressed { packed } else { block.to_vec() };
        let place = place(file.len() as u64, bytes.len() as u64);
        file.extend(with_trailer(bytes, u8::from(self.is_compressed)));
        place
    }
}

/// What stands at the end of a block with one key that is whole: its place, and how many there are.
pub(super) const RESTARTS: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];

/// Returns a table of one block that is given as its bytes.
pub(super) fn table_of_block(bytes: Vec<u8>, compression: u8) -> Vec<u8> {
    let size = bytes.len() as u64;
    let mut file = with_trailer(bytes, compression);
    let index = block(&[(b"z".to_vec(), place(0, size))]);
    let at = place(file.len() as u64, index.len() as u64);
    file.extend(with_trailer(index, 0));
    finish(file, &at)
}

/// Returns blocks with one without filters and the footer behind them.
pub(super) fn finish(mut file: Vec<u8>, index: &[u8]) -> Vec<u8> {
    let filters = block(&[]);
    let mut footer = [&place(file.len() as u64, filters.len() as u64)[..], index].concat();
    file.extend(with_trailer(filters, 0));
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file
}

pub(super) fn with_trailer(mut bytes: Vec<u8>, compression: u8) -> Vec<u8> {
    bytes.push(compression);
    let checksum = masked(crc32c::crc32c(&bytes));
    bytes.extend(checksum.to_le_bytes());
    bytes
}

pub(super) fn place(offset: u64, size: u64) -> Vec<u8> {
    [number(offset), number(size)].concat()
}

pub(super) fn number(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// Returns a block in which every key but the first shares what it can.
pub(super) fn block(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let (mut bytes, mut last): (Vec<u8>, &[u8]) = (Vec::new(), &[]);
    for (key, value) in entries {
        let shared = key.iter().zip(last).take_while(|(one, other)| one == other).count();
        bytes.extend(raw_entry(shared as u64, &key[shared..], value));
        last = key;
    }
    bytes.extend(RESTARTS);
    bytes
}

pub(super) fn raw_entry(shared: u64, added: &[u8], value: &[u8]) -> Vec<u8> {
    [&number(shared)[..], &number(added.len() as u64), &number(value.len() as u64), added, value].concat()
}

/// A checkpoint of one shard as its parts, which tests break.
#[derive(Clone)]
pub(super) struct CheckpointWriter {
    pub(super) header: BundleHeader,
    pub(super) entries: Vec<(Vec<u8>, BundleEntry)>,
    pub(super) data: Vec<u8>,
}

impl CheckpointWriter {
    /// Returns two variables, `a` of four and `b` of two values of float32.
    pub(super) fn new() -> CheckpointWriter {
        let data: Vec<u8> = (1..=6_u8).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        let entries =
            vec![(b"a".to_vec(), entry(&[2, 2], 0, &data[..16])), (b"b".to_vec(), entry(&[2], 16, &data[16..]))];
        CheckpointWriter { header: BundleHeader { shard_count: 1, ..BundleHeader::default() }, entries, data }
    }

    pub(super) fn table(&self) -> TableWriter {
        let header = (Vec::new(), self.header.encode_to_vec());
        let entries = self.entries.iter().map(|(key, entry)| (key.clone(), entry.encode_to_vec()));
        TableWriter::of(std::iter::once(header).chain(entries).collect())
    }

    pub(super) fn folder(&self) -> Folder {
        self.folder_with(&self.table().bytes())
    }

    pub(super) fn folder_with(&self, index: &[u8]) -> Folder {
        Folder::default().with("m.index", index).with("m.data-00000-of-00001", &self.data)
    }
}

/// Returns an entry of float32 with its right checksum.
pub(super) fn entry(shape: &[i64], offset: i64, bytes: &[u8]) -> BundleEntry {
    BundleEntry {
        data_type: 1,
        shape: Some(shape_of(shape)),
        offset,
        size: bytes.len() as i64,
        checksum: masked(crc32c::crc32c(bytes)),
        ..BundleEntry::default()
    }
}

pub(super) fn shape_of(sizes: &[i64]) -> Shape {
    Shape { dimensions: sizes.iter().map(|size| Dimension { size: *size }).collect(), is_unknown: false }
}

/// Returns the entry of a variable in so many parts.
pub(super) fn in_parts(shape: &[i64], parts: usize) -> BundleEntry {
    BundleEntry { data_type: 1, shape: Some(shape_of(shape)), slices: vec![Slice {}; parts], ..BundleEntry::default() }
}
