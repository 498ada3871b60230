//! The decoding loop: a prompt goes in, tokens are chosen one by one, text comes out as it becomes certain.

use std::ops::ControlFlow;
use std::time::Instant;

use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::TextPipeline;
use super::chat_template::Message;
use super::sampling::Sampling;
use super::text_stream::TextStream;

/// What to continue.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Plain text. Control tokens written in it are ordinary text.
    Text(String),
    /// A conversation, rendered by the model's template.
    Chat(Vec<Message>),
}

/// A prompt, and how to continue it.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// Most tokens to add, at least 1.
    pub max_new_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts at which to stop; they do not become part of the answer.
    pub stop: Vec<String>,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The new text.
    pub text: String,
    /// Every token the model chose, the one that ended the answer included.
    pub token_ids: Vec<u32>,
    /// Length of the encoded prompt.
    pub prompt_tokens: usize,
    /// Why it ended.
    pub finish: FinishReason,
    /// Time to encode and read the prompt.
    pub prompt_seconds: f64,
    /// Time for everything after that.
    pub decode_seconds: f64,
    /// Time from the call to the first token.
    pub first_token_seconds: f64,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model or a stop string ended it.
    Stop,
    /// `max_new_tokens` or the end of the context.
    Length,
    /// The caller wanted no more.
    Cancelled,
}

/// Tokens of a prompt that are read between two questions whether to go on.
const PROMPT_TOKENS_AT_ONCE: usize = 128;

impl TextPipeline {
    /// Continues a prompt. `on_text` is called for every piece of a prompt and every token; a text may be empty, then the call
    /// only asks whether to go on.
    pub(crate) fn generate(
        &self,
        request: &GenerateRequest,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let started = Instant::now();
        if request.max_new_tokens == 0 {
            return Err(Error::invalid("max_new_tokens", 0, "must be at least 1"));
        }
        let mut answer = Answer::new(request, on_text)?;
        let prompt = self.encode_prompt(&request.prompt)?;
        let longest = self.room_after(prompt.len())?.min(request.max_new_tokens);
        let mut session = self.session();
        let mut pieces = prompt.chunks(PROMPT_TOKENS_AT_ONCE);
        let last = pieces.next_back().expect("an empty prompt was refused above");
        for piece in pieces {
            session.advance(piece)?;
            if answer.is_unwanted() {
                return Ok(cancelled_while_reading(prompt.len(), started));
            }
        }
        let mut logits = session.advance(last)?;
        let prompt_seconds = started.elapsed().as_secs_f64();

        let mut sampler = request.sampling.sampler();
        let mut token_ids = Vec::new();
        let mut first_token_seconds = None;
        let finish = loop {
            let id = sampler.choose(self.checked_logits(logits)?);
            first_token_seconds.get_or_insert_with(|| started.elapsed().as_secs_f64());
            token_ids.push(id);
            if self.ends_text(id) {
                break answer.end(FinishReason::Stop);
            }
            if let Some(finish) = answer.push(&self.printed_bytes(id)) {
                break finish;
            }
            if token_ids.len() == longest {
                break answer.end(FinishReason::Length);
            }
            logits = session.advance(&[id])?;
        };
        Ok(Generation {
            text: answer.stream.into_text(),
            token_ids,
            prompt_tokens: prompt.len(),
            finish,
            prompt_seconds,
            decode_seconds: started.elapsed().as_secs_f64() - prompt_seconds,
            first_token_seconds: first_token_seconds.expect("the loop chooses a token before it ends"),
        })
    }

    /// Returns how many tokens fit behind the prompt.
    fn room_after(&self, prompt_tokens: usize) -> Result<usize> {
        if prompt_tokens == 0 {
            return Err(Error::invalid("prompt", "", "must not be empty: the model has no token that starts a text"));
        }
        let context_length = self.info().context_length;
        match context_length.checked_sub(prompt_tokens) {
            Some(room) if room > 0 => Ok(room),
            _ => Err(Error::ContextOverflow { model_id: self.model_id.clone(), prompt_tokens, context_length }),
        }
    }

