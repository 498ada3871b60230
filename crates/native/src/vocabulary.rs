//! The tokenizer tables of a GGUF file (`tokenizer.ggml.*`): checked as views of the file, copied only when a model is
//! loaded.

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
const TOKENS: &str = "tokenizer.ggml.tokens";
const MERGES: &str = "tokenizer.ggml.merges";
const TYPES: &str = "tokenizer.ggml.token_type";
/// Token types that are matched whole: control tokens in templates, those that a user added in every text.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;
/// Control tokens that llama.cpp takes for the end of a turn by their text, because many files do not name them by id.
const END_OF_TURN: [&str; 7] =
    ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>"];

/// The tables, and the ids with a meaning.
#[derive(Debug)]
pub(crate) struct Vocabulary<'a> {
    /// The Jinja template of the file.
    pub(crate) chat_template: Option<&'a str>,
    tokens: Array<'a>,
    merges: Array<'a>,
    types: Option<Array<'a>>,
    pre_tokenizer: &'a str,
    bos: Option<u32>,
    eos: Option<u32>,
    ends: Vec<u32>,
    add_bos: bool,
}

impl<'a> Vocabulary<'a> {
    /// Reads and checks the tables.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another algorithm than byte-level byte-pair encoding, [`Error::Malformed`] for tables
    /// that do not fit each other.
    pub(crate) fn read(gguf: &Gguf<'a>) -> Result<Vocabulary<'a>> {
        let metadata = &gguf.metadata;
        let model = metadata.required("tokenizer.ggml.model", metadata.name("tokenizer.ggml.model")?)?;
        if model != BYTE_LEVEL_BPE {
            return Err(Error::unsupported(
                format!("tokenizer `{}`", model.escape_debug()),
                format!("this runtime knows `{BYTE_LEVEL_BPE}` (byte-level byte-pair encoding)"),
            ));
        }
        let tokens = texts(metadata, TOKENS, MOST_TOKENS)?;
        let merges = texts(metadata, MERGES, MOST_MERGES)?;
        let size = tokens.length();
        let id = |key| token_id(metadata, key, size);
        let mut ends = Vec::new();
        ends.extend(id("tokenizer.ggml.eot_token_id")?);
        ends.extend(id("tokenizer.ggml.eom_token_id")?);
        Ok(Vocabulary {
            chat_template: metadata.text_up_to("tokenizer.chat_template", LONGEST_TEMPLATE_BYTES)?,
            tokens,
            merges,
            types: types(metadata, size)?,
            pre_tokenizer: pre_tokenizer(metadata)?,
            bos: id("tokenizer.ggml.bos_token_id")?,
            eos: id("tokenizer.ggml.eos_token_id")?,
            ends,
            add_bos: metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(false),
        })
    }

    /// Returns the number of tokens.
    pub(crate) fn size(&self) -> usize {
        self.tokens.length()
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
        TokenizerSpec {
            stop: self.stop_tokens(&tokens, &control),
            model: TokenizerModel::ByteLevelBpe { tokens, merges: owned(self.merges), control, added },
            pre_tokenizer: self.pre_tokenizer.to_owned(),
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
