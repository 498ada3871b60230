//! The tensors of a file: those that are plain, and the quantised ones with their scales.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use half::f16;
use seedhouse_core::{Error, QuantizationType, Result};

use super::KEY;
use super::document::{Document, TensorNote};
use super::layout::{Layout, scale_name};
use crate::huggingface::safetensors::{self, TensorEntry};
use crate::quote::quote;

/// A quantised tensor and where its bytes lie in the file. They are as many as its layout says.
#[derive(Debug, Clone)]
pub(crate) struct QuantizedEntry {
    pub(crate) name: String,
    pub(crate) layout: Layout,
    pub(crate) integers: Range<usize>,
    pub(crate) scales: Range<usize>,
}

/// The tensors of a file.
#[derive(Debug)]
pub(crate) struct Split {
    /// The type of a quantised file.
    pub(crate) kind: Option<QuantizationType>,
    pub(crate) plain: Vec<TensorEntry>,
    pub(crate) quantized: Vec<QuantizedEntry>,
}

/// Takes what the header of the file called `path` says apart.
///
/// # Errors
/// [`Error::Malformed`] for a document that breaks a rule or that the tensors contradict, and for scales that are none;
/// [`Error::Unsupported`] for a later version of the format.
pub(crate) fn split(
    path: &str,
    bytes: &[u8],
    entries: Vec<TensorEntry>,
    texts: &HashMap<String, String>,
) -> Result<Split> {
    let Some(text) = texts.get(KEY) else { return Ok(Split { kind: None, plain: entries, quantized: Vec::new() }) };
    let document = Document::read(path, text)?;
    let malformed = |reason: String| Error::malformed(format!("file `{path}`"), reason);
    let mut left: BTreeMap<String, TensorEntry> =
        entries.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
    let mut quantized = Vec::with_capacity(document.tensors.len());
    for (name, note) in document.tensors {
        let entry = take(&mut left, bytes, name, note).map_err(&malformed)?;
        quantized.push(entry);
    }
    let stray = left.keys().find(|name| name.strip_suffix(".scale").is_some_and(|of| left.contains_key(of)));
    if let Some(stray) = stray {
        return Err(malformed(format!("tensor {} has scales, but `{KEY}` does not say of what", quote(stray))));
    }
    Ok(Split { kind: Some(document.kind), plain: left.into_values().collect(), quantized })
}

/// Reads the header of the file called `path` with quantised tensors in the shapes that they had before, and without scales.
///
/// # Errors
/// As [`split`], and those of a broken header.
pub(crate) fn described(path: &str, bytes: &[u8]) -> Result<(Vec<TensorEntry>, Option<QuantizationType>)> {
    let (entries, texts) = safetensors::read_with_texts(path, bytes)?;
    let Split { kind, mut plain, quantized } = split(path, bytes, entries, &texts)?;
    plain.extend(quantized.into_iter().map(|QuantizedEntry { name, layout, integers, .. }| TensorEntry {
        name,
        dtype: layout.type_name().to_owned(),
        shape: layout.shape().iter().map(|size| *size as u64).collect(),
        elements: layout.elements() as u64,
        range: integers,
    }));
    Ok((plain, kind))
}

/// Takes a tensor and its scales out of those that are left.
fn take(
    left: &mut BTreeMap<String, TensorEntry>,
    bytes: &[u8],
    name: String,
    note: TensorNote,
) -> Result<QuantizedEntry, String> {
    let quoted = quote(&name);
    let layout = Layout::new(note.kind, note.shape, note.axis).map_err(|rule| format!("tensor {quoted}: {rule}"))?;
    let missing = |name: &str| format!("tensor {} is missing, which `{KEY}` asks for", quote(name));
    let integers = left.remove(&name).ok_or_else(|| missing(&name))?;
    check(&integers, layout.dtype(), &layout.stored_shape())?;
    let scales = left.remove(&scale_name(&name)).ok_or_else(|| missing(&scale_name(&name)))?;
    check(&scales, layout.scale_dtype(), &layout.scale_shape())?;
    check_scales(&layout, &scales.name, &bytes[scales.range.clone()])?;
    Ok(QuantizedEntry { name, layout, integers: integers.range, scales: scales.range })
}

fn check(entry: &TensorEntry, dtype: &str, shape: &[usize]) -> Result<(), String> {
    let same =
        entry.shape.len() == shape.len() && entry.shape.iter().zip(shape).all(|(found, size)| *found == *size as u64);
    if same && entry.dtype == dtype {
        return Ok(());
    }
    let (name, found) = (quote(&entry.name), quote(&entry.dtype));
    Err(format!("tensor {name} is {found} {:?}, but `{KEY}` makes it `{dtype}` {shape:?}", entry.shape))
}

fn check_scales(layout: &Layout, name: &str, stored: &[u8]) -> Result<(), String> {
    let is_good = |scale: f32| layout.is_scale(scale);
    let bad = match layout.has_groups() {
        true => first_bad(stored.as_chunks::<2>().0, |bytes| f16::from_le_bytes(bytes).to_f32(), is_good),
        false => first_bad(stored.as_chunks::<4>().0, f32::from_le_bytes, is_good),
    };
    match bad {
        None => Ok(()),
        Some((place, scale)) => Err(format!("scale {place} of tensor {} is {scale}, which no scale is", quote(name))),
    }
}

fn first_bad<const BYTES: usize>(
    stored: &[[u8; BYTES]],
    decode: impl Fn([u8; BYTES]) -> f32,
    is_good: impl Fn(f32) -> bool,
) -> Option<(usize, f32)> {
    stored.iter().map(|bytes| decode(*bytes)).enumerate().find(|(_, scale)| !is_good(*scale))
}
