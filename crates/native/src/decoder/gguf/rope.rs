//! Rotary positions of a GGUF file, read as llama.cpp reads them.

use seedhouse_core::{Error, Result};

use super::keys::Keys;
use crate::decoder::rotary::{Rotary, RotaryStyle, Scaling, Yarn};
use crate::gguf::Value;

/// What llama.cpp assumes when the file does not say.
const DEFAULT_FREQUENCY_BASE: f64 = 10_000.0;

/// Reads how heads are rotated.
pub(super) fn read(keys: &Keys<'_, '_>, head_width: usize, style: RotaryStyle) -> Result<Rotary> {
    let base_key = "rope.freq_base";
    let base = keys.float(base_key)?.unwrap_or(DEFAULT_FREQUENCY_BASE);
    if !(base.is_finite() && base >= 1.0) {
        return Err(keys.broken_rule(base_key, base, "must be finite and at least 1"));
    }
    let dimensions_key = "rope.dimension_count";
    let dimensions = keys.size(dimensions_key)?.unwrap_or(head_width);
    if dimensions > head_width || !dimensions.is_multiple_of(2) {
        let rule = format!("must be even and at most the width of a head, which is {head_width}");
        return Err(keys.broken_rule(dimensions_key, dimensions, &rule));
    }
    let malformed = |reason: String| Error::malformed(keys.gguf.path, reason);
    Rotary::new(head_width, dimensions, style, base, scaling(keys)?).map_err(malformed)
}

/// Without a type, a factor is linear; a factor of 0 is none.
fn scaling(keys: &Keys<'_, '_>) -> Result<Scaling> {
    let factor = match keys.float("rope.scaling.factor")? {
        None => keys.float("rope.scale_linear")?,
        found => found,
    };
    let factor = factor.filter(|factor| *factor != 0.0).unwrap_or(1.0);
    if !(factor.is_finite() && factor > 0.0) {
        return Err(keys.broken_rule("rope.scaling.factor", factor, "must be finite and at least 0"));
    }
    let type_key = keys.name("rope.scaling.type");
    match keys.gguf.metadata.name(&type_key)?.unwrap_or("linear") {
        "none" => Ok(Scaling::None),
        "linear" if factor == 1.0 => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear { factor }),
        "yarn" => yarn(keys, factor),
        other => Err(Error::unsupported(
            format!("metadata `{type_key}` with {}", Value::Text(other)),
            "rotary positions are scaled by `linear` and `yarn`",
        )),
    }
}

fn yarn(keys: &Keys<'_, '_>, factor: f64) -> Result<Scaling> {
    let original = keys.size("rope.scaling.original_context_length")?;
    let original_context = match original {
        Some(length) => length,
        None => keys.required_size("context_length")?,
    };
    let louder = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
    Ok(Scaling::Yarn(Yarn {
        factor,
        original_context: original_context as f64,
        beta_fast: keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(Yarn::BETA_FAST),
        beta_slow: keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(Yarn::BETA_SLOW),
        truncate: true,
        attention_factor: Some(louder * Yarn::loudness(factor, 1.0)),
    }))
}
