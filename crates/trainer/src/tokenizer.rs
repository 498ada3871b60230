//! Byte-level BPE (Radford et al. 2019), made from the training part, in the file format of the `tokenizers` library.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::runtime::LocalFiles;
use seedhouse_core::training::TrainWatch;
use seedhouse_core::{Error, ProgressUnit, Result};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper};
use tokenizers::{Tokenizer, TokenizerBuilder};

use crate::start;

/// The token between two texts.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";

/// Bytes, and the token between two texts: no vocabulary is smaller.
const LEAST_TOKENS: usize = 257;

/// Texts that are encoded between two looks at whether the work should stop.
const TEXTS_AT_ONCE: usize = 1024;

/// A tokenizer, and what is written of it.
pub(crate) struct TrainedTokenizer {
    tokenizer: Tokenizer,
    json: String,
    end: u32,
    end_text: String,
}

fn internal(what: &str, error: impl std::fmt::Display) -> Error {
    Error::Internal(format!("{what}: {error}"))
}

/// Calls the library, which indexes tables by numbers of the file: a panic in it is about the file, not about us.
fn guarded<T>(of: impl FnOnce() -> T) -> Result<T> {
    let reason = "its tables contradict each other";
    catch_unwind(AssertUnwindSafe(of)).map_err(|_| Error::malformed("file `tokenizer.json`", reason))
}

impl TrainedTokenizer {
    /// Makes a tokenizer of at most so many tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer tokens than there are bytes, or for no text.
    pub(crate) fn train(texts: &[&str], vocab_size: usize, watch: &dyn TrainWatch) -> Result<TrainedTokenizer> {
        if vocab_size < LEAST_TOKENS {
            let rule = format!("must be at least {LEAST_TOKENS}: one for each byte, and the end of a text");
            return Err(Error::invalid("metadata.vocab_size", vocab_size, rule));
        }
        if texts.iter().all(|text| text.is_empty()) {
            return Err(Error::invalid("the training part", "no text", "there must be some to learn from"));
        }
        watch.stage("making a tokenizer", None, ProgressUnit::Items);
        watch.check()?;
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(vocab_size)
            .min_frequency(2)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let mut made =
            TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new(
            )
            .with_model(BPE::default())
            .with_pre_tokenizer(Some(ByteLevel::new(false, true, true).into()))
            .with_decoder(Some(ByteLevel::default().into()))
            .build()
            .map_err(|error| internal("a tokenizer cannot be made", error))?;
        made.train(&mut trainer, texts.iter()).map_err(|error| internal("a tokenizer cannot be made", error))?;
        let json = made.to_string(true).map_err(|error| internal("a tokenizer cannot be written", error))?;
        TrainedTokenizer::of_json(json, END_OF_TEXT)
    }

    /// Reads the tokenizer of a version.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the version has none or no token for the end of a text.
    pub(crate) fn read(files: &LocalFiles) -> Result<TrainedTokenizer> {
        let text = start::text(files, "tokenizer.json")?;
        let json =
            text.ok_or_else(|| Error::invalid("tokenizer.json", "missing", "the version to begin with must have it"))?;
        let settings = start::object(files, "tokenizer_config.json")?.unwrap_or_default();
        let end = match settings.get("eos_token") {
            Some(Value::String(end)) => end.clone(),
            Some(Value::Object(token)) => {
                token.get("content").and_then(Value::as_str).unwrap_or(END_OF_TEXT).to_owned()
            }
            _ => END_OF_TEXT.to_owned(),
        };
        TrainedTokenizer::of_json(json, &end)
    }

    fn of_json(json: String, end_text: &str) -> Result<TrainedTokenizer> {
        let malformed = |error: tokenizers::Error| Error::malformed("file `tokenizer.json`", error.to_string());
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(json.as_bytes()))?.map_err(malformed)?;
        // What a file says about batches for inference would cut texts or fill them up with tokens to be learned.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(malformed)?;
        let end = tokenizer.token_to_id(end_text);
        let end = end
            .ok_or_else(|| Error::invalid("tokenizer.json", end_text, "the token for the end of a text is missing"))?;
        Ok(TrainedTokenizer { tokenizer, json, end, end_text: end_text.to_owned() })
    }

    /// Returns the tokens of texts, each followed by the end of a text.
    ///
    /// # Errors
    /// [`Error::Cancelled`], or [`Error::Invalid`] for a text that cannot be encoded.
    pub(crate) fn encode(&self, texts: &[&str], watch: &dyn TrainWatch) -> Result<Vec<u32>> {
        watch.stage("encoding texts", Some(texts.len() as u64), ProgressUnit::Items);
        let mut tokens = Vec::new();
        for some in texts.chunks(TEXTS_AT_ONCE) {
            watch.check()?;
            let encoded = guarded(|| self.tokenizer.encode_batch_fast(some.to_vec(), false))?;
            for encoding in encoded.map_err(|error| Error::invalid("text", "of the dataset", error.to_string()))? {
                tokens.extend_from_slice(encoding.get_ids());
                tokens.push(self.end);
            }
            watch.advance(some.len() as u64);
        }
        Ok(tokens)
    }

    /// Returns how many ids there are.
    pub(crate) fn vocab_size(&self) -> usize {
        let highest = self.tokenizer.get_vocab(true).into_values().max();
        highest.map_or(0, |highest| highest as usize + 1)
    }

    /// Returns the token for the end of a text.
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Returns its text.
    pub(crate) fn end_text(&self) -> &str {
        &self.end_text
    }

    /// Returns the text of `tokenizer.json`.
    pub(crate) fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Two letters and a merge.
    fn letters() -> Value {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": {"a": 0, "b": 1, "ab": 2, "end": 3}, "merges": ["a b"]},
        })
    }

    struct Silent;

    impl seedhouse_core::Progress for Silent {
        fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {}
        fn advance(&self, _amount: u64) {}
        fn is_cancelled(&self) -> bool {
            false
        }
    }

    impl TrainWatch for Silent {
        fn measured(&self, _report: &seedhouse_core::training::TrainReport) {}
    }

    #[test]
    fn texts_to_learn_from_were_cut_and_filled_up() {
        let mut json = letters();
        json["truncation"] = json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
        json["padding"] = json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null, "pad_id": 3,
            "pad_type_id": 0, "pad_token": "end"});
        let tokenizer = TrainedTokenizer::of_json(json.to_string(), "end").unwrap();
        assert_eq!(tokenizer.encode(&["aabab", "b"], &Silent).unwrap(), [0, 2, 2, 3, 1, 3]);
    }

    #[test]
    fn a_file_that_contradicts_itself_ended_the_program() {
        let mut json = letters();
        // The library cuts the prefix off the second half of each merge, however short that is.
        json["model"]["continuing_subword_prefix"] = json!("####");
        let error = TrainedTokenizer::of_json(json.to_string(), "end").err().unwrap().to_string();
        assert!(error.contains("`tokenizer.json` is malformed") && error.contains("contradict"), "{error}");
    }

    #[test]
    fn a_tokenizer_without_an_end_is_refused() {
        let error = TrainedTokenizer::of_json(letters().to_string(), "<|end|>").err().unwrap().to_string();
        assert!(error.contains("tokenizer.json") && error.contains("<|end|>"), "{error}");
    }
}
