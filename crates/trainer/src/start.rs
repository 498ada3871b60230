//! The version that training begins with: its weights and its configuration.

use std::collections::HashMap;

use seedhouse_core::runtime::{LocalFile, LocalFiles};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::safetensors;

/// Fields of `config.json`, and what the record calls them.
const FIELDS: [(&str, &str); 20] = [
    ("vocab_size", "vocab_size"),
    ("max_seq_len", "max_seq_len"),
    ("d_model", "d_model"),
    ("num_heads", "num_heads"),
    ("num_layers", "num_layers"),
    ("d_ff", "d_ff"),
    ("hidden_size", "d_model"),
    ("intermediate_size", "d_ff"),
    ("num_hidden_layers", "num_layers"),
    ("num_attention_heads", "num_heads"),
    ("num_key_value_heads", "num_key_value_heads"),
    ("max_position_embeddings", "max_seq_len"),
    ("n_embd", "d_model"),
    ("n_inner", "d_ff"),
    ("n_layer", "num_layers"),
    ("n_head", "num_heads"),
    ("n_positions", "max_seq_len"),
    ("tie_word_embeddings", "tie_word_embeddings"),
    ("rope_theta", "rope_theta"),
    ("rms_norm_eps", "rms_norm_eps"),
];

/// Classes of `config.json`, and the architectures that are trained.
const CLASSES: [(&str, &str); 3] =
    [("LlamaForCausalLM", "llama"), ("GPT2LMHeadModel", "gpt2"), ("PostNormDecoder", "original")];

fn find<'f>(files: &'f LocalFiles, name: &str) -> Option<&'f LocalFile> {
    files.0.iter().find(|file| file.path.as_str() == name)
}

/// Returns the text of a file of the version, if it has it.
///
/// # Errors
/// [`Error::Io`] when it cannot be read.
pub(crate) fn text(files: &LocalFiles, name: &str) -> Result<Option<String>> {
    let read = |file: &LocalFile| std::fs::read_to_string(&file.local).map_err(Error::io("read", &file.local));
    find(files, name).map(read).transpose()
}

/// Returns the fields of a file of the version; none where it does not have it.
///
/// # Errors
/// [`Error::Malformed`] when it is no JSON object.
pub(crate) fn object(files: &LocalFiles, name: &str) -> Result<Map<String, Value>> {
    let Some(text) = text(files, name)? else { return Ok(Map::new()) };
    serde_json::from_str(&text).map_err(|error| Error::malformed(format!("file `{name}`"), error.to_string()))
}

/// Returns hyper-parameters with what the configuration of a version says where the user says nothing.
///
/// # Errors
/// [`Error::Invalid`] when both say different things.
pub(crate) fn with_defaults(metadata: &Map<String, Value>, files: &LocalFiles) -> Result<Map<String, Value>> {
    let config = object(files, "config.json")?;
    let mut all = metadata.clone();
    let mut found: Vec<(&str, Value)> = Vec::new();
    let class = config.get("architectures").and_then(|classes| classes.get(0)).and_then(Value::as_str);
    if let Some(class) = class {
        let known = CLASSES.iter().find(|(known, _)| *known == class);
        let (_, architecture) = known.ok_or_else(|| {
            Error::unsupported(
                format!("training from a version of the class `{class}`"),
                "LlamaForCausalLM, GPT2LMHeadModel and PostNormDecoder are trained",
            )
        })?;
        found.push(("architecture", (*architecture).into()));
        if *architecture == "gpt2" && !config.contains_key("n_inner") {
            found.push((
                "d_ff",
                config.get("n_embd").and_then(Value::as_u64).map_or(Value::Null, |width| (4 * width).into()),
            ));
        }
    }
    for (field, name) in FIELDS {
        found.extend(config.get(field).filter(|value| !value.is_null()).map(|value| (name, value.clone())));
    }
    // Speeds of rotation that are stretched are not computed here; silence would train another network.
    if let Some(scaling) = config.get("rope_scaling").filter(|scaling| !scaling.is_null()) {
        return Err(Error::unsupported(
            format!("training with `rope_scaling` {scaling}"),
            "plain rotary positions are trained",
        ));
    }
    if let Some(Value::Object(rope)) = config.get("rope_parameters") {
        found.extend(rope.get("rope_theta").map(|base| ("rope_theta", base.clone())));
    }
    for (name, value) in found {
        match all.get(name) {
            None | Some(Value::Null) => {
                all.insert(name.to_owned(), value);
            }
            Some(said) if said == &value || (name == "architecture" && said == "post_norm_decoder") => {}
            Some(said) => {
                let rule = format!("the version to begin with has {value}");
                return Err(Error::invalid(format!("metadata.{name}"), said, rule));
            }
        }
    }
    Ok(all)
}

/// Tensors by name, each with its shape.
pub(crate) type Weights = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// Reads all tensors of the safetensors files of a version as f32.
///
/// # Errors
/// [`Error::Invalid`] when there are none, [`Error::Malformed`] for a broken file, [`Error::Unsupported`] for types that are not computed
/// with.
pub(crate) fn weights(files: &LocalFiles) -> Result<Weights> {
    let mut all = HashMap::new();
    for file in files.0.iter().filter(|file| file.path.as_str().ends_with(".safetensors")) {
        for tensor in safetensors::read(&file.local, file.path.as_str())?.1 {
            all.insert(tensor.name, (tensor.shape, tensor.numbers));
        }
    }
    if all.is_empty() {
        let names: Vec<&str> = files.0.iter().map(|file| file.path.as_str()).collect();
        return Err(Error::invalid(
            "start",
            names.join(", "),
            "the version to begin with must have a safetensors file",
        ));
    }
    Ok(all)
}
