//! Decoders in GGUF files: the families of llama.cpp that differ in the kinds of their parts only.

use std::sync::Arc;

use seedhouse_core::{Error, Result};

mod config;
mod keys;
mod names;
mod rope;

use self::keys::Keys;
use super::DecoderModel;
use super::naming::Naming;
use super::role::{Presence, Role};
use super::rotary::{Rotary, RotaryStyle};
use super::spec::{DecoderSpec, FeedForward, NormKind, Positions};
use super::stored_tensor::{ShapeOrder, StoredTensor};
use super::tensor_table::TensorTable;
use crate::gguf::Gguf;
use crate::mapped_file::MappedFile;

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_EMBEDDING: &str = "token_embd.weight";
/// Divisors of the speeds of rotation, one for each pair: how llama.cpp writes the scaling of Llama 3.
const ROTARY_FACTORS: &str = "rope_freqs.weight";

/// What the name of an architecture says, and no key repeats.
#[derive(Debug, Clone, Copy)]
struct Family {
    /// The name in `general.architecture`.
    architecture: &'static str,
    norm: NormKind,
    /// `None` for learned positions.
    rotary: Option<RotaryStyle>,
    feed_forward: FeedForward,
    head_norms: bool,
    /// Whether queries, keys and values are one tensor.
    is_fused: bool,
}

/// Llama's rows of queries and keys are permuted by the converter so that pairs are neighbours; other families' are not.
const FAMILIES: [Family; 4] = [
    Family {
        architecture: "llama",
        norm: NormKind::Rms,
        rotary: Some(RotaryStyle::Interleaved),
        feed_forward: FeedForward::GatedSilu,
        head_norms: false,
        is_fused: false,
    },
    Family {
        architecture: "qwen2",
        norm: NormKind::Rms,
        rotary: Some(RotaryStyle::Halves),
        feed_forward: FeedForward::GatedSilu,
        head_norms: false,
        is_fused: false,
    },
    Family {
        architecture: "qwen3",
        norm: NormKind::Rms,
        rotary: Some(RotaryStyle::Halves),
        feed_forward: FeedForward::GatedSilu,
        head_norms: true,
        is_fused: false,
    },
    Family {
        architecture: "gpt2",
        norm: NormKind::Layer,
        rotary: None,
        feed_forward: FeedForward::GeluTanh,
        head_norms: false,
        is_fused: true,
    },
];

/// Reads a model.
///
/// # Errors
/// [`Error::Malformed`] when metadata, vocabulary and tensors do not fit each other, naming both values;
/// [`Error::Unsupported`] for a family, a variant or a type of tensors that is not computed here.
pub(crate) fn read(gguf: &Gguf<'_>, file: &Arc<MappedFile>) -> Result<DecoderModel> {
    let family = family(gguf)?;
    let keys = Keys::new(gguf, family.architecture);
    keys.refuse_variants()?;
    let mut table = table(gguf, file)?;
    let vocab_size = vocab_size(&keys)?;
    let is_tied = table.get("output.weight").is_none();
    let mut spec = config::read(&keys, &family, vocab_size, is_tied)?;
    divide_speeds(&mut spec, &mut table)?;
    let name = if family.is_fused { names::of_fused } else { names::of_separate };
    let tensors = table.assign(&spec, &Naming { name, optional: &|_| Presence::Optional })?;
    Ok(DecoderModel { spec, tensors })
}

/// Returns llama.cpp's name for the tensor of a role.
pub(crate) fn tensor_name(role: Role, layer: Option<usize>, is_fused: bool) -> Option<String> {
    let name = if is_fused { names::of_fused(role) } else { names::of_separate(role) }?;
    Some(layer.map_or_else(|| name.template.to_owned(), |layer| name.of_layer(layer)))
}

fn family(gguf: &Gguf<'_>) -> Result<Family> {
    let key = "general.architecture";
    let name = gguf.metadata.required(key, gguf.metadata.name(key)?)?;
    let found = FAMILIES.into_iter().find(|family| family.architecture == name);
    found.ok_or_else(|| {
        let known = FAMILIES.map(|family| family.architecture).join("`, `");
        Error::unsupported(
            format!("architecture `{}`", name.escape_debug()),
            format!("the decoders that are computed are `{known}`"),
        )
    })
}

fn table(gguf: &Gguf<'_>, file: &Arc<MappedFile>) -> Result<TensorTable> {
    let mut table = TensorTable::new(gguf.path, "the metadata", ShapeOrder::Innermost);
    let subject = Arc::clone(&table.subject);
    for (name, tensor) in &gguf.tensors {
        table.insert(name, StoredTensor::of_gguf(&subject, file, tensor))?;
    }
    Ok(table)
}

/// The number of tokens stands in up to three places.
fn vocab_size(keys: &Keys<'_, '_>) -> Result<usize> {
    let gguf = keys.gguf;
    let tokens = gguf.metadata.array(TOKENS)?.map(|tokens| tokens.length() as u64);
    let embedding = gguf.tensors.get(TOKEN_EMBEDDING);
    let rows = embedding.and_then(|embedding| embedding.shape.0.get(1)).copied();
    let key = keys.name("vocab_size");
    let claimed = gguf.metadata.unsigned(&key)?;
    let size = tokens.or(claimed).or(rows).unwrap_or(0);
    if let Some(claimed) = claimed.filter(|claimed| *claimed != size) {
        return Err(gguf.metadata.broken_rule(&key, claimed, &format!("the vocabulary has {size} tokens")));
    }
    match (rows, embedding) {
        (Some(rows), Some(embedding)) if rows != size => {
            let shape = &embedding.shape;
            let reason = format!("the vocabulary has {size} tokens, but `{TOKEN_EMBEDDING}` has the shape {shape}");
            Err(Error::malformed(gguf.path, reason))
        }
        _ => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
    }
}

fn divide_speeds(spec: &mut DecoderSpec, table: &mut TensorTable) -> Result<()> {
    let Positions::Rotary(rotary) = &spec.positions else { return Ok(()) };
    let Some(factors) = table.vector(ROTARY_FACTORS, rotary.frequencies.len())? else { return Ok(()) };
    let divided = Rotary::clone(rotary).divided_by(&factors.to_vec());
    let malformed =
        |reason: String| Error::malformed(factors.subject(), format!("tensor `{ROTARY_FACTORS}`: {reason}"));
    spec.positions = Positions::Rotary(divided.map_err(malformed)?);
    Ok(())
}
