//! The tokenizer of a sentence encoder, run by the `tokenizers` library. A text that is longer than the model takes is cut, as the
//! library does it: special tokens stay.

use std::panic::{AssertUnwindSafe, catch_unwind};

use seedhouse_core::runtime::EmbedderInfo;
use seedhouse_core::{Error, Result};
use tokenizers::normalizers::{Lowercase, NormalizerWrapper, Sequence as Normalizers};
use tokenizers::{Tokenizer, TruncationParams};

/// A byte of `tokenizer.json` takes about so many in the library's tables.
const BYTES_PER_BYTE: u64 = 6;

/// Makes tokens of texts.
pub(super) struct TextCutting {
    tokenizer: Tokenizer,
    file_bytes: u64,
}

/// The tokens of a text.
pub(super) struct Sequence {
    pub(super) tokens: Vec<u32>,
    /// Whether the text has more.
    pub(super) is_cut: bool,
}

impl TextCutting {
    /// Builds the tokenizer. Whatever the file says of cutting and filling up is replaced by what the model says, but for the
    /// end at which texts are cut.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the library does not take the file, [`Error::Unsupported`] when it tells sentences apart.
    pub(super) fn new(info: &EmbedderInfo) -> Result<TextCutting> {
        let malformed = |reason: String| Error::malformed("the tokenizer", reason);
        let read = guarded(|| Tokenizer::from_bytes(info.tokenizer.as_bytes()));
        let mut tokenizer = read.map_err(|reason| malformed(format!("`tokenizer.json`: {reason}")))?;
        tokenizer.with_padding(None);
        let said = tokenizer.get_truncation().cloned().unwrap_or_default();
        let truncation = TruncationParams { max_length: info.longest_sequence, stride: 0, ..said };
        tokenizer.with_truncation(Some(truncation)).map_err(|error| malformed(error.to_string()))?;
        if info.lower_case {
            // A step of the tokenizer, because special tokens in a text are found before it.
            let said = tokenizer.get_normalizer().cloned();
            let steps = [NormalizerWrapper::Lowercase(Lowercase)].into_iter().chain(said).collect();
            tokenizer.with_normalizer(Some(Normalizers::new(steps)));
        }
        let cutting = TextCutting { tokenizer, file_bytes: info.tokenizer.len() as u64 };
        cutting.refuse_kinds_of_tokens()?;
        Ok(cutting)
    }

    /// Models here know one kind of token, the first sentence's.
    fn refuse_kinds_of_tokens(&self) -> Result<()> {
        let encoding = guarded(|| self.tokenizer.encode("a", true));
        let encoding = encoding.map_err(|reason| {
            Error::malformed("the tokenizer", format!("`tokenizer.json` cannot encode a text: {reason}"))
        })?;
        match encoding.get_type_ids().iter().find(|kind| **kind != 0) {
            None => Ok(()),
            Some(kind) => Err(Error::unsupported(
                format!("a tokenizer that gives the tokens of one text the type {kind}"),
                "the type of all tokens is 0",
            )),
        }
    }

    /// Returns the tokens of a prompt and a text.
    pub(super) fn sequence(&self, prompt: &str, text: &str) -> Result<Sequence> {
        let whole = (!prompt.is_empty()).then(|| format!("{prompt}{text}"));
        let text = whole.as_deref().unwrap_or(text);
        let encoding = guarded(|| self.tokenizer.encode_fast(text, true)).map_err(|reason| {
            Error::Internal(format!("the tokenizer of `tokenizer.json` cannot encode a text: {reason}"))
        })?;
        Ok(Sequence { tokens: encoding.get_ids().to_vec(), is_cut: !encoding.get_overflowing().is_empty() })
    }

    pub(super) fn table_bytes(&self) -> u64 {
        self.file_bytes * BYTES_PER_BYTE
    }
}

/// Calls the library; an error says why not. It indexes tables by numbers and names of the file, when it reads it and at each text, and a
/// panic in it is about the file, not about us.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("its tables contradict each other".into()),
    }
}