    /// Returns the logits that may be chosen from: ids behind the tokenizer's table only pad the matrix.
    fn checked_logits<'l>(&self, logits: &'l [f32]) -> Result<&'l [f32]> {
        let broken = |what: String| Err(Error::Internal(format!("`{}` gave {what}", self.model_id)));
        let vocab_size = self.info().vocab_size;
        if logits.len() != vocab_size {
            return broken(format!("{} logits for a vocabulary of {vocab_size}", logits.len()));
        }
        let logits = &logits[..self.token_count()];
        if let Some(id) = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
            return broken(format!("the logit {} for token {id}", logits[id]));
        }
        if logits.iter().all(|logit| *logit == f32::NEG_INFINITY) {
            return broken("no token a chance: every logit is -inf".into());
        }
        Ok(logits)
    }
}

/// The answer to a caller who left before there was one.
fn cancelled_while_reading(prompt_tokens: usize, started: Instant) -> Generation {
    let seconds = started.elapsed().as_secs_f64();
    Generation {
        text: String::new(),
        token_ids: Vec::new(),
        prompt_tokens,
        finish: FinishReason::Cancelled,
        prompt_seconds: seconds,
        decode_seconds: 0.0,
        first_token_seconds: seconds,
    }
}

/// The text on its way to the caller.
struct Answer<'a> {
    stream: TextStream,
    on_text: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
}

