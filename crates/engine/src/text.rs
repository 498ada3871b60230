//! A language model with its tokenizer and template.

pub(crate) mod beam;
mod bounded;
mod byte_level;
pub(crate) mod chat_template;
mod control_tokens;
mod exponential;
mod filter;
pub(crate) mod generation;
mod library_tokenizer;
mod logit_rule;
pub(crate) mod logprobs;
mod present_time;
mod python_json;
pub(crate) mod sampling;
pub(crate) mod scheduler;
mod score_merging;
mod selection;
mod sentence_piece;
mod text_stream;
pub(crate) mod tokenizer;

use std::sync::Arc;

use seedhouse_core::runtime::{TextExecutor, TextModel, TextModelInfo, TokenText, TokenizerModel};
use seedhouse_core::{Error, Result};

use self::byte_level::bytes_of_token;
use self::chat_template::{ChatTemplate, Message};
use self::generation::Prompt;
use self::tokenizer::{SpecialTokens, TextTokenizer};

/// A language model, and how text goes in and comes out. Token texts are read from the model's own table, not copied.
pub struct TextPipeline {
    model_id: String,
    model: Arc<dyn TextModel>,
    tokenizer: TextTokenizer,
    /// By id: control tokens and those that start or end a text.
    unprinted: Vec<bool>,
    /// By id: tokens whose text is no byte-level text.
    verbatim: Vec<bool>,
    chat_template: Option<ChatTemplate>,
    longest_token_bytes: usize,
    table_bytes: u64,
}

/// The texts of tokens are kept about so many times: as the model has them, from text to id, from id to text, and in merges.
const TABLES: usize = 4;

/// Returns about what compiled patterns take, by which text is cut before it is encoded: measured as what a server grows by for each
/// small model, beside what the model reports. Their size comes from the classes of Unicode, not from the vocabulary.
fn pattern_bytes(model: &TokenizerModel) -> u64 {
    match model {
        TokenizerModel::ScoredBpe { .. } => 0,
        TokenizerModel::ByteLevelBpe { .. } | TokenizerModel::HuggingFace { .. } => 5 << 20,
    }
}

impl TextPipeline {
    pub(crate) fn new(model_id: &str, model: Arc<dyn TextModel>) -> Result<TextPipeline> {
        let info = model.info();
        let tokenizer = TextTokenizer::new(&info.tokenizer)?;
        let spec = &info.tokenizer.model;
        let (tokens, control, added) = (spec.tokens(), spec.control(), spec.added());
        let longest_token_bytes = tokens.iter().map(String::len).max().unwrap_or(0).max(1);
        if tokens.len() > info.vocab_size {
            let reason = format!("it has {} tokens, but the model gives {} logits", tokens.len(), info.vocab_size);
            return Err(Error::malformed("the tokenizer", reason));
        }
        let text_bytes: usize = tokens.iter().map(|token| token.len() + size_of::<String>()).sum();
        let mut unprinted = vec![false; tokens.len()];
        let ends = info.tokenizer.bos.iter().chain(&info.tokenizer.eos).chain(&info.tokenizer.stop);
        for id in ends.chain(control) {
            unprinted[*id as usize] = true;
        }
        let mut verbatim = vec![false; tokens.len()];
        for id in added {
            verbatim[*id as usize] = true;
        }
        let chat_template =
            info.chat_template.as_deref().map(|source| ChatTemplate::new(model_id, source)).transpose()?;
        let model_id = model_id.to_owned();
        let table_bytes = (TABLES * text_bytes) as u64 + pattern_bytes(spec);
        Ok(TextPipeline {
            model_id,
            tokenizer,
            unprinted,
            verbatim,
            chat_template,
            longest_token_bytes,
            table_bytes,
            model,
        })
    }

