//! The file format of weights and checkpoints: a length, a JSON header, numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use seedhouse_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Far longer than the header of any file that is trained.
const MOST_HEADER_BYTES: u64 = 64 << 20;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NamedTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<f32>,
}

/// A tensor to be written.
pub(crate) struct TensorRef<'t> {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: &'t [f32],
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Writes a file and waits until it is on the disk. What was written of it is removed when that fails.
///
/// # Errors
/// [`Error::Io`] when the system refuses, e.g. because the disk is full.
pub(crate) fn write(path: &Path, notes: &[(String, String)], tensors: &[TensorRef<'_>]) -> Result<()> {
    let written = write_all(path, notes, tensors);
    if written.is_err() {
        // The first error is the one to tell; a file that is left is overwritten by the next try.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn write_all(path: &Path, notes: &[(String, String)], tensors: &[TensorRef<'_>]) -> Result<()> {
    let failed = || Error::io("write", path);
    let mut header = Map::new();
    let notes = notes.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str()))).collect();
    header.insert("__metadata__".into(), Value::Object(notes));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + 4 * tensor.numbers.len();
        header
            .insert(tensor.name.clone(), json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut text = Value::Object(header).to_string();
    // Numbers begin at a multiple of eight.
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    let file = File::create(path).map_err(failed())?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let mut write = || {
        writer.write_all(&(text.len() as u64).to_le_bytes())?;
        writer.write_all(text.as_bytes())?;
        let mut bytes = Vec::with_capacity(1 << 16);
        for tensor in tensors {
            for piece in tensor.numbers.chunks(1 << 14) {
                bytes.clear();
                piece.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
                writer.write_all(&bytes)?;
            }
        }
        writer.flush()?;
        writer.get_ref().sync_all()
    };
    write().map_err(failed())
}

/// How a number lies in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    F32,
    F16,
    Bf16,
}

impl Number {
    fn of(dtype: &str) -> Option<Number> {
        match dtype {
            "F32" => Some(Number::F32),
            "F16" => Some(Number::F16),
            "BF16" => Some(Number::Bf16),
            _ => None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::F16 | Number::Bf16 => 2,
        }
    }

    fn read(self, bytes: &[u8]) -> Vec<f32> {
        let halves = || bytes.chunks_exact(2).map(|two| [two[0], two[1]]);
        match self {
            Number::F32 => {
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
            }
            Number::F16 => halves().map(|two| half::f16::from_le_bytes(two).to_f32()).collect(),
            Number::Bf16 => halves().map(|two| half::bf16::from_le_bytes(two).to_f32()).collect(),
        }
    }
}

/// Where a tensor stands in a file.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    number: Number,
    start: u64,
    bytes: usize,
}

/// A file whose header was read and held against the file's length.
#[derive(Debug)]
pub(crate) struct Reader {
    file: File,
    path: PathBuf,
    /// What errors call it.
    name: String,
    notes: BTreeMap<String, String>,
    tensors: Vec<Place>,
}

