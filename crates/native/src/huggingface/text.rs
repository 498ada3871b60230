//! How text goes into and comes out of a folder's model: `tokenizer.json`, `tokenizer_config.json`, `generation_config.json` and
//! the chat template.

use std::collections::HashMap;

use seedhouse_core::runtime::{LocalFile, LocalFiles, TokenText, TokenizerModel, TokenizerSpec};
use seedhouse_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::read_object;
use crate::mapped_file::MappedFile;
use crate::quote::quote;

const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "chat_template.jinja";
/// Twice the longest that are known.
const MOST_TOKENIZER_BYTES: usize = 64 << 20;
/// Ten times the longest that are known.
const MOST_TEMPLATE_BYTES: usize = 1 << 20;

/// What the engine needs to drive the model.
#[derive(Debug)]
pub(crate) struct FolderText {
    /// How text becomes token ids.
    pub(crate) tokenizer: TokenizerSpec,
    /// The Jinja template, if there is one.
    pub(crate) chat_template: Option<String>,
}

/// The parts of `tokenizer.json` that concern more than the encoding.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    model: Model,
    decoder: Option<Value>,
    post_processor: Option<Value>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocabulary,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vocabulary {
    /// Ids by text.
    Ids(HashMap<String, u32>),
    /// Texts and scores by id.
    Scores(Vec<(String, f64)>),
}

/// Reads the files. `vocab_size` is the number of logits.
///
/// # Errors
/// [`Error::Unsupported`] for a version without `tokenizer.json` or with a decoder that is not known; [`Error::Malformed`] for
/// ids that contradict each other or the model, naming both values.
pub(crate) fn read(files: &LocalFiles, vocab_size: usize) -> Result<FolderText> {
    let Some(file) = find(files, TOKENIZER) else {
        return Err(Error::unsupported(
            format!("a language model without `{TOKENIZER}`"),
            "text becomes tokens by that file of the `tokenizers` library",
        ));
    };
    let json = text(file, MOST_TOKENIZER_BYTES)?;
    let parsed: TokenizerFile = serde_json::from_str(&json).map_err(|error| malformed(TOKENIZER, error.to_string()))?;
    let tokens = tokens(&parsed, vocab_size)?;
    let settings = object(files, "tokenizer_config.json")?;
    let generation = object(files, "generation_config.json")?;
    let config = object(files, "config.json")?;
    let ids = Ids { tokens: &tokens, added: &parsed.added_tokens };
    let ends = match ids.of_numbers("generation_config.json", generation.get("eos_token_id"))? {
        found if found.is_empty() => ids.of_numbers("config.json", config.get("eos_token_id"))?,
        found => found,
    };
    let eos = ids.of_text(settings.get("eos_token")).or(ends.first().copied());
    let first = first_of_template(parsed.post_processor.as_ref());
    let bos = match ids.of_text(settings.get("bos_token")).or_else(|| ids.of_text(first.as_ref())) {
        Some(bos) => Some(bos),
        None => ids.of_numbers("config.json", config.get("bos_token_id"))?.first().copied(),
    };
    let add_bos = match settings.get("add_bos_token").and_then(Value::as_bool) {
        Some(add) => add && bos.is_some(),
        None => first.is_some() && ids.of_text(first.as_ref()) == bos,
    };
    let of_kind = |special: bool| -> Vec<u32> {
        parsed.added_tokens.iter().filter(|token| token.special == special).map(|token| token.id).collect()
    };
    let (control, added) = (of_kind(true), of_kind(false));
    let chat_template = chat_template(files, &settings)?;
    let token_text = token_text(parsed.decoder.as_ref())?;
    let stop = ends.into_iter().filter(|end| Some(*end) != eos).collect();
    let model = TokenizerModel::HuggingFace { json, tokens, token_text, control, added };
    let tokenizer = TokenizerSpec { model, pre_tokenizer: String::new(), bos, eos, stop, add_bos };
    Ok(FolderText { tokenizer, chat_template })
}

/// Reads `tokenizer.json` for the `tokenizers` library, whose ids must be among those of a model of so many tokens.
///
/// # Errors
/// [`Error::Unsupported`] for a version without the file, [`Error::Malformed`] as [`read`].
pub(crate) fn read_tokenizer(files: &LocalFiles, vocab_size: usize) -> Result<String> {
    let Some(file) = find(files, TOKENIZER) else {
        return Err(Error::unsupported(
            format!("a sentence encoder without `{TOKENIZER}`"),
            "text becomes tokens by that file of the `tokenizers` library",
        ));
    };
    let json = text(file, MOST_TOKENIZER_BYTES)?;
    let parsed: TokenizerFile = serde_json::from_str(&json).map_err(|error| malformed(TOKENIZER, error.to_string()))?;
    tokens(&parsed, vocab_size)?;
    Ok(json)
}

