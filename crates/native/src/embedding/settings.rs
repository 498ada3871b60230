//! What sentence-transformers notes beside a network: the list of modules, pooling, normalisation, the longest sequence, prompts.
//!
//! Older versions of the library name modules `sentence_transformers.models.Pooling` and have a flag for each way of pooling;
//! newer ones name the module by its place in the library and the way by its name. A field that nobody knows is refused.

use std::collections::BTreeMap;

use seedhouse_core::runtime::{LocalFile, LocalFiles, Pooling, Prompts};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use crate::huggingface::{read_json, read_object};
use crate::quote::quote;

/// The list of modules.
pub(super) const MODULES: &str = "modules.json";
const ENCODER: &str = "sentence_bert_config.json";
const LIBRARY: &str = "config_sentence_transformers.json";
const TOKENIZER: &str = "tokenizer_config.json";

/// What the name of a flag for a way of pooling begins with, and the ways by their flags.
const POOLING_FLAGS: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// What stands beside the network.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) pooling: Pooling,
    pub(super) is_normalised: bool,
    pub(super) lower_case: bool,
    /// In tokens, special ones included.
    pub(super) longest_sequence: usize,
    pub(super) prompts: Prompts,
}

impl Settings {
    /// Reads the files; the network has vectors of `width` numbers and so many positions.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a value that contradicts the network, with both values; [`Error::Unsupported`] naming the file
    /// or the field that is missing or not computed here.
    pub(super) fn read(files: &LocalFiles, width: usize, positions: usize) -> Result<Settings> {
        let (pooling_folder, normalising_folder) = modules(files)?;
        let prompts = prompts(files)?;
        let pooling = pooling(files, &pooling_folder, width, &prompts)?;
        if let Some(folder) = &normalising_folder {
            check_normalising(files, folder)?;
        }
        let encoder = encoder(files)?;
        Ok(Settings {
            pooling,
            is_normalised: normalising_folder.is_some(),
            lower_case: encoder.lower_case,
            longest_sequence: longest_sequence(files, encoder.longest_sequence, positions)?,
            prompts,
        })
    }
}

/// Returns the folders of the modules for pooling and, if there is one, for normalising.
fn modules(files: &LocalFiles) -> Result<(String, Option<String>)> {
    let Some(file) = find(files, MODULES) else {
        let reason = "sentence-transformers says in it how the vectors of tokens become one";
        return Err(Error::unsupported(format!("a sentence encoder without `{MODULES}`"), reason));
    };
    let listed: Vec<Map<String, Value>> = read_json(file)?;
    let modules = listed.iter().map(Module::read).collect::<Result<Vec<_>>>()?;
    let kinds: Vec<&str> = modules.iter().map(|module| module.kind).collect();
    match (&kinds[..], &modules[..]) {
        (["Transformer", "Pooling"], [network, pooling]) => {
            network.check_is_in_the_root()?;
            Ok((pooling.folder.to_owned(), None))
        }
        (["Transformer", "Pooling", "Normalize"], [network, pooling, normalising]) => {
            network.check_is_in_the_root()?;
            Ok((pooling.folder.to_owned(), Some(normalising.folder.to_owned())))
        }
        _ => Err(Error::unsupported(
            format!("the modules {} of `{MODULES}`", quote(&kinds.join(", "))),
            "Transformer, Pooling and, if need be, Normalize are computed, in this order",
        )),
    }
}

/// A module of the list.
struct Module<'m> {
    kind: &'m str,
    folder: &'m str,
}

