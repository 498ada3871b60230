//! The tokenizer tables of a GGUF file (`tokenizer.ggml.*`): checked as views of the file, copied only when a model is
//! loaded.

use std::collections::HashMap;

use seedhouse_core::runtime::{TokenizerModel, TokenizerSpec};
use seedhouse_core::{Error, Result};

use crate::gguf::{Array, Gguf, Metadata};

/// The largest vocabularies have a quarter of a million tokens; a merge rule makes one of them.
const MOST_TOKENS: usize = 1 << 21;
const MOST_MERGES: usize = 1 << 22;
/// Ten times the longest that are known.
const LONGEST_TEMPLATE_BYTES: usize = 1 << 20;
/// What ggml calls byte-level byte-pair encoding.
const BYTE_LEVEL_BPE: &str = "gpt2";
/// What ggml calls byte-pair encoding by the scores of SentencePiece.
const SCORED_BPE: &str = "llama";
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";
/// Token types that are matched whole: control tokens in templates, those that a user added in every text.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// Token type of the 256 bytes.
const BYTE: i64 = 6;
/// Control tokens that llama.cpp takes for the end of a turn by their text, because many files do not name them by id.
const END_OF_TURN: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>"];

/// The tables, and the ids with a meaning.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    /// The Jinja template of the file.
    pub(crate) chat_template: Option<&'a str>,
    tokens: Array<'a>,
    types: Option<Array<'a>>,
    algorithm: Algorithm<'a>,
    bos: Option<u32>,
    eos: Option<u32>,
    ends: Vec<u32>,
    add_bos: bool,
}

/// How tokens are found in a text.
#[derive(Debug)]
enum Algorithm<'a> {
    ByteLevel { merges: Array<'a>, pre_tokenizer: &'a str },
    Scored { scores: Array<'a>, add_space: bool },
}

impl<'a> Algorithm<'a> {
    fn read(metadata: &Metadata<'a>, size: usize) -> Result<Algorithm<'a>> {
        let model = metadata.required("tokenizer.ggml.model", metadata.name("tokenizer.ggml.model")?)?;
        match model {
            BYTE_LEVEL_BPE => Ok(Algorithm::ByteLevel {
                merges: texts(metadata, MERGES, MOST_MERGES)?,
                pre_tokenizer: pre_tokenizer(metadata)?,
            }),
            SCORED_BPE => Ok(Algorithm::Scored {
                scores: scores(metadata, size)?,
                add_space: metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
            }),
            other => Err(Error::unsupported(
                format!("tokenizer `{}`", other.escape_debug()),
                format!(
                    "this runtime knows `{BYTE_LEVEL_BPE}` (byte-level byte-pair encoding) and `{SCORED_BPE}` (by scores)"
                ),
            )),
        }
    }

    /// The ids that llama.cpp assumes for the beginning and the end of a text, and whether the beginning is written.
    fn defaults(&self, size: usize) -> (Option<u32>, Option<u32>, bool) {
        match self {
            Algorithm::ByteLevel { .. } => (None, None, false),
            Algorithm::Scored { .. } => (Some(1).filter(|_| size > 1), Some(2).filter(|_| size > 2), true),
        }
    }
}

impl<'a> Vocabulary<'a> {
    /// Reads and checks the tables.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another algorithm than byte-level byte-pair encoding, [`Error::Malformed`] for tables
    /// that do not fit each other.
    pub(crate) fn read(gguf: &Gguf<'a>) -> Result<Vocabulary<'a>> {
        let metadata = &gguf.metadata;
        let tokens = texts(metadata, TOKENS, MOST_TOKENS)?;
        let size = tokens.length();
        let algorithm = Algorithm::read(metadata, size)?;
        let (bos, eos, add_bos) = algorithm.defaults(size);
        let id = |key| token_id(metadata, key, size);
        let mut ends = Vec::new();
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        ends.extend(id("tokenizer.ggml.eom_token_id")?);
        Ok(Vocabulary {
            chat_template: metadata.text_up_to("tokenizer.chat_template", LONGEST_TEMPLATE_BYTES)?,
            tokens,
            types: types(metadata, size)?,
            bos: id("tokenizer.ggml.bos_token_id")?.or(bos),
            eos: id("tokenizer.ggml.eos_token_id")?.or(eos),
            ends,
            add_bos: metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos),
            algorithm,
        })
    }