impl<'a> Answer<'a> {
    fn new(request: &GenerateRequest, on_text: &'a mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<Answer<'a>> {
        Ok(Answer { stream: TextStream::new(&request.stop)?, on_text })
    }

    fn is_unwanted(&mut self) -> bool {
        (self.on_text)("").is_break()
    }

    /// Adds the bytes of a token and says why the answer ends here, if it does.
    fn push(&mut self, bytes: &[u8]) -> Option<FinishReason> {
        let text = self.stream.push(bytes);
        let wanted = (self.on_text)(text).is_continue();
        match (wanted, self.stream.is_stopped()) {
            (_, true) => Some(FinishReason::Stop),
            (false, false) => Some(FinishReason::Cancelled),
            (true, false) => None,
        }
    }

    /// Gives out what was held back. The answer is complete, so a caller who wants no more changes nothing.
    fn end(&mut self, finish: FinishReason) -> FinishReason {
        let text = self.stream.finish();
        if !text.is_empty() {
            let _no_more = (self.on_text)(text);
        }
        if self.stream.is_stopped() { FinishReason::Stop } else { finish }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seedhouse_core::Code;
    use seedhouse_core::runtime::{LoadOptions, LoadedModel, Runtime as _, TokenizerModel};
    use seedhouse_testkit::fake_runtime::{
        CONTEXT_LENGTH, END_OF_TEXT, FakeRuntime, TURN_END, TURN_START, VOCAB_SIZE, fake_files, one_hot,
    };

    use super::*;

    fn pipeline(runtime: &FakeRuntime) -> TextPipeline {
        let model = runtime.load(&fake_files("a.fake-text"), &LoadOptions::default()).unwrap();
        let LoadedModel::Text(model) = model else { panic!("`.fake-text` is a text model") };
        TextPipeline::new("a_v1", model).unwrap()
    }

    fn request(prompt: &str) -> GenerateRequest {
        GenerateRequest {
            prompt: Prompt::Text(prompt.into()),
            max_new_tokens: 100,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
        }
    }

    fn run(runtime: &FakeRuntime, request: &GenerateRequest) -> Result<(Generation, Vec<String>)> {
        let mut pieces = Vec::new();
        let generation = pipeline(runtime).generate(request, &mut |text| {
            if !text.is_empty() {
                pieces.push(text.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        Ok((generation, pieces))
    }

    #[test]
    fn answer_ends_where_the_model_ends_it() {
        let (generation, pieces) = run(&FakeRuntime::alphabet(), &request("tuv")).unwrap();
        assert_eq!((generation.text.as_str(), generation.finish), ("wxyz", FinishReason::Stop));
        assert_eq!(generation.token_ids, [119, 120, 121, 122, END_OF_TEXT]);
        assert_eq!((generation.prompt_tokens, pieces.concat()), (3, "wxyz".into()));
        assert!(generation.first_token_seconds >= generation.prompt_seconds);
    }

    #[test]
    fn stop_token_other_than_eos_ends_the_answer_and_is_not_printed() {
        let runtime = FakeRuntime::new(|tokens| one_hot(if tokens.len() < 3 { 97 } else { TURN_END }));
        let (generation, _) = run(&runtime, &request("x")).unwrap();
        assert_eq!((generation.text.as_str(), generation.finish), ("aa", FinishReason::Stop));
    }

    #[test]
    fn control_tokens_are_never_printed() {
        let runtime = FakeRuntime::new(|tokens| one_hot([97, TURN_START, 98, END_OF_TEXT][tokens.len() - 1]));
        let (generation, _) = run(&runtime, &request("x")).unwrap();
        assert_eq!(generation.text, "ab");
    }

    #[test]
    fn limits_of_request_and_context_end_the_answer_by_length() {
        let two = GenerateRequest { max_new_tokens: 2, ..request("a") };
        let (generation, _) = run(&FakeRuntime::alphabet(), &two).unwrap();
        assert_eq!((generation.text.as_str(), generation.finish), ("bc", FinishReason::Length));

        let forever = FakeRuntime::new(|_| one_hot(97));
        let (generation, _) = run(&forever, &GenerateRequest { max_new_tokens: usize::MAX, ..request("xyz") }).unwrap();
        assert_eq!(generation.token_ids.len(), CONTEXT_LENGTH - 3);
        assert_eq!(generation.finish, FinishReason::Length);
    }

    #[test]
    fn half_a_character_at_the_end_is_replaced() {
        let cut = GenerateRequest { max_new_tokens: 4, ..request("x") };
        let (generation, pieces) = run(&FakeRuntime::saying("麦田", 1), &cut).unwrap();
        assert_eq!(generation.text, "麦\u{FFFD}");
        assert_eq!(pieces, ["麦", "\u{FFFD}"]);
    }

    #[test]
    fn caller_can_cancel() {
        let mut pieces = 0;
        let generation = pipeline(&FakeRuntime::alphabet())
            .generate(&request("a"), &mut |_| {
                pieces += 1;
                if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        assert_eq!((generation.text.as_str(), generation.finish), ("bcd", FinishReason::Cancelled));
    }

    #[test]
    fn caller_can_cancel_while_the_prompt_is_read_and_while_no_text_is_released() {
        let runtime = FakeRuntime::alphabet().with_info(|info| info.context_length = 1000);
        let mut calls = 0;
        let generation = pipeline(&runtime)
            .generate(&request(&"a".repeat(900)), &mut |_| {
                calls += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!((calls, generation.finish, generation.token_ids.len()), (1, FinishReason::Cancelled, 0));

        let silent = FakeRuntime::new(|_| one_hot(TURN_START));
        let generation = pipeline(&silent).generate(&request("a"), &mut |_| ControlFlow::Break(())).unwrap();
        assert_eq!((generation.finish, generation.token_ids.len()), (FinishReason::Cancelled, 1));
    }

    #[test]
    fn prompt_that_cannot_fit_is_refused_before_it_is_encoded() {
        // The longest token has 13 bytes; a character without a token would be the error of encoding.
        let runtime = FakeRuntime::alphabet().with_info(|info| {
            let TokenizerModel::ByteLevelBpe { tokens, .. } = &mut info.tokenizer.model;
            tokens[4] = "unused".into();
        });
        let text = "\u{4}".repeat(13 * CONTEXT_LENGTH + 1);
        let user = Message { role: "user".into(), content: text.clone() };
        for prompt in [Prompt::Text(text), Prompt::Chat(vec![user])] {
            let error = run(&runtime, &GenerateRequest { prompt, ..request("") }).unwrap_err();
            assert!(matches!(error, Error::ContextOverflow { prompt_tokens: 257..270, .. }), "{error}");
        }
    }

    #[test]
    fn stop_string_ends_the_answer_and_is_left_out() {
        let stopping = GenerateRequest { stop: vec!["fg".into(), "never".into()], ..request("a") };
        let (generation, pieces) = run(&FakeRuntime::alphabet(), &stopping).unwrap();
        assert_eq!((generation.text.as_str(), generation.finish), ("bcde", FinishReason::Stop));
        assert_eq!(pieces.concat(), "bcde");
    }

    #[test]
    fn requests_that_cannot_be_answered_are_refused() {
        let cases = [
            (request(""), "`prompt` is ``"),
            (GenerateRequest { max_new_tokens: 0, ..request("a") }, "`max_new_tokens` is `0`"),
            (request(&"a".repeat(CONTEXT_LENGTH)), "256 tokens, but the context of `a_v1` holds 256"),
            (GenerateRequest { stop: vec![String::new()], ..request("a") }, "`stop[0]`"),
        ];
        for (request, expected) in cases {
            let error = run(&FakeRuntime::alphabet(), &request).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn empty_prompt_is_fine_where_texts_begin_with_a_token() {
        let runtime = FakeRuntime::alphabet().with_info(|info| info.tokenizer.add_bos = true);
        let (generation, _) = run(&runtime, &GenerateRequest { max_new_tokens: 2, ..request("") }).unwrap();
        assert_eq!((generation.prompt_tokens, generation.text.as_str()), (1, "ab"));
    }

    #[test]
    fn broken_logits_are_a_fault_that_names_the_model() {
        let cases = [
            (vec![f32::NAN; VOCAB_SIZE], "NaN"),
            (vec![f32::INFINITY; VOCAB_SIZE], "inf"),
            (vec![f32::NEG_INFINITY; VOCAB_SIZE], "-inf"),
            (vec![0.0; 5], "5 logits for a vocabulary of 259"),
        ];
        for (logits, expected) in cases {
            let error = run(&FakeRuntime::new(move |_| logits.clone()), &request("a")).unwrap_err();
            assert_eq!(error.code(), Code::Internal);
            let text = error.to_string();
            assert!(text.contains("`a_v1`") && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn ids_behind_the_tokenizers_table_are_never_chosen() {
        let runtime = FakeRuntime::new(|_| {
            let mut logits = one_hot(97);
            logits.push(99.0);
            logits
        });
        let runtime = runtime.with_info(|info| info.vocab_size = VOCAB_SIZE + 1);
        let (generation, _) = run(&runtime, &GenerateRequest { max_new_tokens: 1, ..request("x") }).unwrap();
        assert_eq!(generation.text, "a");
    }

    proptest! {
        #[test]
        fn pieces_together_are_the_text(
            answer in "[ab麦é]{0,30}",
            stop in prop::collection::vec("[ab麦é]{1,3}", 0..3),
            max_new_tokens in 1..60usize,
        ) {
            let request = GenerateRequest { stop: stop.clone(), max_new_tokens, ..request("xy") };
            let (generation, pieces) = run(&FakeRuntime::saying(&answer, 2), &request).unwrap();
            prop_assert_eq!(pieces.concat(), generation.text.as_str());
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            let whole = generation.text.trim_end_matches('\u{FFFD}');
            prop_assert!(answer.starts_with(whole));
            prop_assert!(stop.iter().all(|stop| !generation.text.contains(stop.as_str())));
        }

        #[test]
        fn sampled_answer_depends_on_nothing_but_the_seed(seed: u64) {
            let level = FakeRuntime::new(|_| vec![0.0; VOCAB_SIZE]);
            let sampling = Sampling::new(1.0, 0, 0.9, seed).unwrap();
            let request = GenerateRequest { sampling, max_new_tokens: 20, ..request("a") };
            let (one, _) = run(&level, &request).unwrap();
            let (two, _) = run(&level, &request).unwrap();
            prop_assert_eq!(one.token_ids, two.token_ids);
        }
    }
}
