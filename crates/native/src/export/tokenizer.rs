//! Byte-level tokenizers in the words of llama.cpp and of the `tokenizers` library: how text is cut before pairs are joined.

use seedhouse_core::runtime::{TokenizerModel, TokenizerSpec};
use seedhouse_core::{Error, Result};
use serde_json::{Value, json};

use crate::quote::quote;

/// Token types of GGUF.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// A way of cutting text that both sides know.
struct Cut {
    /// llama.cpp's name.
    name: &'static str,
    /// The pattern of a `Split` before the bytes, instead of the one of GPT-2.
    pattern: Option<&'static str>,
    /// Whether digits are cut off one by one.
    cuts_digits: bool,
}

const CUTS: [Cut; 4] = [
    Cut { name: "gpt-2", pattern: None, cuts_digits: false },
    Cut { name: "smollm", pattern: None, cuts_digits: true },
    Cut {
        name: "llama-bpe",
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        cuts_digits: false,
    },
    Cut {
        name: "qwen2",
        pattern: Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        cuts_digits: false,
    },
];

/// The tables of a tokenizer as GGUF has them.
pub(super) struct GgufTokenizer {
    pub(super) pre: &'static str,
    pub(super) tokens: Vec<String>,
    pub(super) types: Vec<i32>,
    pub(super) merges: Vec<String>,
}

impl GgufTokenizer {
    /// Reads `tokenizer.json` for a model of so many tokens.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a tokenizer that is none of bytes, or that llama.cpp cuts text for in no known way.
    pub(super) fn read(tokenizer: &TokenizerSpec, vocab_size: usize) -> Result<GgufTokenizer> {
        let TokenizerModel::HuggingFace { json, tokens, control, added, .. } = &tokenizer.model else {
            return Err(Error::Internal("the tokenizer of a folder is one of the `tokenizers` library".into()));
        };
        let file: Value = serde_json::from_str(json).map_err(|error| malformed(error.to_string()))?;
        let model = &file["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") || model["byte_fallback"] == Value::Bool(true) {
            return Err(refused(&format!("the model {}", quote(model["type"].as_str().unwrap_or("of SentencePiece")))));
        }
        let pre = cut_of(&file)?.name;
        let mut types = vec![NORMAL; vocab_size];
        let mut tokens = tokens.clone();
        tokens.resize(vocab_size, String::new());
        for (id, token) in tokens.iter_mut().enumerate().filter(|(_, token)| token.is_empty()) {
            *token = format!("[PAD{id}]");
            types[id] = UNUSED;
        }
        for (ids, kind) in [(control, CONTROL), (added, USER_DEFINED)] {
            ids.iter().for_each(|id| types[*id as usize] = kind);
        }
        Ok(GgufTokenizer { pre, tokens, types, merges: merges(model)? })
    }
}

fn malformed(reason: String) -> Error {
    Error::malformed("file `tokenizer.json`", reason)
}

fn refused(what: &str) -> Error {
    let names = CUTS.map(|cut| cut.name).join("`, `");
    let reason = format!("tokenizers of bytes are written that llama.cpp knows as `{names}`");
    Error::unsupported(format!("export of a tokenizer with {what} to gguf"), reason)
}

/// Rules are written as one text or as two.
fn merges(model: &Value) -> Result<Vec<String>> {
    let rules = model["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rule = |rule: &Value| match rule {
        Value::String(text) => Ok(text.clone()),
        Value::Array(pair) => match (&pair[..], pair.iter().map(Value::as_str).collect::<Option<Vec<&str>>>()) {
            ([_, _], Some(pair)) => Ok(pair.join(" ")),
            _ => Err(malformed(format!("the merge rule {} is no pair of texts", quote(&rule.to_string())))),
        },
        other => Err(malformed(format!("the merge rule {} is no text", quote(&other.to_string())))),
    };
    rules.iter().map(rule).collect()
}