    /// Copies the tables.
    pub(crate) fn to_tokenizer(&self) -> TokenizerSpec {
        let owned = |array: Array<'_>| -> Vec<String> {
            array.texts().expect("checked when the vocabulary was read").map(str::to_owned).collect()
        };
        let tokens = owned(self.tokens);
        let of_type = |wanted: i64| -> Vec<u32> {
            let types = self.types.and_then(Array::integers).into_iter().flatten();
            (0..).zip(types).filter_map(|(id, found)| (found == wanted).then_some(id)).collect()
        };
        let (control, added) = (of_type(CONTROL), of_type(USER_DEFINED));
        let stop = self.stop_tokens(&tokens, &control);
        let (model, pre_tokenizer) = match self.algorithm {
            Algorithm::ByteLevel { merges, pre_tokenizer } => {
                (TokenizerModel::ByteLevelBpe { tokens, merges: owned(merges), control, added }, pre_tokenizer)
            }
            Algorithm::Scored { scores, add_space } => {
                let scores = scores.floats().expect("checked when the vocabulary was read").collect();
                let bytes = bytes_in_order(&tokens, &of_type(BYTE));
                (TokenizerModel::ScoredBpe { tokens, scores, bytes, add_space, control, added }, "")
            }
        };
        TokenizerSpec {
            stop,
            model,
            pre_tokenizer: pre_tokenizer.to_owned(),
            bos: self.bos,
            eos: self.eos,
            add_bos: self.add_bos,
        }
    }

    fn stop_tokens(&self, tokens: &[String], control: &[u32]) -> Vec<u32> {
        let by_text = control.iter().copied().filter(|&id| END_OF_TURN.contains(&tokens[id as usize].as_str()));
        let mut stop: Vec<u32> = self.ends.iter().copied().chain(by_text).filter(|&id| Some(id) != self.eos).collect();
        stop.sort_unstable();
        stop.dedup();
        stop
    }
}

fn texts<'a>(metadata: &Metadata<'a>, key: &str, most: usize) -> Result<Array<'a>> {
    let array = metadata.required(key, metadata.array(key)?)?;
    match array.texts() {
        Some(_) if array.length() <= most => Ok(array),
        Some(_) => Err(metadata.broken_rule(
            key,
            format!("{} texts long", array.length()),
            &format!("must be at most {most} long"),
        )),
        None => Err(metadata.broken_rule(key, "an array of something else", "must be an array of texts")),
    }
}

/// Returns the ids of the tokens `<0x00>` to `<0xFF>`, or none when one is missing.
fn bytes_in_order(tokens: &[String], of_type: &[u32]) -> Vec<u32> {
    let named: HashMap<&str, u32> = of_type.iter().map(|id| (tokens[*id as usize].as_str(), *id)).collect();
    let id = |byte: u32| named.get(format!("<0x{byte:02X}>").as_str()).copied();
    (0..256).map(id).collect::<Option<Vec<u32>>>().unwrap_or_default()
}

fn scores<'a>(metadata: &Metadata<'a>, vocab_size: usize) -> Result<Array<'a>> {
    let scores = metadata.required(SCORES, metadata.array(SCORES)?)?;
    if scores.floats().is_none() {
        let rule = "must be an array of 32-bit floating-point numbers";
        return Err(metadata.broken_rule(SCORES, "an array of something else", rule));
    }
    if scores.length() != vocab_size {
        let rule = format!("`{TOKENS}` is {vocab_size} long");
        return Err(metadata.broken_rule(SCORES, format!("{} long", scores.length()), &rule));
    }
    Ok(scores)
}

/// A file without this key is cut by llama.cpp's own default rules, which are not those of any other pre-tokenizer.
fn pre_tokenizer<'a>(metadata: &Metadata<'a>) -> Result<&'a str> {
    match metadata.name("tokenizer.ggml.pre")? {
        Some(name) if name != "default" => Ok(name),
        _ => Err(Error::unsupported("pre-tokenizer `default`", "the file must name one in `tokenizer.ggml.pre`")),
    }
}

fn types<'a>(metadata: &Metadata<'a>, vocab_size: usize) -> Result<Option<Array<'a>>> {
    let Some(types) = metadata.array(TYPES)? else { return Ok(None) };
    if types.integers().is_none() {
        return Err(metadata.broken_rule(TYPES, "an array of something else", "must be an array of 32-bit integers"));
    }
    if types.length() != vocab_size {
        let rule = format!("`{TOKENS}` is {vocab_size} long");
        return Err(metadata.broken_rule(TYPES, format!("{} long", types.length()), &rule));
    }
    Ok(Some(types))
}

fn token_id(metadata: &Metadata<'_>, key: &str, vocab_size: usize) -> Result<Option<u32>> {
    let Some(id) = metadata.unsigned(key)? else { return Ok(None) };
    match u32::try_from(id) {
        Ok(narrow) if id < vocab_size as u64 => Ok(Some(narrow)),
        _ => Err(metadata.broken_rule(key, id, &format!("the vocabulary has {vocab_size} tokens"))),
    }
}