/// Puts the texts in the order of their ids. An added token may repeat an entry of the vocabulary, and must then agree with it.
fn tokens(file: &TokenizerFile, vocab_size: usize) -> Result<Vec<String>> {
    let of_model: Box<dyn Iterator<Item = (u32, &str)> + '_> = match &file.model.vocab {
        Vocabulary::Ids(ids) => Box::new(ids.iter().map(|(text, id)| (*id, text.as_str()))),
        Vocabulary::Scores(scores) => Box::new((0..).zip(scores.iter().map(|(text, _)| text.as_str()))),
    };
    let added = file.added_tokens.iter().map(|token| (token.id, token.content.as_str()));
    let mut tokens: Vec<String> = Vec::new();
    for (id, text) in of_model.chain(added) {
        let place = id as usize;
        if place >= vocab_size {
            let reason = format!("token {id} is {}, but the model has {vocab_size} tokens", quote(text));
            return Err(malformed(TOKENIZER, reason));
        }
        if place >= tokens.len() {
            tokens.resize(place + 1, String::new());
        }
        if !tokens[place].is_empty() && tokens[place] != text {
            let reason = format!("token {id} is {} and {}", quote(&tokens[place]), quote(text));
            return Err(malformed(TOKENIZER, reason));
        }
        text.clone_into(&mut tokens[place]);
    }
    Ok(tokens)
}

/// Looks tokens up.
struct Ids<'t> {
    tokens: &'t [String],
    added: &'t [AddedToken],
}

impl Ids<'_> {
    /// Returns the id of a token that a file names by text, or by an object with its `content`.
    fn of_text(&self, named: Option<&Value>) -> Option<u32> {
        let named = named?;
        let text = named.as_str().or_else(|| named.get("content")?.as_str())?;
        let added = self.added.iter().find(|token| token.content == text).map(|token| token.id);
        added.or_else(|| u32::try_from(self.tokens.iter().position(|token| token == text)?).ok())
    }

    /// Returns the ids that a file names by one number or a list of them.
    fn of_numbers(&self, file: &str, named: Option<&Value>) -> Result<Vec<u32>> {
        let named = match named {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one) => vec![one],
        };
        let id = |value: &Value| {
            let found = value.as_u64().and_then(|id| u32::try_from(id).ok());
            found.filter(|id| (*id as usize) < self.tokens.len()).ok_or_else(|| {
                let shown = quote(&value.to_string());
                malformed(file, format!("it names the token {shown}, but `{TOKENIZER}` has {}", self.tokens.len()))
            })
        };
        named.into_iter().map(id).collect()
    }
}

/// Returns the text of the special token with which the file's own template begins a text.
fn first_of_template(processor: Option<&Value>) -> Option<Value> {
    let processor = processor?;
    match processor.get("type")?.as_str()? {
        "TemplateProcessing" => {
            let id = processor.get("single")?.get(0)?.get("SpecialToken")?.get("id")?;
            // The template's own name for a token stands for one or more texts.
            let tokens = processor.get("special_tokens").and_then(|all| all.get(id.as_str()?)?.get("tokens"));
            Some(tokens.and_then(|tokens| tokens.get(0)).unwrap_or(id).clone())
        }
        "Sequence" => processor.get("processors")?.as_array()?.iter().find_map(|part| first_of_template(Some(part))),
        _ => None,
    }
}

/// Says how tokens become text again, from the decoder that the library would run.
fn token_text(decoder: Option<&Value>) -> Result<TokenText> {
    let kind = |decoder: &Value| decoder.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let parts: Vec<String> = match decoder {
        None | Some(Value::Null) => Vec::new(),
        Some(decoder) if kind(decoder) == "Sequence" => {
            let parts = decoder.get("decoders").and_then(Value::as_array);
            parts.into_iter().flatten().map(kind).collect()
        }
        Some(decoder) => vec![kind(decoder)],
    };
    const SENTENCE_PIECE: [&str; 5] = ["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"];
    match &parts[..] {
        [only] if only == "ByteLevel" => Ok(TokenText::ByteLevel),
        [_, ..] if parts.iter().all(|part| SENTENCE_PIECE.contains(&part.as_str())) => Ok(TokenText::SentencePiece),
        _ => Err(Error::unsupported(
            format!("a tokenizer with the decoder {}", quote(&parts.join(", "))),
            "tokens become text byte by byte (`ByteLevel`) or as SentencePiece writes them",
        )),
    }
}

fn chat_template(files: &LocalFiles, settings: &Map<String, Value>) -> Result<Option<String>> {
    if let Some(file) = find(files, TEMPLATE) {
        return text(file, MOST_TEMPLATE_BYTES).map(Some);
    }
    let template = match settings.get("chat_template") {
        Some(Value::Array(named)) => {
            let of_name = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
            named.iter().find(of_name).and_then(|entry| entry.get("template"))
        }
        other => other,
    };
    match template.and_then(Value::as_str) {
        Some(template) if template.len() > MOST_TEMPLATE_BYTES => {
            let reason =
                format!("its chat template has {} bytes, and {MOST_TEMPLATE_BYTES} is the limit", template.len());
            Err(malformed("tokenizer_config.json", reason))
        }
        template => Ok(template.map(str::to_owned)),
    }
}

fn find<'f>(files: &'f LocalFiles, name: &str) -> Option<&'f LocalFile> {
    files.0.iter().find(|file| file.path.as_str() == name)
}

/// Returns an object file's fields; none where there is no such file.
fn object(files: &LocalFiles, name: &str) -> Result<Map<String, Value>> {
    find(files, name).map_or_else(|| Ok(Map::new()), read_object)
}

fn text(file: &LocalFile, limit: usize) -> Result<String> {
    let bytes = MappedFile::open(&file.local)?;
    if bytes.len() > limit {
        let reason = format!("it has {} bytes, and {limit} is the limit", bytes.len());
        return Err(malformed(file.path.as_str(), reason));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| malformed(file.path.as_str(), error.to_string()))?;
    Ok(text.to_owned())
}

fn malformed(file: &str, reason: String) -> Error {
    Error::malformed(format!("file `{file}`"), reason)
}