/// Finds how a file cuts text.
fn cut_of(file: &Value) -> Result<&'static Cut> {
    let parts: Vec<&Value> = match &file["pre_tokenizer"] {
        Value::Null => Vec::new(),
        sequence if sequence["type"] == "Sequence" => {
            sequence["pretokenizers"].as_array().into_iter().flatten().collect()
        }
        one => vec![one],
    };
    let shown = || refused(&format!("the pre-tokenizer {}", quote(&file["pre_tokenizer"].to_string())));
    let is_bytes = |part: &Value, with_pattern: bool| {
        part["type"] == "ByteLevel"
            && part["add_prefix_space"] != Value::Bool(true)
            && part["use_regex"].as_bool().unwrap_or(true) == with_pattern
    };
    let is = |cut: &Cut| match (&parts[..], cut.pattern) {
        ([bytes], None) => !cut.cuts_digits && is_bytes(bytes, true),
        ([digits, bytes], None) => {
            let one_by_one = digits["type"] == "Digits" && digits["individual_digits"] == Value::Bool(true);
            cut.cuts_digits && one_by_one && is_bytes(bytes, true)
        }
        ([split, bytes], Some(pattern)) => {
            let isolates = split["behavior"] == "Isolated" && split["invert"] != Value::Bool(true);
            split["type"] == "Split" && isolates && split["pattern"]["Regex"] == pattern && is_bytes(bytes, false)
        }
        _ => false,
    };
    let cut = CUTS.iter().find(|cut| is(cut)).ok_or_else(shown)?;
    // Qwen's texts are brought to one form first, which llama.cpp leaves to the caller.
    let is_normal = file["normalizer"].is_null() || (cut.name == "qwen2" && file["normalizer"]["type"] == "NFC");
    // Llama 3 takes words that are tokens as they are, which llama.cpp does by this name alone.
    let takes_words = file["model"]["ignore_merges"] == Value::Bool(true);
    match (is_normal, takes_words == (cut.name == "llama-bpe")) {
        (true, true) => Ok(cut),
        (false, _) => Err(refused(&format!("the normalizer {}", quote(&file["normalizer"].to_string())))),
        (_, false) => Err(refused(&format!("`ignore_merges` {takes_words} and the pre-tokenizer of `{}`", cut.name))),
    }
}

/// Returns `tokenizer.json` of a byte-level tokenizer of llama.cpp.
///
/// # Errors
/// [`Error::Unsupported`] for a tokenizer that is none of bytes, or with a pre-tokenizer that is not known.
pub(super) fn to_json(tokenizer: &TokenizerSpec) -> Result<Value> {
    let TokenizerModel::ByteLevelBpe { tokens, merges, control, added } = &tokenizer.model else {
        let reason = "byte-level byte-pair encoding is written as `tokenizer.json`";
        return Err(Error::unsupported("export of a tokenizer by scores to safetensors", reason));
    };
    let wanted = if tokenizer.pre_tokenizer == "gpt2" { "gpt-2" } else { &tokenizer.pre_tokenizer };
    let cut = CUTS.iter().find(|cut| cut.name == wanted).ok_or_else(|| {
        let names = CUTS.map(|cut| cut.name).join("`, `");
        let what = format!("export of the pre-tokenizer {} to safetensors", quote(&tokenizer.pre_tokenizer));
        Error::unsupported(what, format!("the known ones are `{names}`"))
    })?;
    let token = |id: &u32, special: bool| {
        json!({"id": id, "content": tokens[*id as usize], "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special})
    };
    let mut whole: Vec<(u32, Value)> = control.iter().map(|id| (*id, token(id, true))).collect();
    whole.extend(added.iter().map(|id| (*id, token(id, false))));
    whole.sort_by_key(|(id, _)| *id);
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": whole.into_iter().map(|(_, token)| token).collect::<Vec<Value>>(),
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer(cut, &bytes),
        "post_processor": post_processor(tokenizer, tokens),
        "decoder": bytes(true),
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": cut.name == "llama-bpe",
            "vocab": vocabulary,
            "merges": merges,
        },
    }))
}

fn pre_tokenizer(cut: &Cut, bytes: &dyn Fn(bool) -> Value) -> Value {
    let sequence = |first: Value, bytes: Value| json!({"type": "Sequence", "pretokenizers": [first, bytes]});
    match cut.pattern {
        Some(pattern) => {
            let split =
                json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
            sequence(split, bytes(false))
        }
        None if cut.cuts_digits => sequence(json!({"type": "Digits", "individual_digits": true}), bytes(true)),
        None => bytes(true),
    }
}

/// Writes the beginning of a text where the model wants it.
fn post_processor(tokenizer: &TokenizerSpec, tokens: &[String]) -> Value {
    let Some(bos) = tokenizer.bos.filter(|_| tokenizer.add_bos) else { return Value::Null };
    let text = &tokens[bos as usize];
    let special = json!({"SpecialToken": {"id": text, "type_id": 0}});
    let sequence = |id: &str, type_id: u8| json!({"Sequence": {"id": id, "type_id": type_id}});
    json!({
        "type": "TemplateProcessing",
        "single": [special, sequence("A", 0)],
        "pair": [special, sequence("A", 0), sequence("B", 1)],
        "special_tokens": {text: {"id": text, "ids": [bos], "tokens": [text]}},
    })
}