impl<'m> Module<'m> {
    fn read(fields: &'m Map<String, Value>) -> Result<Module<'m>> {
        let known = ["idx", "name", "path", "type"];
        if let Some((name, value)) =
            fields.iter().find(|(name, value)| !known.contains(&name.as_str()) && !is_nothing(value))
        {
            return Err(unknown(MODULES, name, value));
        }
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let class = text("type").unwrap_or_default();
        let kind = class.rsplit('.').next().filter(|_| class.starts_with("sentence_transformers."));
        let Some(kind) = kind.filter(|kind| ["Transformer", "Pooling", "Normalize"].contains(kind)) else {
            return Err(Error::unsupported(
                format!("the module {} of `{MODULES}`", quote(class)),
                "the modules Transformer, Pooling and Normalize of sentence_transformers are computed",
            ));
        };
        Ok(Module { kind, folder: text("path").unwrap_or_default() })
    }

    fn check_is_in_the_root(&self) -> Result<()> {
        match self.folder {
            "" => Ok(()),
            folder => Err(Error::unsupported(
                format!("a network in the folder {} of `{MODULES}`", quote(folder)),
                "its configuration and its weights stand beside that file",
            )),
        }
    }
}

fn pooling(files: &LocalFiles, folder: &str, width: usize, prompts: &Prompts) -> Result<Pooling> {
    let path = format!("{folder}/config.json");
    let Some(file) = find(files, &path) else {
        let reason = "it says how the vectors of tokens become one";
        return Err(Error::unsupported(format!("a sentence encoder without {}", quote(&path)), reason));
    };
    let fields = read_object(file)?;
    let mut ways: Vec<&str> = Vec::new();
    let mut flags: Vec<&str> = Vec::new();
    for (name, value) in &fields {
        match name.as_str() {
            "word_embedding_dimension" | "embedding_dimension" => {
                if value.as_u64() != Some(width as u64) {
                    return Err(broken(&path, name, value, &format!("the tensors have {width}")));
                }
            }
            "pooling_mode" => match value {
                Value::String(way) => ways.push(way),
                Value::Array(several) => ways.extend(several.iter().map(|way| way.as_str().unwrap_or_default())),
                _ => return Err(broken(&path, name, value, "must be the name of a way of pooling")),
            },
            // The vectors of the prompt's tokens would have to be left out.
            "include_prompt" if value == &Value::Bool(false) && !prompts.texts.is_empty() => {
                return Err(unknown(&path, name, value));
            }
            "include_prompt" => {}
            _ => match (POOLING_FLAGS.iter().find(|(flag, _)| flag == name), value) {
                (Some((_, way)), Value::Bool(true)) => flags.push(way),
                (Some(_), Value::Bool(false)) => {}
                _ => return Err(unknown(&path, name, value)),
            },
        }
    }
    let ways = match (&ways[..], &flags[..]) {
        // What the library does where nothing is said.
        ([], []) => vec![Pooling::Mean.name()],
        ([], _) => flags,
        _ => ways,
    };
    let way = if let [way] = &ways[..] { Pooling::of_name(way) } else { None };
    way.ok_or_else(|| {
        let found = format!("pooling {} of {}", quote(&ways.join(", ")), quote(&path));
        Error::unsupported(found, "`cls`, `mean` or `max` is computed")
    })
}

/// Newer versions of the library can normalise other vectors than that of the sentence.
fn check_normalising(files: &LocalFiles, folder: &str) -> Result<()> {
    let path = format!("{folder}/config.json");
    let Some(file) = find(files, &path) else { return Ok(()) };
    let fields = read_object(file)?;
    let is_known = |(name, value): &(&String, &Value)| {
        let is_of_sentence = value.as_str() == Some("sentence_embedding");
        is_nothing(value) || is_of_sentence && ["module_input_name", "module_output_name"].contains(&name.as_str())
    };
    match fields.iter().find(|field| !is_known(field)) {
        None => Ok(()),
        Some((name, value)) => Err(unknown(&path, name, value)),
    }
}

/// What is said about texts before they reach the network.
#[derive(Default)]
struct Encoder {
    longest_sequence: Option<usize>,
    lower_case: bool,
}

fn encoder(files: &LocalFiles) -> Result<Encoder> {
    let mut encoder = Encoder::default();
    let Some(file) = find(files, ENCODER) else { return Ok(encoder) };
    for (name, value) in &read_object(file)? {
        match (name.as_str(), value) {
            ("max_seq_length", Value::Number(number)) => {
                let longest = number.as_u64().and_then(|longest| usize::try_from(longest).ok());
                let longest = longest.filter(|longest| *longest > 0);
                let longest = longest.ok_or_else(|| broken(ENCODER, name, value, "must be a whole number from 1"))?;
                encoder.longest_sequence = Some(longest);
            }
            ("do_lower_case", Value::Bool(lower)) => encoder.lower_case = *lower,
            // How batches are laid out, not what is computed.
            ("unpad_inputs", Value::Bool(_)) => {}
            ("transformer_task", Value::String(task)) if task == "feature-extraction" => {}
            ("module_output_name", Value::String(output)) if output == "token_embeddings" => {}
            ("modality_config", Value::Object(modalities)) if is_text_alone(modalities) => {}
            (_, value) if is_nothing(value) => {}
            _ => return Err(unknown(ENCODER, name, value)),
        }
    }
    Ok(encoder)
}

/// Returns whether a network takes texts, and what it gives are the vectors of the last layer.
fn is_text_alone(modalities: &Map<String, Value>) -> bool {
    let output = modalities.get("text").and_then(|text| text.get("method_output_name"));
    modalities.len() == 1 && output.and_then(Value::as_str) == Some("last_hidden_state")
}

/// Returns the longest sequence: what is said, else what the tokenizer says, and never more than there are positions.
fn longest_sequence(files: &LocalFiles, said: Option<usize>, positions: usize) -> Result<usize> {
    if let Some(said) = said {
        return match said <= positions {
            true => Ok(said),
            false => {
                Err(broken(ENCODER, "max_seq_length", &said.into(), &format!("the tensors have {positions} positions")))
            }
        };
    }
    let tokenizer = find(files, TOKENIZER).map_or_else(|| Ok(Map::new()), read_object)?;
    // Tokenizers without a limit say a number beyond all integers.
    match tokenizer.get("model_max_length").filter(|value| !value.is_null()) {
        None => Ok(positions),
        Some(value) => match value.as_f64() {
            Some(longest) if longest >= 1.0 => Ok(positions.min(longest as usize)),
            _ => Err(broken(TOKENIZER, "model_max_length", value, "must be a number from 1")),
        },
    }
}

fn prompts(files: &LocalFiles) -> Result<Prompts> {
    let Some(file) = find(files, LIBRARY) else { return Ok(Prompts::default()) };
    let fields = read_object(file)?;
    let mut prompts = Prompts::default();
    for (name, value) in &fields {
        match (name.as_str(), value) {
            ("prompts", Value::Object(texts)) => prompts.texts = texts_of(texts)?,
            ("default_prompt_name", Value::String(default)) => prompts.default = Some(default.clone()),
            // For whoever compares vectors.
            ("__version__" | "similarity_fn_name", _) => {}
            ("model_type", Value::String(class)) if class == "SentenceTransformer" => {}
            (_, value) if is_nothing(value) => {}
            _ => return Err(unknown(LIBRARY, name, value)),
        }
    }
    match &prompts.default {
        Some(default) if !prompts.texts.contains_key(default) => {
            let rule = "`prompts` has no text of this name";
            Err(broken(LIBRARY, "default_prompt_name", &default.as_str().into(), rule))
        }
        _ => Ok(prompts),
    }
}

fn texts_of(prompts: &Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let text = |(name, value): (&String, &Value)| match value {
        Value::Null => Ok((name.clone(), String::new())),
        Value::String(text) => Ok((name.clone(), text.clone())),
        _ => Err(broken(LIBRARY, "prompts", value, "must be a text for each name")),
    };
    prompts.iter().map(text).collect()
}

/// Returns whether a value says nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn find<'f>(files: &'f LocalFiles, name: &str) -> Option<&'f LocalFile> {
    files.0.iter().find(|file| file.path.as_str() == name)
}

fn unknown(file: &str, name: &str, value: &Value) -> Error {
    Error::unsupported(
        format!("field {} of {} with {}", quote(name), quote(file), quote(&value.to_string())),
        "this runtime does not know what it does to the vectors, or does not compute it",
    )
}

fn broken(file: &str, name: &str, value: &Value, rule: &str) -> Error {
    let found = quote(&value.to_string());
    Error::malformed(format!("file {}", quote(file)), format!("its `{name}` is {found}, but {rule}"))
}
