//! A sentence encoder without arithmetic: its vectors can be computed in the head.

use seedhouse_core::runtime::{Embedder, EmbedderInfo, Prompts};
use seedhouse_core::{Error, Result};
use serde_json::{Value, json};

/// Ids of the tokens of [`word_tokenizer`], in their order.
pub const WORDS: [&str; 7] = ["[UNK]", "[CLS]", "[SEP]", "wheat", "rice", "query", "nan"];

/// A model whose vector of a sequence is the number of its tokens, their sum, and the last token before the final one.
#[derive(Debug, Clone)]
pub struct FakeEmbedder {
    /// What it says about itself.
    pub info: EmbedderInfo,
}

impl FakeEmbedder {
    /// Returns a model of sequences of up to 6 tokens, which knows a prompt `query`.
    pub fn new() -> FakeEmbedder {
        let texts = [("query".to_owned(), "query ".to_owned())].into();
        FakeEmbedder {
            info: EmbedderInfo {
                tokenizer: word_tokenizer().to_string(),
                lower_case: false,
                longest_sequence: 6,
                dimensions: 3,
                prompts: Prompts { texts, default: None },
            },
        }
    }
}

impl Default for FakeEmbedder {
    fn default() -> FakeEmbedder {
        FakeEmbedder::new()
    }
}

impl Embedder for FakeEmbedder {
    fn info(&self) -> &EmbedderInfo {
        &self.info
    }

    fn embed(&self, sequences: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let vector = |sequence: &&[u32]| match sequence {
            [.., last, _] => {
                let sum: u32 = sequence.iter().sum();
                // The word `nan` gives what a broken model gives.
                let last = if WORDS[*last as usize] == "nan" { f32::NAN } else { *last as f32 };
                Ok(vec![sequence.len() as f32, sum as f32, last])
            }
            _ => Err(Error::invalid("sequence", format!("{} tokens", sequence.len()), "must have 2 tokens")),
        };
        sequences.iter().map(vector).collect()
    }

    fn memory_bytes(&self) -> u64 {
        1000
    }
}

/// Returns a `tokenizer.json` that knows some words, between two tokens that mark the ends, and would cut and fill up texts.
pub fn word_tokenizer() -> Value {
    let vocabulary: serde_json::Map<String, Value> =
        WORDS.iter().zip(0..).map(|(word, id): (&&str, u32)| ((*word).to_owned(), id.into())).collect();
    let special = |word: &str, id: u32| json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let piece = |word: &str| json!({"SpecialToken": {"id": word, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let named = |word: &str, id: u32| json!({"id": word, "ids": [id], "tokens": [word]});
    json!({
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 5, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
            "pad_token": "[UNK]"},
        "added_tokens": [special("[UNK]", 0), special("[CLS]", 1), special("[SEP]", 2)],
        "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {"type": "TemplateProcessing", "single": [piece("[CLS]"), text, piece("[SEP]")],
            "pair": [piece("[CLS]"), text, piece("[SEP]"), {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"[CLS]": named("[CLS]", 1), "[SEP]": named("[SEP]", 2)}},
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}
