//! Byte-level BPE (Radford et al. 2019), made from the training part, in the file format of the `tokenizers` library.

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
        let end = match start::object(files, "tokenizer_config.json")?.get("eos_token") {
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
        let tokenizer = Tokenizer::from_bytes(json.as_bytes()).map_err(malformed)?;
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
            let encoded = self.tokenizer.encode_batch_fast(some.to_vec(), false);
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
