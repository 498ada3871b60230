//! The header of a safetensors file: eight bytes with its length, JSON with the place of each tensor, then the tensors
//! without a gap (`huggingface/safetensors`, "Format").

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use seedhouse_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The limit of the format.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// A tensor as the header describes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TensorEntry {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) elements: u64,
    /// Where its bytes lie in the file.
    pub(crate) range: Range<usize>,
}

/// A tensor that is to be written, behind those before it.
#[derive(Debug)]
pub(crate) struct NewTensor {
    pub(crate) name: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: u64,
}

/// Returns what stands before the tensors of a file, with the texts of its `__metadata__`.
///
/// # Errors
/// [`Error::Unsupported`] for two tensors of one name.
pub(crate) fn header(tensors: &[NewTensor], texts: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut entries = Map::from_iter([("__metadata__".to_owned(), json!(texts))]);
    let mut end = 0;
    for NewTensor { name, dtype, shape, bytes } in tensors {
        let begin = end;
        end += bytes;
        let described = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]});
        if entries.insert(name.clone(), described).is_some() {
            let reason = "something else of the file has this name already";
            return Err(Error::unsupported(format!("the tensor name `{}`", name.escape_debug()), reason));
        }
    }
    let mut json = Value::Object(entries).to_string().into_bytes();
    // JSON may end with spaces, and readers that map the file find numbers at multiples of their size.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok([&(json.len() as u64).to_le_bytes()[..], &json].concat())
}

#[derive(Deserialize)]
struct Described {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeaderValue {
    Tensor(Described),
    /// `__metadata__`.
    Texts(HashMap<String, String>),
}

/// Reads the header of the file called `path` and holds it against the file's length.
pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<Vec<TensorEntry>> {
    read_with_texts(path, bytes).map(|(tensors, _)| tensors)
}

/// Does the same, and returns what whoever wrote the file noted in `__metadata__`.
pub(crate) fn read_with_texts(path: &str, bytes: &[u8]) -> Result<(Vec<TensorEntry>, HashMap<String, String>)> {
    let malformed = |reason: String| Error::malformed(format!("file `{path}`"), reason);
    let (length, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| malformed(format!("it has {} bytes, too few for a safetensors header", bytes.len())))?;
    let length = u64::from_le_bytes(*length);
    let header = usize::try_from(length).ok().filter(|_| length <= MOST_HEADER_BYTES).and_then(|end| rest.get(..end));
    let header = header
        .ok_or_else(|| malformed(format!("its header says that it has {length} bytes, and {} follow", rest.len())))?;
    let data_bytes = (rest.len() - header.len()) as u64;
    let data_start = bytes.len() - rest.len() + header.len();
    let header: HashMap<String, HeaderValue> =
        serde_json::from_slice(header).map_err(|error| malformed(format!("its header: {error}")))?;
    let mut tensors: Vec<(String, Described)> = Vec::with_capacity(header.len());
    let mut noted = HashMap::new();
    for (name, value) in header {
        match value {
            HeaderValue::Tensor(described) => tensors.push((name, described)),
            HeaderValue::Texts(texts) if name == "__metadata__" => noted = texts,
            HeaderValue::Texts(_) => {
                return Err(malformed(format!("tensor `{}` has no type, shape and place", name.escape_debug())));
            }
        }
    }
    check_places(&mut tensors, data_bytes).map_err(&malformed)?;
    let entries = tensors.into_iter().map(|(name, described)| entry(name, described, data_start).map_err(&malformed));
    Ok((entries.collect::<Result<_>>()?, noted))
}

/// The tensors stand one after the other from the first byte to the last.
fn check_places(tensors: &mut [(String, Described)], data_bytes: u64) -> Result<(), String> {
    tensors.sort_by_key(|(_, described)| described.data_offsets);
    let mut end = 0;
    for (name, Described { data_offsets: (from, to), .. }) in tensors.iter() {
        if *from != end || to < from || *to > data_bytes {
            let name = name.escape_debug();
            return Err(format!("tensor `{name}` stands at {from} to {to}, but should begin at {end} of {data_bytes}"));
        }
        end = *to;
    }
    match end == data_bytes {
        true => Ok(()),
        false => Err(format!("its tensors end at byte {end}, but {data_bytes} bytes follow the header")),
    }
}

fn entry(name: String, described: Described, data_start: usize) -> Result<TensorEntry, String> {
    let Described { dtype, shape, data_offsets: (from, to) } = described;
    let elements = shape.iter().try_fold(1u64, |product, size| product.checked_mul(*size));
    let elements =
        elements.ok_or_else(|| format!("the shape {shape:?} of tensor `{}` overflows", name.escape_debug()))?;
    let bytes = bits_of(&dtype).map(|bits| elements.checked_mul(bits).map(|bits| bits.div_ceil(8)));
    if let Some(bytes) = bytes.filter(|bytes| *bytes != Some(to - from)) {
        let needed = bytes.map_or_else(|| "more than 2^64".to_owned(), |bytes| bytes.to_string());
        let name = name.escape_debug();
        return Err(format!("tensor `{name}` ({dtype} {shape:?}) needs {needed} bytes, but has {}", to - from));
    }
    let place = |offset: u64| data_start + usize::try_from(offset).expect("the places were held against the file");
    let range = place(from)..place(to);
    Ok(TensorEntry { name, dtype, shape, elements, range })
}

/// Types of later files are kept by name; their sizes are not checked.
fn bits_of(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F64" | "I64" | "U64" | "C64" => 64,
        "F32" | "I32" | "U32" => 32,
        "F16" | "BF16" | "I16" | "U16" => 16,
        "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "I8" | "U8" | "BOOL" => 8,
        "F4" => 4,
        _ => return None,
    })
}
