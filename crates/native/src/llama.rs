//! The `llama` family (Touvron et al. 2023): decoder blocks with root-mean-square norms, rotary positions, grouped key
//! and value heads and gated feed-forward parts. Other families that share these parts get a file like this one.

use std::sync::Arc;

use seedhouse_core::runtime::{TextModel, TextModelInfo, TextSession};
use seedhouse_core::{Error, Result};

use crate::gguf::Gguf;
use crate::mapped_file::MappedFile;
use crate::rotary::Rotary;
use crate::vocabulary::Vocabulary;

mod config;
mod session;
mod weights;

use config::Config;
use session::LlamaSession;
use weights::Weights;

/// The name of the family in `general.architecture`.
pub(crate) const ARCHITECTURE: &str = "llama";

/// A model whose every tensor has its place.
#[derive(Debug)]
pub(crate) struct Llama {
    config: Config,
    weights: Weights,
    rotary: Rotary,
}

impl Llama {
    /// Puts a model together.
    ///
    /// # Errors
    /// [`Error::Malformed`] when metadata, tensors and vocabulary do not fit each other, naming both values;
    /// [`Error::Unsupported`] for what is correct but not computed here.
    pub(crate) fn new(gguf: &Gguf<'_>, file: &Arc<MappedFile>, vocabulary: &Vocabulary<'_>) -> Result<Llama> {
        let config = Config::read(gguf)?;
        let vocab_size = vocabulary.size();
        check_vocabulary_size(gguf, vocab_size)?;
        let weights = Weights::find(gguf, file, &config, vocab_size)?;
        let rotary = Rotary::new(config.rotary_dimensions, config.frequency_base);
        Ok(Llama { config, weights, rotary })
    }

    /// Adds what the engine must know.
    pub(crate) fn into_text_model(self, vocabulary: &Vocabulary<'_>) -> Arc<dyn TextModel> {
        let info = TextModelInfo {
            vocab_size: vocabulary.size(),
            context_length: self.config.context_length,
            tokenizer: vocabulary.to_tokenizer(),
            chat_template: vocabulary.chat_template.map(str::to_owned),
        };
        Arc::new(LlamaTextModel { model: Arc::new(self), info })
    }
}

/// The number of tokens stands in up to three places.
fn check_vocabulary_size(gguf: &Gguf<'_>, vocab_size: usize) -> Result<()> {
    let key = "llama.vocab_size";
    match gguf.metadata.unsigned(key)? {
        Some(claimed) if claimed != vocab_size as u64 => {
            return Err(gguf.metadata.broken_rule(key, claimed, &format!("the vocabulary has {vocab_size} tokens")));
        }
        _ => {}
    }
    match gguf.tensors.get("token_embd.weight") {
        Some(embedding) if embedding.shape.0.get(1).is_some_and(|&rows| rows != vocab_size as u64) => {
            let shape = &embedding.shape;
            let reason =
                format!("the vocabulary has {vocab_size} tokens, but `token_embd.weight` has the shape {shape}");
            Err(Error::malformed(gguf.path, reason))
        }
        _ => Ok(()),
    }
}

struct LlamaTextModel {
    model: Arc<Llama>,
    info: TextModelInfo,
}

impl TextModel for LlamaTextModel {
    fn info(&self) -> &TextModelInfo {
        &self.info
    }

    fn session(&self) -> Box<dyn TextSession> {
        Box::new(LlamaSession::new(Arc::clone(&self.model)))
    }
}
