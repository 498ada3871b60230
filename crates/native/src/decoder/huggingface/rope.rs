//! Rotary positions of a configuration (`modeling_rope_utils.py` of the transformers library): fields of their own in files up to
//! version 4, one object `rope_parameters` since version 5.

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::fields::{Fields, broken, float_of, shown};
use super::{CONFIG, subject};
use crate::decoder::rotary::{Rotary, RotaryStyle, Scaling, Yarn};

const DEFAULT_THETA: f64 = 10_000.0;

/// Reads how heads are rotated. `context` is the longest sequence that the configuration names.
pub(super) fn read(fields: &Fields<'_>, head_width: usize, context: usize) -> Result<Rotary> {
    let parameters = Parameters::of(fields)?;
    let theta = base(fields)?;
    let partial = match parameters.float("partial_rotary_factor")? {
        None => fields.float("partial_rotary_factor")?,
        found => found,
    };
    if let Some(partial) = partial.filter(|partial| *partial != 1.0) {
        return Err(Error::unsupported(format!("`partial_rotary_factor` {partial}"), "heads are rotated as a whole"));
    }
    let scaling = scaling(&parameters, context)?;
    let malformed = |reason: String| Error::malformed(subject(CONFIG), reason);
    Rotary::new(head_width, head_width, RotaryStyle::Halves, theta, scaling).map_err(malformed)
}

/// Reads what the speeds are powers of.
pub(super) fn base(fields: &Fields<'_>) -> Result<f64> {
    let parameters = Parameters::of(fields)?;
    let theta = match parameters.float("rope_theta")? {
        None => fields.float("rope_theta")?,
        found => found,
    };
    let theta = theta.unwrap_or(DEFAULT_THETA);
    if !(theta.is_finite() && theta >= 1.0) {
        return Err(broken("rope_theta", &theta.into(), "must be finite and at least 1"));
    }
    Ok(theta)
}

fn scaling(parameters: &Parameters<'_>, context: usize) -> Result<Scaling> {
    match parameters.kind()? {
        "default" => parameters.only(&[]).map(|()| Scaling::None),
        "linear" => {
            parameters.only(&["factor"])?;
            Ok(Scaling::Linear { factor: parameters.required("factor")? })
        }
        "llama3" => {
            parameters.only(&["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"])?;
            Ok(Scaling::Llama3 {
                factor: parameters.required("factor")?,
                low: parameters.required("low_freq_factor")?,
                high: parameters.required("high_freq_factor")?,
                original_context: parameters.required("original_max_position_embeddings")?,
            })
        }
        "yarn" => yarn(parameters, context),
        other => Err(Error::unsupported(
            format!("`rope_type` {}", shown(&other.into())),
            "rotary positions are scaled by `linear`, `llama3` and `yarn`",
        )),
    }
}

fn yarn(parameters: &Parameters<'_>, context: usize) -> Result<Scaling> {
    const ORIGINAL: &str = "original_max_position_embeddings";
    const MSCALES: [&str; 2] = ["mscale", "mscale_all_dim"];
    const OTHERS: [&str; 6] = ["factor", "attention_factor", "beta_fast", "beta_slow", "truncate", ORIGINAL];
    parameters.only(&[&OTHERS[..], &MSCALES[..]].concat())?;
    let factor = parameters.required("factor")?;
    let of_mscales = match (parameters.float(MSCALES[0])?, parameters.float(MSCALES[1])?) {
        (Some(scale), Some(of_all)) if scale != 0.0 && of_all != 0.0 => {
            Some(Yarn::loudness(factor, scale) / Yarn::loudness(factor, of_all))
        }
        _ => None,
    };
    Ok(Scaling::Yarn(Yarn {
        factor,
        original_context: parameters.float(ORIGINAL)?.unwrap_or(context as f64),
        beta_fast: parameters.float("beta_fast")?.unwrap_or(Yarn::BETA_FAST),
        beta_slow: parameters.float("beta_slow")?.unwrap_or(Yarn::BETA_SLOW),
        truncate: parameters.boolean("truncate")?.unwrap_or(true),
        attention_factor: parameters.float("attention_factor")?.or(of_mscales),
    }))
}

/// The object that says how positions are scaled; empty where there is none.
struct Parameters<'c>(Option<&'c Map<String, Value>>);

impl<'c> Parameters<'c> {
    fn of(fields: &Fields<'c>) -> Result<Parameters<'c>> {
        let (new, old) = (fields.get("rope_parameters"), fields.get("rope_scaling"));
        let object = |(name, value): (&str, &'c Value)| {
            value.as_object().ok_or_else(|| broken(name, value, "must be an object"))
        };
        match (new, old) {
            (Some(new), Some(old)) if new != old => Err(Error::unsupported(
                format!("`rope_parameters` and `rope_scaling` in `{CONFIG}`"),
                "they say different things about the same positions",
            )),
            (Some(new), _) => object(("rope_parameters", new)).map(|found| Parameters(Some(found))),
            (None, Some(old)) => object(("rope_scaling", old)).map(|found| Parameters(Some(found))),
            (None, None) => Ok(Parameters(None)),
        }
    }

    fn get(&self, name: &str) -> Option<&'c Value> {
        self.0?.get(name).filter(|value| !value.is_null())
    }

    fn kind(&self) -> Result<&'c str> {
        match self.get("rope_type").or_else(|| self.get("type")) {
            None => Ok("default"),
            Some(kind) => kind.as_str().ok_or_else(|| broken("rope_type", kind, "must be a text")),
        }
    }

    fn float(&self, name: &str) -> Result<Option<f64>> {
        float_of(name, self.get(name))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| broken(name, value, "must be true or false"))
    }

    fn required(&self, name: &str) -> Result<f64> {
        let reason = format!("`{name}` of its rotary positions is missing");
        self.float(name)?.ok_or_else(|| Error::malformed(subject(CONFIG), reason))
    }

    /// Refuses parameters that the scaling does not have.
    fn only(&self, known: &[&str]) -> Result<()> {
        const ALWAYS: [&str; 4] = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let is_known = |name: &str| ALWAYS.contains(&name) || known.contains(&name);
        let mut all = self.0.into_iter().flatten();
        match all.find(|(name, value)| !value.is_null() && !is_known(name)) {
            None => Ok(()),
            Some((name, value)) => Err(Error::unsupported(
                format!("parameter {} of rotary positions with {}", crate::quote::quote(name), shown(value)),
                "this runtime does not know what it does to the arithmetic",
            )),
        }
    }
}
