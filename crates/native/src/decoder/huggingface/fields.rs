//! The fields of a configuration. Every field that is read is noted; what is left must be known to change nothing, because a
//! variant of a family is a field more.

use std::cell::RefCell;
use std::collections::BTreeSet;

use seedhouse_core::transformers::WITHOUT_EFFECT;
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::{CONFIG, subject};
use crate::quote::quote;

/// Fields that say nothing while they are false.
const FALSE: [&str; 7] = [
    "add_cross_attention",
    "cross_attention_hidden_size",
    "is_encoder_decoder",
    "rope_interleaved",
    "scale_attn_by_inverse_layer_idx",
    "tie_encoder_decoder",
    "use_mrope",
];

/// A configuration being read.
pub(crate) struct Fields<'c> {
    fields: &'c Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'c> Fields<'c> {
    pub(crate) fn new(fields: &'c Map<String, Value>) -> Fields<'c> {
        Fields { fields, read: RefCell::new(BTreeSet::new()) }
    }

    /// Returns a field that is there and not null.
    pub(crate) fn get(&self, name: &'static str) -> Option<&'c Value> {
        self.read.borrow_mut().insert(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Notes that fields are known and of no consequence.
    pub(crate) fn allow(&self, names: &[&'static str]) {
        self.read.borrow_mut().extend(names);
    }

    /// Returns a whole number of at least 1.
    pub(crate) fn size(&self, name: &'static str) -> Result<Option<usize>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number @ 1..) => Ok(Some(number as usize)),
            Some(0) | None => Err(broken(name, value, "must be a whole number between 1 and 2^32 - 1")),
        }
    }

    /// Returns a whole number of at least 1 that must be there.
    pub(crate) fn required_size(&self, name: &'static str) -> Result<usize> {
        self.size(name)?.ok_or_else(|| Error::malformed(subject(CONFIG), format!("`{name}` is missing")))
    }

    /// Returns a number.
    pub(crate) fn float(&self, name: &'static str) -> Result<Option<f64>> {
        float_of(name, self.get(name))
    }

    /// Returns a truth value.
    pub(crate) fn boolean(&self, name: &'static str) -> Result<Option<bool>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| broken(name, value, "must be true or false"))
    }

    /// Returns a text.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<&'c str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| broken(name, value, "must be a text"))
    }

    /// Refuses fields that nobody read and that may change the arithmetic.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the field.
    pub(crate) fn refuse_unknown(&self) -> Result<()> {
        let read = self.read.borrow();
        for (name, value) in self.fields {
            let is_off = value == &Value::Bool(false) && FALSE.contains(&name.as_str());
            let is_harmless = WITHOUT_EFFECT.contains(&name.as_str()) || name.starts_with('_');
            if read.contains(name.as_str()) || value.is_null() || is_off || is_harmless {
                continue;
            }
            return Err(Error::unsupported(
                format!("field {} of `{CONFIG}` with {}", quote(name), shown(value)),
                "this runtime does not know what it does to the arithmetic",
            ));
        }
        Ok(())
    }
}

/// Returns the error about the value of a field.
pub(crate) fn broken(name: &str, value: &Value, rule: &str) -> Error {
    Error::malformed(subject(CONFIG), format!("`{name}` is {}, but {rule}", shown(value)))
}

/// Returns a number, if there is a value.
pub(super) fn float_of(name: &str, value: Option<&Value>) -> Result<Option<f64>> {
    let Some(value) = value else { return Ok(None) };
    value.as_f64().map(Some).ok_or_else(|| broken(name, value, "must be a number"))
}

/// Returns a value in a form that is safe and short enough to print.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::Array(values) => format!("a list of {} values", values.len()),
        Value::String(text) => format!("the text {}", quote(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