    /// Returns the token ids of `text`, without the token that may start a prompt.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a character that the vocabulary cannot express.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>> {
        self.tokenizer.encode(text, special)
    }

    /// Returns the token ids of a prompt, as the model reads it.
    ///
    /// A plain text begins with the bos token where the model wants one; for a conversation that is the template's part.
    ///
    /// # Errors
    /// Those of [`encode`](TextPipeline::encode) and [`render_chat`](TextPipeline::render_chat), and
    /// [`Error::ContextOverflow`] with a lower bound of the tokens when the text cannot fit, however it is encoded.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>> {
        match prompt {
            Prompt::Text(text) => {
                self.check_length(text)?;
                let spec = &self.info().tokenizer;
                let mut ids: Vec<u32> = spec.bos.filter(|_| spec.add_bos).into_iter().collect();
                ids.extend(self.encode(text, SpecialTokens::Ignore)?);
                Ok(ids)
            }
            Prompt::Chat(messages) => {
                let text = self.render_chat(messages)?;
                self.check_length(&text)?;
                self.encode(&text, SpecialTokens::Match)
            }
        }
    }

    /// Encoding takes time and memory for every byte, so a text that cannot fit is refused before.
    fn check_length(&self, text: &str) -> Result<()> {
        let (prompt_tokens, context_length) =
            (text.len().div_ceil(self.longest_token_bytes), self.info().context_length);
        if prompt_tokens > context_length {
            return Err(Error::ContextOverflow { model_id: self.model_id.clone(), prompt_tokens, context_length });
        }
        Ok(())
    }

    /// Returns the text of tokens. Control tokens and ids outside the vocabulary have none; broken characters become U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.printed_bytes(id)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns what runs sequences of the model, apart from all requests.
    ///
    /// # Errors
    /// Those of [`TextModel::executor`].
    pub fn executor(&self) -> Result<Box<dyn TextExecutor>> {
        self.model.executor()
    }

    /// Returns about how many bytes the tables of the tokenizer take.
    pub(crate) fn table_bytes(&self) -> u64 {
        self.table_bytes
    }

    /// Returns what the model says about itself.
    pub fn info(&self) -> &TextModelInfo {
        self.model.info()
    }

    /// Renders a conversation by the model's template, up to where the assistant speaks.
    ///
    /// What a user writes can never become a control token: a message that contains the text of one is refused, and roles are a
    /// closed set. Everything that [`SpecialTokens::Match`] finds in the result was put there by the template.
    ///
    /// # Errors
    /// [`Error::Invalid`] about a message, [`Error::WrongTask`] when the model has no template, [`Error::Malformed`] when the
    /// template fails or does not end.
    pub fn render_chat(&self, messages: &[Message]) -> Result<String> {
        let Some(template) = &self.chat_template else {
            return Err(Error::WrongTask {
                model_id: self.model_id.clone(),
                task: "chat",
                reason: "it has no chat template, so it continues plain text only".into(),
            });
        };
        chat_template::check_messages(messages, |content| self.tokenizer.control_text_in(content))?;
        let spec = &self.info().tokenizer;
        let text_of = |id: Option<u32>| id.map_or("", |id| self.token(id));
        template.render(&self.model_id, messages, text_of(spec.bos), text_of(spec.eos))
    }

    pub(crate) fn model_id(&self) -> &str {
        &self.model_id
    }

    fn tokens(&self) -> &[String] {
        self.info().tokenizer.model.tokens()
    }

    fn token(&self, id: u32) -> &str {
        self.tokens().get(id as usize).map_or("", String::as_str)
    }

    pub(crate) fn token_count(&self) -> usize {
        self.tokens().len()
    }

    pub(crate) fn ends_text(&self, id: u32) -> bool {
        let spec = &self.info().tokenizer;
        spec.eos == Some(id) || spec.stop.contains(&id)
    }

    pub(crate) fn printed_bytes(&self, id: u32) -> Vec<u8> {
        match self.unprinted.get(id as usize) {
            Some(false) if self.verbatim[id as usize] => self.token(id).as_bytes().to_vec(),
            Some(false) => match self.info().tokenizer.model.token_text() {
                TokenText::ByteLevel => bytes_of_token(self.token(id)),
                TokenText::SentencePiece => sentence_piece::bytes_of_token(self.token(id)),
            },
            Some(true) | None => Vec::new(),
        }
    }
}
