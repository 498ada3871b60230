//! The spec of a GGUF file, from its metadata.

use seedhouse_core::{Error, Result};

use super::keys::Keys;
use super::{Family, rope};
use crate::decoder::spec::{DecoderSpec, LONGEST_CONTEXT, Norm, NormKind, NormPlacement, Positions};

/// Reads the numbers.
///
/// # Errors
/// [`Error::Malformed`] for a missing or impossible number, [`Error::Unsupported`] for a variant that is not computed.
pub(super) fn read(keys: &Keys<'_, '_>, family: &Family, vocab_size: usize, is_tied: bool) -> Result<DecoderSpec> {
    let width = keys.required_size("embedding_length")?;
    let query_heads = keys.required_size("attention.head_count")?;
    let key_value_heads = keys.size("attention.head_count_kv")?.unwrap_or(query_heads);
    multiple(keys, ("attention.head_count", query_heads), ("attention.head_count_kv", key_value_heads))?;
    let head_width = head_width(keys, width, query_heads)?;
    let positions = match family.rotary {
        None => Positions::Learned,
        Some(style) => Positions::Rotary(rope::read(keys, head_width, style)?),
    };
    let spec = DecoderSpec {
        architecture: family.architecture.to_owned(),
        width,
        layers: keys.required_size("block_count")?,
        query_heads,
        key_value_heads,
        head_width,
        feed_forward_width: keys.required_size("feed_forward_length")?,
        vocab_size,
        context_length: context_length(keys)?,
        norm: Norm { kind: family.norm, epsilon: epsilon(keys, family.norm)?, placement: NormPlacement::Pre },
        head_norms: family.head_norms,
        positions,
        feed_forward: family.feed_forward,
        sliding_window: keys.size_or_none("attention.sliding_window")?,
        attention_scale: attention_scale(keys, head_width)?,
        embedding_scale: None,
        tied_output: is_tied,
    };
    spec.check(keys.gguf.path)
}

fn multiple(keys: &Keys<'_, '_>, whole: (&str, usize), part: (&str, usize)) -> Result<()> {
    if whole.1.is_multiple_of(part.1) {
        return Ok(());
    }
    let rule = format!("must be a multiple of `{}`, which is {}", keys.name(part.0), part.1);
    Err(keys.broken_rule(whole.0, whole.1, &rule))
}

fn head_width(keys: &Keys<'_, '_>, width: usize, heads: usize) -> Result<usize> {
    let head_width = match keys.size("attention.key_length")? {
        Some(length) => length,
        None => {
            multiple(keys, ("embedding_length", width), ("attention.head_count", heads))?;
            width / heads
        }
    };
    match keys.size("attention.value_length")? {
        Some(length) if length != head_width => Err(Error::unsupported(
            format!("metadata `{}` with {length}", keys.name("attention.value_length")),
            format!("values are computed as long as keys, which have {head_width} numbers"),
        )),
        _ => Ok(head_width),
    }
}

fn context_length(keys: &Keys<'_, '_>) -> Result<usize> {
    let length = keys.required_size("context_length")?;
    if length > LONGEST_CONTEXT {
        return Err(keys.broken_rule("context_length", length, &format!("must be at most {LONGEST_CONTEXT}")));
    }
    Ok(length)
}

fn epsilon(keys: &Keys<'_, '_>, norm: NormKind) -> Result<f32> {
    let key = match norm {
        NormKind::Rms => "attention.layer_norm_rms_epsilon",
        NormKind::Layer => "attention.layer_norm_epsilon",
    };
    let epsilon = keys.gguf.metadata.required(&keys.name(key), keys.float(key)?)?;
    match epsilon > 0.0 && epsilon < 1.0 {
        true => Ok(epsilon as f32),
        false => Err(keys.broken_rule(key, epsilon, "must be between 0 and 1")),
    }
}

/// llama.cpp takes 0 for the usual scale.
fn attention_scale(keys: &Keys<'_, '_>, head_width: usize) -> Result<f32> {
    let scale = keys.float("attention.scale")?.filter(|scale| *scale != 0.0);
    Ok(scale.unwrap_or_else(|| 1.0 / (head_width as f64).sqrt()) as f32)
}
