//! The file format of weights and checkpoints: a length, a JSON header, numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;

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

/// Reads a file: its notes and its tensors. Numbers of 16 bits become f32. `name` is what errors call it.
///
/// # Errors
/// [`Error::Malformed`] for a file that is none, [`Error::Unsupported`] for other types than F32, F16 and BF16.
pub(crate) fn read(path: &Path, name: &str) -> Result<(BTreeMap<String, String>, Vec<NamedTensor>)> {
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
    // The size was checked against the file above.
    let mut bytes = Vec::with_capacity((size - 8 - length) as usize);
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    let tensor = |(tensor, entry): (String, Value)| -> Result<NamedTensor> {
        let Entry { dtype, shape, data_offsets: [start, end] } = serde_json::from_value(entry)
            .map_err(|error| malformed(format!("tensor `{}`: {error}", tensor.escape_debug())))?;
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let own = range.and_then(|(start, end)| bytes.get(start..end));
        let (Some(count), Some(own)) = (count, own) else {
            let reason = format!("tensor `{}` ends at byte {end} of {}", tensor.escape_debug(), bytes.len());
            return Err(malformed(reason));
        };
        let width = match dtype.as_str() {
            "F32" => 4,
            "F16" | "BF16" => 2,
            other => {
                let what = format!("type `{}` of tensor `{}`", other.escape_debug(), tensor.escape_debug());
                return Err(Error::unsupported(what, "F32, F16 and BF16 are trained"));
            }
        };
        if count.checked_mul(width) != Some(own.len()) {
            let reason = format!("tensor `{}` of shape {shape:?} has {} bytes", tensor.escape_debug(), own.len());
            return Err(malformed(reason));
        }
        let numbers = match dtype.as_str() {
            "F32" => own.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect(),
            "BF16" => own
                .chunks_exact(2)
                .map(|two| f32::from_bits(u32::from(u16::from_le_bytes([two[0], two[1]])) << 16))
                .collect(),
            _ => own.chunks_exact(2).map(|two| half_to_f32(u16::from_le_bytes([two[0], two[1]]))).collect(),
        };
        Ok(NamedTensor { name: tensor, shape, numbers })
    };
    Ok((notes, header.into_iter().map(tensor).collect::<Result<_>>()?))
}

/// Returns the number that IEEE half precision stands for.
fn half_to_f32(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, u32::from(bits >> 10 & 0x1f), u32::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction as f32 / 16_777_216.0,
        31 if fraction == 0 => f32::INFINITY,
        31 => f32::NAN,
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    f32::from_bits(size.to_bits() | sign)
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

    #[test]
    fn halves_are_what_they_stand_for() {
        for (bits, expected) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x0001, 5.960_464_5e-8), (0x7bff, 65504.0), (0x8000, -0.0)]
        {
            assert_eq!(half_to_f32(bits).to_bits(), f32::to_bits(expected));
        }
        assert!(half_to_f32(0x7c00).is_infinite() && half_to_f32(0x7e00).is_nan());
    }
}
