//! The numbers that shape a `llama` model, read from the metadata and checked against each other.

use seedhouse_core::{Error, Result};

use crate::gguf::{Gguf, Value};
use crate::quote::quote;

/// Positions up to here are exact in f32, in which other programs count them.
const LONGEST_CONTEXT: u64 = 1 << 24;
/// What llama.cpp assumes when the file does not say.
const DEFAULT_FREQUENCY_BASE: f64 = 10_000.0;

/// The shape of a model. Every number is at least 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Config {
    pub(super) layers: usize,
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    pub(super) head_width: usize,
    pub(super) feed_forward_width: usize,
    pub(super) context_length: usize,
    pub(super) norm_epsilon: f32,
    pub(super) rotary_dimensions: usize,
    pub(super) frequency_base: f64,
}

impl Config {
    /// Reads the numbers.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a missing or impossible number, [`Error::Unsupported`] for a variant we do not compute.
    pub(super) fn read(gguf: &Gguf<'_>) -> Result<Config> {
        refuse_variants(gguf)?;
        let width = size(gguf, "llama.embedding_length")?;
        let heads = size(gguf, "llama.attention.head_count")?;
        let key_value_heads = match gguf.metadata.get("llama.attention.head_count_kv") {
            Some(_) => size(gguf, "llama.attention.head_count_kv")?,
            None => heads,
        };
        multiple(gguf, ("llama.embedding_length", width), ("llama.attention.head_count", heads))?;
        multiple(gguf, ("llama.attention.head_count", heads), ("llama.attention.head_count_kv", key_value_heads))?;
        let head_width = width / heads;
        refuse_head_widths(gguf, head_width)?;
        Ok(Config {
            layers: size(gguf, "llama.block_count")?,
            width,
            heads,
            key_value_heads,
            head_width,
            feed_forward_width: size(gguf, "llama.feed_forward_length")?,
            context_length: context_length(gguf)?,
            norm_epsilon: norm_epsilon(gguf)?,
            rotary_dimensions: rotary_dimensions(gguf, head_width)?,
            frequency_base: frequency_base(gguf)?,
        })
    }

    /// Returns the length of the keys, and of the values, of one token.
    pub(super) fn key_value_width(&self) -> usize {
        self.key_value_heads * self.head_width
    }
}

/// Reads a whole number of at least 1. Its upper bound is the tensors: their shapes are compared with it.
fn size(gguf: &Gguf<'_>, key: &str) -> Result<usize> {
    let value = gguf.metadata.required(key, gguf.metadata.unsigned(key)?)?;
    match u32::try_from(value) {
        Ok(0) | Err(_) => Err(gguf.metadata.broken_rule(key, value, "must be between 1 and 2^32 - 1")),
        Ok(value) => Ok(value as usize),
    }
}

fn multiple(gguf: &Gguf<'_>, whole: (&str, usize), part: (&str, usize)) -> Result<()> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    Err(gguf.metadata.broken_rule(
        whole.0,
        whole.1,
        &format!("must be a multiple of `{}`, which is {}", part.0, part.1),
    ))
}

fn context_length(gguf: &Gguf<'_>) -> Result<usize> {
    let key = "llama.context_length";
    let length = size(gguf, key)?;
    if length as u64 > LONGEST_CONTEXT {
        return Err(gguf.metadata.broken_rule(key, length, &format!("must be at most {LONGEST_CONTEXT}")));
    }
    Ok(length)
}

fn norm_epsilon(gguf: &Gguf<'_>) -> Result<f32> {
    let key = "llama.attention.layer_norm_rms_epsilon";
    let epsilon = gguf.metadata.required(key, gguf.metadata.float(key)?)?;
    if !(epsilon > 0.0 && epsilon < 1.0) {
        return Err(gguf.metadata.broken_rule(key, epsilon, "must be between 0 and 1"));
    }
    Ok(epsilon as f32)
}

fn frequency_base(gguf: &Gguf<'_>) -> Result<f64> {
    let key = "llama.rope.freq_base";
    let base = gguf.metadata.float(key)?.unwrap_or(DEFAULT_FREQUENCY_BASE);
    if !(base.is_finite() && base >= 1.0) {
        return Err(gguf.metadata.broken_rule(key, base, "must be finite and at least 1"));
    }
    Ok(base)
}

fn rotary_dimensions(gguf: &Gguf<'_>, head_width: usize) -> Result<usize> {
    let key = "llama.rope.dimension_count";
    let dimensions = match gguf.metadata.get(key) {
        Some(_) => size(gguf, key)?,
        None => head_width,
    };
    if dimensions > head_width || !dimensions.is_multiple_of(2) {
        let rule = format!("must be even and at most the width of a head, which is {head_width}");
        return Err(gguf.metadata.broken_rule(key, dimensions, &rule));
    }
    Ok(dimensions)
}

/// Keys whose values are read, or say nothing that tensors and vocabulary do not say.
const KNOWN: [&str; 12] = [
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.vocab_size",
];

/// Refuses what would, or might, change the arithmetic: a key that is not known may only have the value that changes nothing.
fn refuse_variants(gguf: &Gguf<'_>) -> Result<()> {
    const SCALING: &str = "rotary positions are computed without scaling";
    const EXPERTS: &str = "mixtures of experts are not computed";
    let neutral = [
        ("llama.rope.scaling.type", Value::Text("none"), SCALING),
        ("llama.rope.scaling.factor", Value::Float(1.0), SCALING),
        ("llama.rope.scaling.finetuned", Value::Boolean(false), SCALING),
        ("llama.rope.scale_linear", Value::Float(1.0), SCALING),
        ("llama.expert_count", Value::Unsigned(0), EXPERTS),
        ("llama.expert_used_count", Value::Unsigned(0), EXPERTS),
        ("llama.attention.causal", Value::Boolean(true), "every token sees only what lies before it"),
    ];
    for (key, value) in gguf.metadata.starting_with("llama.") {
        let reason = match neutral.iter().find(|(name, ..)| *name == key) {
            Some((_, neutral, _)) if *neutral == value => continue,
            Some((.., reason)) => *reason,
            None if KNOWN.contains(&key) => continue,
            None => "this runtime does not know what it does to the arithmetic",
        };
        return Err(Error::unsupported(format!("metadata {} with {value}", quote(key)), reason));
    }
    Ok(())
}

/// Heads whose keys or values are wider or narrower than the queries exist in other families' conversions.
fn refuse_head_widths(gguf: &Gguf<'_>, head_width: usize) -> Result<()> {
    for key in ["llama.attention.key_length", "llama.attention.value_length"] {
        match gguf.metadata.unsigned(key)? {
            Some(found) if found != head_width as u64 => {
                return Err(Error::unsupported(
                    format!("metadata `{key}` with {found}"),
                    format!("heads are computed as wide as the model's width allows, which is {head_width}"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}
