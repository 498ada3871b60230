//! A `tokenizer.json` of the `tokenizers` library, run by that library. The file comes from strangers: what it does to a text
//! is its own affair, but special tokens are matched in templates only.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::runtime::TokenText;
use seedhouse_core::{Error, Result};
use tokenizers::Tokenizer;

use super::byte_level::character_of;
use super::tokenizer::SpecialTokens;

/// Encodes as the file says.
pub(super) struct LibraryTokenizer {
    /// Special tokens are matched.
    matching: Tokenizer,
    /// The same tables a second time, because whether special tokens are text is a property of a whole tokenizer.
    plain: Tokenizer,
    /// For byte-level files: whether the vocabulary has a token for a byte. The library drops a byte without one.
    expressible: Option<[bool; 256]>,
}

impl LibraryTokenizer {
    /// Builds both from the text of the file, which has these `tokens`.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library does not take the file, or gives tokens other ids than the file did.
    pub(super) fn new(json: &str, tokens: &[String], token_text: TokenText) -> Result<LibraryTokenizer> {
        let malformed = |reason: String| Error::malformed("the tokenizer", reason);
        // The library indexes tables by numbers of the file, and a panic in it is about the file, not about us.
        let read = catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(json.as_bytes())));
        let read = read.map_err(|_| malformed("its tables contradict each other".into()))?;
        let mut matching = read.map_err(|error| malformed(format!("`tokenizer.json`: {error}")))?;
        matching.with_padding(None);
        matching.with_truncation(None).map_err(|error| malformed(error.to_string()))?;
        for (id, token) in (0..).zip(tokens).filter(|(_, token)| !token.is_empty()) {
            if matching.token_to_id(token) != Some(id) {
                let found = matching.token_to_id(token).map_or_else(|| "no id".to_owned(), |id| format!("the id {id}"));
                return Err(malformed(format!("token {id} is `{}`, which has {found}", token.escape_debug())));
            }
        }
        let mut plain = matching.clone();
        plain.set_encode_special_tokens(true);
        let has_token = |byte: usize| {
            let byte = u8::try_from(byte).expect("an index below 256");
            matching.token_to_id(character_of(byte).encode_utf8(&mut [0; 4])).is_some()
        };
        let expressible = (token_text == TokenText::ByteLevel).then(|| std::array::from_fn(has_token));
        Ok(LibraryTokenizer { plain, expressible, matching })
    }

    /// Returns the ids of `text`, without any token that marks its beginning.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a byte that a byte-level vocabulary cannot express.
    pub(super) fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>> {
        let tokenizer = match special {
            SpecialTokens::Match => &self.matching,
            SpecialTokens::Ignore => &self.plain,
        };
        if let Some(expressible) = &self.expressible {
            let is_dropped = |character: &char| {
                character.encode_utf8(&mut [0; 4]).bytes().any(|byte| !expressible[usize::from(byte)])
            };
            if let Some(character) = text.chars().find(is_dropped) {
                let rule = "must not contain this character: the vocabulary has no token for one of its bytes";
                return Err(Error::invalid("prompt", character.escape_unicode(), rule));
            }
        }
        let encoding = tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::Internal(format!("the tokenizer cannot encode a text: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use seedhouse_core::runtime::{TokenizerModel, TokenizerSpec};
    use serde_json::{Value, json};

    use super::*;
    use crate::text::tokenizer::TextTokenizer;

    /// Four letters, two merges, a special token and an added one, in the byte-level form of GPT-2.
    fn byte_level() -> Value {
        json!({
            "version": "1.0", "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": null,
            "added_tokens": [
                {"id": 14, "content": "<|end|>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true},
                {"id": 15, "content": "<tool>", "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": false},
            ],
            "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {"a": 0, "b": 1, "Ġ": 2, "<": 3, "ab": 4, "Ġab": 5, "|": 6, "t": 7, "o": 8, "l": 9, ">": 10,
                    "e": 11, "n": 12, "d": 13},
                "merges": ["a b", "Ġ ab"]},
        })
    }

    fn spec(json: &Value, tokens: &[&str]) -> TokenizerSpec {
        TokenizerSpec {
            model: TokenizerModel::HuggingFace {
                json: json.to_string(),
                tokens: tokens.iter().map(|token| (*token).to_owned()).collect(),
                token_text: TokenText::ByteLevel,
                control: vec![14],
                added: vec![15],
            },
            pre_tokenizer: String::new(),
            bos: None,
            eos: Some(14),
            stop: Vec::new(),
            add_bos: false,
        }
    }

    const TOKENS: [&str; 16] =
        ["a", "b", "Ġ", "<", "ab", "Ġab", "|", "t", "o", "l", ">", "e", "n", "d", "<|end|>", "<tool>"];

    #[test]
    fn text_is_encoded_as_the_file_says_and_never_cut() {
        let tokenizer = TextTokenizer::new(&spec(&byte_level(), &TOKENS)).unwrap();
        for special in [SpecialTokens::Match, SpecialTokens::Ignore] {
            assert_eq!(tokenizer.encode("ab ab b<tool>a", special).unwrap(), [4, 5, 2, 1, 15, 0]);
        }
    }

    #[test]
    fn special_token_is_ordinary_text_unless_matched() {
        let tokenizer = TextTokenizer::new(&spec(&byte_level(), &TOKENS)).unwrap();
        assert_eq!(tokenizer.encode("a<|end|>", SpecialTokens::Match).unwrap(), [0, 14]);
        assert_eq!(tokenizer.encode("a<|end|>", SpecialTokens::Ignore).unwrap(), [0, 3, 6, 11, 12, 13, 6, 10]);
        assert_eq!(tokenizer.control_text_in("a<|end|>"), Some("<|end|>"));
        assert_eq!(tokenizer.control_text_in("a<tool>"), None);
    }

    #[test]
    fn character_without_a_token_is_refused_not_dropped() {
        let tokenizer = TextTokenizer::new(&spec(&byte_level(), &TOKENS)).unwrap();
        let error = tokenizer.encode("a麦", SpecialTokens::Ignore).unwrap_err().to_string();
        assert!(error.contains("\\u{9ea6}"), "{error}");
    }

    #[test]
    fn files_that_contradict_themselves_are_refused() {
        let with = |pointer: &str, value: Value| {
            let mut json = byte_level();
            *json.pointer_mut(pointer).unwrap() = value;
            json
        };
        let cases = [
            (json!({}), "`tokenizer.json`"),
            (with("/model/merges", json!(["a z"])), "z"),
            (with("/added_tokens/0/content", json!("<|x|>")), "token 14 is `<|end|>`, which has no id"),
            (
                with(
                    "/pre_tokenizer",
                    json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
                ),
                "`tokenizer.json`",
            ),
        ];
        for (json, expected) in cases {
            let error = TextTokenizer::new(&spec(&json, &TOKENS)).err().expect(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
        let mut other = TOKENS;
        other.swap(0, 1);
        let error = TextTokenizer::new(&spec(&byte_level(), &other)).err().unwrap().to_string();
        assert!(error.contains("token 0 is `b`, which has the id 1"), "{error}");
    }
}
