//! Safetensors files, and tensors in the number types that they share with GGUF.

use half::{bf16, f16};
use serde_json::{Map, Value, json};

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct SafetensorsEntry {
    /// Its name.
    pub name: String,
    /// Its type, e.g. `BF16`.
    pub dtype: String,
    /// Dimensions, outermost first.
    pub shape: Vec<u64>,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl SafetensorsEntry {
    /// Returns a tensor of f32 numbers that are written in `dtype`.
    ///
    /// # Panics
    /// When `dtype` is not `F32`, `F16` or `BF16`.
    pub fn new(name: &str, dtype: &str, shape: &[u64], values: &[f32]) -> SafetensorsEntry {
        let data = plain_numbers(dtype, values);
        SafetensorsEntry { name: name.to_owned(), dtype: dtype.to_owned(), shape: shape.to_vec(), data }
    }
}

/// Returns the bytes of numbers in one of the plain types.
///
/// # Panics
/// When `dtype` is not `F32`, `F16` or `BF16`.
pub fn plain_numbers(dtype: &str, values: &[f32]) -> Vec<u8> {
    match dtype {
        "F32" => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        "F16" => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        "BF16" => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
        other => panic!("{other} is not written by this test kit"),
    }
}

/// Returns a file of these tensors, in their order. Nothing is checked: a test that wants a broken file gets one.
pub fn safetensors(tensors: &[SafetensorsEntry]) -> Vec<u8> {
    safetensors_with_texts(tensors, &[("format", "pt")])
}

/// Returns the same with these texts in the header.
pub fn safetensors_with_texts(tensors: &[SafetensorsEntry], texts: &[(&str, &str)]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data = Vec::new();
    for tensor in tensors {
        let start = data.len();
        data.extend(&tensor.data);
        let place = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]});
        header.insert(tensor.name.clone(), place);
    }
    let texts = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).into())).collect();
    header.insert("__metadata__".to_owned(), Value::Object(texts));
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}
