//! The metadata that an architecture writes under its own name. A key that is not known may only have the value that changes
//! nothing, because the next version of a family is a key more.

use seedhouse_core::{Error, Result};

use crate::gguf::{Gguf, Value};
use crate::quote::quote;

/// Keys whose values are read, or say nothing that tensors and vocabulary do not say.
const KNOWN: [&str; 22] = [
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_epsilon",
    "attention.layer_norm_rms_epsilon",
    "attention.scale",
    "attention.sliding_window",
    "attention.value_length",
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.type",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "vocab_size",
];

/// Keys that may only have one value, and why.
const NEUTRAL: [(&str, Value<'static>, &str); 6] = [
    ("expert_count", Value::Unsigned(0), "mixtures of experts are not computed"),
    ("expert_used_count", Value::Unsigned(0), "mixtures of experts are not computed"),
    ("attention.causal", Value::Boolean(true), "every token sees only what lies before it"),
    ("tensor_data_layout", Value::Text("Meta AI original pth"), "the layout of tensors is not known"),
    // llama.cpp reads both and computes the same.
    ("rope.scaling.finetuned", Value::Boolean(true), "it is a truth value"),
    ("rope.scaling.finetuned", Value::Boolean(false), "it is a truth value"),
];

/// The keys of one architecture.
pub(super) struct Keys<'g, 'a> {
    pub(super) gguf: &'g Gguf<'a>,
    architecture: &'static str,
}

impl<'g, 'a> Keys<'g, 'a> {
    pub(super) fn new(gguf: &'g Gguf<'a>, architecture: &'static str) -> Keys<'g, 'a> {
        Keys { gguf, architecture }
    }

    /// Returns the whole name of a key.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// Reads a whole number of at least 1, or returns `None` when there is none.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        let name = self.name(key);
        if let Some(list @ Value::Array(_)) = self.gguf.metadata.get(&name) {
            let what = format!("metadata `{name}` with {list}");
            return Err(Error::unsupported(what, "all layers are computed with the same numbers"));
        }
        let Some(value) = self.gguf.metadata.unsigned(&name)? else { return Ok(None) };
        match u32::try_from(value) {
            Ok(0) | Err(_) => Err(self.gguf.metadata.broken_rule(&name, value, "must be between 1 and 2^32 - 1")),
            Ok(value) => Ok(Some(value as usize)),
        }
    }

    /// Reads a whole number of at least 1.
    pub(super) fn required_size(&self, key: &str) -> Result<usize> {
        self.gguf.metadata.required(&self.name(key), self.size(key)?)
    }

    /// Reads a whole number where 0 stands for none.
    pub(super) fn size_or_none(&self, key: &str) -> Result<Option<usize>> {
        match self.gguf.metadata.get(&self.name(key)) {
            Some(value) if value.as_unsigned() == Some(0) => Ok(None),
            _ => self.size(key),
        }
    }

    /// Reads a number with a fraction.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.gguf.metadata.float(&self.name(key))
    }

    /// Returns the error about the value of a key.
    pub(super) fn broken_rule(&self, key: &str, value: impl std::fmt::Display, rule: &str) -> Error {
        self.gguf.metadata.broken_rule(&self.name(key), value, rule)
    }

    /// Refuses what would, or might, change the arithmetic.
    pub(super) fn refuse_variants(&self) -> Result<()> {
        let prefix = self.name("");
        for (name, value) in self.gguf.metadata.starting_with(&prefix) {
            let key = &name[prefix.len()..];
            let mut neutral = NEUTRAL.iter().filter(|(neutral, ..)| *neutral == key).peekable();
            let reason = match neutral.peek() {
                None if KNOWN.contains(&key) => continue,
                None => "this runtime does not know what it does to the arithmetic",
                Some((.., reason)) => *reason,
            };
            if !neutral.any(|(_, neutral, _)| *neutral == value) {
                return Err(Error::unsupported(format!("metadata {} with {value}", quote(name)), reason));
            }
        }
        Ok(())
    }
}
