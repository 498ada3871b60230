//! `config.json`: the words of many families for the same few numbers.

use seedhouse_core::{Error, ModelType, Result};
use serde_json::{Map, Value};

use super::safetensors::TensorEntry;

/// The record's names, and what configurations call them.
const NAMES: [(&str, &[&str]); 8] = [
    ("vocab_size", &["vocab_size"]),
    ("max_seq_len", &["max_position_embeddings", "n_positions", "n_ctx"]),
    ("d_model", &["hidden_size", "n_embd", "d_model"]),
    ("num_heads", &["num_attention_heads", "n_head"]),
    ("num_layers", &["num_hidden_layers", "n_layer"]),
    ("d_ff", &["intermediate_size", "n_inner", "ffn_dim"]),
    ("image_size", &["image_size"]),
    ("image_channels", &["num_channels"]),
];

/// Names under which families keep the table of token vectors: `[vocab_size, d_model]`.
const TOKEN_TABLES: [&str; 3] = ["embed_tokens.weight", "wte.weight", "word_embeddings.weight"];

/// Where one of these is set, token vectors are not as long as hidden ones.
const OTHER_LENGTHS: [&str; 2] = ["embedding_size", "word_embed_proj_dim"];

/// The configuration of a model.
pub(super) struct Config(Map<String, Value>);

impl Config {
    /// Returns `None` for a file that is not the configuration of a model: those name their type.
    pub(super) fn of(fields: Map<String, Value>) -> Option<Config> {
        let config = Config(fields);
        config.0.get("model_type")?.as_str().filter(|name| !name.is_empty() && name.len() <= 64)?;
        Some(config)
    }

    /// Returns the family, e.g. `llama`.
    pub(super) fn architecture(&self) -> &str {
        self.0.get("model_type").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn model_type(&self) -> ModelType {
        let classes = self.0.get("architectures").and_then(Value::as_array).into_iter().flatten();
        let mut classes = classes.filter_map(Value::as_str);
        match self.number("patch_size").is_some() || classes.any(|class| class.contains("ImageClassification")) {
            true => ModelType::Vision,
            false => ModelType::Transformer,
        }
    }

    pub(super) fn hyper_parameters(&self) -> Map<String, Value> {
        let known = NAMES.iter().filter_map(|(name, _)| Some(((*name).to_owned(), self.value(name)?.into())));
        let mut known: Map<String, Value> = known.collect();
        if let (ModelType::Vision, Some(labels)) =
            (self.model_type(), self.0.get("id2label").and_then(Value::as_object))
        {
            known.insert("num_classes".into(), labels.len().into());
        }
        known
    }

    /// Holds the configuration against a tensor that speaks of the same numbers.
    pub(super) fn check(&self, tensor: &TensorEntry) -> Result<()> {
        let (true, [rows, columns]) = (TOKEN_TABLES.iter().any(|name| tensor.name.ends_with(name)), &tensor.shape[..])
        else {
            return Ok(());
        };
        let contradicts = |name: &str, said: u64, found: u64| {
            let reason = format!("its {name} is {said}, but tensor `{}` has {found}", tensor.name.escape_debug());
            Err(Error::malformed("file `config.json`", reason))
        };
        match (self.value("vocab_size"), self.value("d_model")) {
            // Tables are often padded to a round number of rows.
            (Some(vocab_size), _) if *rows < vocab_size => contradicts("vocab_size", vocab_size, *rows),
            (_, Some(d_model)) if *columns != d_model && !self.has_other_lengths() => {
                contradicts("d_model", d_model, *columns)
            }
            _ => Ok(()),
        }
    }

    fn has_other_lengths(&self) -> bool {
        OTHER_LENGTHS.iter().any(|field| self.0.contains_key(*field))
    }

    fn value(&self, name: &str) -> Option<u64> {
        let (_, fields) = NAMES.iter().find(|(known, _)| *known == name)?;
        fields.iter().find_map(|field| self.number(field))
    }

    fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field)?.as_u64().filter(|number| *number > 0)
    }
}
