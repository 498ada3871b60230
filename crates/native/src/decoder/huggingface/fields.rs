//! The fields of a configuration. Every field that is read is noted; what is left must be known to change nothing, because a
//! variant of a family is a field more.

use std::cell::RefCell;
use std::collections::BTreeSet;

use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use super::{CONFIG, subject};
use crate::quote::quote;

/// Fields about files, training, generation and other tasks than the logits of a decoder.
const HARMLESS: [&str; 71] = [
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "keys_to_ignore_at_inference",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "output_scores",
    "pad_token_id",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
];

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
            let is_harmless = HARMLESS.contains(&name.as_str()) || name.starts_with('_');
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