impl Reader {
    /// Reads the header of a file. `name` is what errors call it.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a file that is none, [`Error::Unsupported`] for other types than F32, F16 and BF16.
    pub(crate) fn open(path: &Path, name: &str) -> Result<Reader> {
        let malformed = |reason: String| Error::malformed(format!("file `{name}`"), reason);
        let mut file = File::open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| malformed(format!("it has {size} bytes, fewer than a header")))?;
        let length = u64::from_le_bytes(length);
        if length > MOST_HEADER_BYTES.min(size - 8) {
            return Err(malformed(format!("its header has {length} bytes, but the file has {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(Error::io("read", path))?;
        let mut header: Map<String, Value> =
            serde_json::from_slice(&header).map_err(|error| malformed(error.to_string()))?;
        let notes = header.remove("__metadata__").unwrap_or_else(|| json!({}));
        let notes = serde_json::from_value(notes).map_err(|error| malformed(error.to_string()))?;
        let entry = |(tensor, entry): (String, Value)| match serde_json::from_value::<Entry>(entry) {
            Ok(entry) => Ok((tensor, entry)),
            Err(error) => Err(malformed(format!("tensor `{}`: {error}", tensor.escape_debug()))),
        };
        let mut entries = header.into_iter().map(entry).collect::<Result<Vec<_>>>()?;
        let data_start = 8 + length;
        check_places(&mut entries, size - data_start).map_err(malformed)?;
        let place = |(tensor, entry)| place(name, tensor, entry, data_start);
        let tensors = entries.into_iter().map(place).collect::<Result<_>>()?;
        Ok(Reader { file, path: path.to_owned(), name: name.to_owned(), notes, tensors })
    }

    /// Returns what errors call the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what whoever wrote the file noted under a name.
    pub(crate) fn note(&self, name: &str) -> Option<&str> {
        self.notes.get(name).map(String::as_str)
    }

    /// Returns the tensors, in the order of the file.
    pub(crate) fn tensors(&self) -> &[Place] {
        &self.tensors
    }

    /// Reads a tensor by its place among the others. Numbers of 16 bits become f32.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub(crate) fn numbers(&mut self, place: usize) -> Result<Vec<f32>> {
        let Place { number, start, bytes, .. } = self.tensors[place];
        let mut own = vec![0; bytes];
        let read = self.file.seek(SeekFrom::Start(start)).and_then(|_| self.file.read_exact(&mut own));
        read.map_err(Error::io("read", &self.path))?;
        Ok(number.read(&own))
    }
}

/// Checks that tensors stand one after the other from the first byte to the last, as the format wants it: together they are no longer than
/// the file. Puts them in that order.
fn check_places(entries: &mut [(String, Entry)], data_bytes: u64) -> Result<(), String> {
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut expected = 0;
    for (tensor, Entry { data_offsets: [start, end], .. }) in &*entries {
        if *start != expected || end < start || *end > data_bytes {
            let tensor = tensor.escape_debug();
            return Err(format!(
                "tensor `{tensor}` stands at {start} to {end}, but should begin at {expected} of {data_bytes}"
            ));
        }
        expected = *end;
    }
    match expected == data_bytes {
        true => Ok(()),
        false => Err(format!("its tensors end at byte {expected}, but {data_bytes} bytes follow the header")),
    }
}

/// Holds the shape of a tensor against its bytes, whose place was held against the file `name`.
fn place(name: &str, tensor: String, entry: Entry, data_start: u64) -> Result<Place> {
    let Entry { dtype, shape, data_offsets: [start, end] } = entry;
    let quoted = tensor.escape_debug();
    let number = Number::of(&dtype).ok_or_else(|| {
        let what = format!("type `{}` of tensor `{quoted}`", dtype.escape_debug());
        Error::unsupported(what, "F32, F16 and BF16 are trained")
    })?;
    let needed = shape.iter().try_fold(number.bytes(), |bytes, size| bytes.checked_mul(*size));
    match needed.filter(|needed| *needed as u64 == end - start) {
        Some(bytes) => Ok(Place { number, start: data_start + start, bytes, shape, name: tensor }),
        None => {
            let reason = format!("tensor `{quoted}` of shape {shape:?} has {} bytes", end - start);
            Err(Error::malformed(format!("file `{name}`"), reason))
        }
    }
}

/// Reads a file: its notes and its tensors. Numbers of 16 bits become f32. `name` is what errors call it.
///
/// # Errors
/// As [`Reader::open`] and [`Reader::numbers`].
pub(crate) fn read(path: &Path, name: &str) -> Result<(BTreeMap<String, String>, Vec<NamedTensor>)> {
    let mut reader = Reader::open(path, name)?;
    let numbers = (0..reader.tensors.len()).map(|place| reader.numbers(place)).collect::<Result<Vec<_>>>()?;
    let named = |(Place { name, shape, .. }, numbers)| NamedTensor { name, shape, numbers };
    Ok((reader.notes, reader.tensors.into_iter().zip(numbers).map(named).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let numbers: Vec<f32> = (0..100_000).map(|number| number as f32 * 0.5).collect();
        let tensors = [
            TensorRef { name: "b".into(), shape: vec![2, 3], numbers: &numbers[..6] },
            TensorRef { name: "a".into(), shape: vec![100_000], numbers: &numbers },
        ];
        write(&path, &[("what".into(), "\"a\" text".into())], &tensors).unwrap();
        let (notes, found) = read(&path, "a").unwrap();
        assert_eq!(notes["what"], "\"a\" text");
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|tensor| tensor.shape == [2, 3] && tensor.numbers == numbers[..6]));
        let bytes = std::fs::read(&path).unwrap();
        for end in [0, 4, 8, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(matches!(read(&path, "a"), Err(Error::Malformed { .. })), "{end} bytes");
        }
    }

    fn write_header(path: &Path, header: &Value, data: &[u8]) {
        let header = header.to_string();
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn tensors_that_share_bytes_were_allocated_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = |start: u64, end: u64| json!({"dtype": "F32", "shape": [2], "data_offsets": [start, end]});
        let cases = [
            (json!({"a": tensor(0, 8), "b": tensor(0, 8)}), "`b` stands at 0 to 8, but should begin at 8 of 16"),
            (json!({"a": tensor(0, 8), "b": tensor(4, 12)}), "`b` stands at 4 to 12, but should begin at 8 of 16"),
            (json!({"a": tensor(0, 8), "b": tensor(8, 24)}), "`b` stands at 8 to 24"),
            (json!({"a": tensor(8, 16)}), "`a` stands at 8 to 16, but should begin at 0"),
            (json!({"a": tensor(0, 8)}), "end at byte 8, but 16 bytes follow"),
            (json!({"a": tensor(8, 0)}), "`a` stands at 8 to 0"),
            (json!({"a": {"dtype": "F32", "shape": [1_u64 << 62, 4], "data_offsets": [0, 16]}}), "has 16 bytes"),
            (json!({"a": {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]}}), "of shape [5] has 16 bytes"),
        ];
        for (header, expected) in cases {
            write_header(&path, &header, &[0; 16]);
            let error = read(&path, "a").unwrap_err().to_string();
            assert!(error.contains(expected), "`{error}` should have `{expected}`");
        }
        write_header(&path, &json!({"a": tensor(8, 16), "b": tensor(0, 8)}), &[0; 16]);
        assert_eq!(read(&path, "a").unwrap().1.len(), 2);
    }

    #[test]
    fn halves_are_what_they_stand_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let header = json!({
            "f": {"dtype": "F16", "shape": [3], "data_offsets": [0, 6]},
            "b": {"dtype": "BF16", "shape": [2], "data_offsets": [6, 10]},
        });
        let bits: [u16; 5] = [0x3c00, 0xc000, 0x0001, 0x3f80, 0xc049];
        write_header(&path, &header, &bits.map(u16::to_le_bytes).concat());
        let numbers: Vec<f32> = read(&path, "a").unwrap().1.into_iter().flat_map(|tensor| tensor.numbers).collect();
        assert_eq!(numbers, [1.0, -2.0, 5.960_464_5e-8, 1.0, -3.140_625]);
    }
}
