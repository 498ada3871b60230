//! A prompt goes in, tokens are chosen one by one, text comes out as it becomes certain.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::TextPipeline;
use super::chat_template::Message;
use super::logprobs::ChosenToken;
use super::sampling::Sampling;
use super::scheduler::Scheduler;
use super::scheduler::outlet::{Event, Figures, NewTokens, Ticket};
use super::scheduler::settings::TextSettings;
use super::scheduler::statistics::TextStatistics;
use super::scheduler::task::Order;
use super::text_stream::TextStream;

const MOST_ANSWERS: usize = 128;
const MOST_TOP_LOGPROBS: usize = 20;
/// How long a caller without news waits before it is asked whether to go on.
const PATIENCE: Duration = Duration::from_millis(50);

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
    /// How many answers to give, from 1 to 128; of a beam search at most as many as it is wide.
    pub answers: usize,
    /// Tells the log-probability of every token, and of this many of the most likely ones in its place, at most 20.
    pub logprobs: Option<usize>,
    /// How long it may take, waiting included.
    pub timeout: Option<Duration>,
    /// Who asks: clients take turns.
    pub client: Arc<str>,
}

impl GenerateRequest {
    /// Returns a request for one answer of the most likely tokens.
    pub fn new(prompt: Prompt, max_new_tokens: usize) -> GenerateRequest {
        GenerateRequest {
            prompt,
            max_new_tokens,
            sampling: Sampling::greedy(),
            stop: Vec::new(),
            answers: 1,
            logprobs: None,
            timeout: None,
            client: "".into(),
        }
    }

    fn check(&self) -> Result<()> {
        if self.max_new_tokens == 0 {
            return Err(Error::invalid("max_new_tokens", 0, "must be at least 1"));
        }
        if !(1..=MOST_ANSWERS).contains(&self.answers) {
            let rule = format!("must be from 1 to {MOST_ANSWERS}");
            return Err(Error::invalid("num_return_sequences", self.answers, rule));
        }
        if let Some(top) = self.logprobs.filter(|top| *top > MOST_TOP_LOGPROBS) {
            return Err(Error::invalid("logprobs", top, format!("must be at most {MOST_TOP_LOGPROBS}")));
        }
        match self.sampling.beams() {
            Some(beams) if self.answers > beams.width => {
                let rule = format!("must be at most the width of the beam search, {}", beams.width);
                Err(Error::invalid("num_return_sequences", self.answers, rule))
            }
            Some(_) if self.logprobs.is_some() => {
                let rule = "cannot stand beside a beam search, which tells the score of each answer";
                Err(Error::invalid("logprobs", self.logprobs.unwrap_or_default(), rule))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// All answers to a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// As many as were asked for, at least one; those of a beam search best first.
    pub answers: Vec<Continuation>,
    /// Length of the encoded prompt.
    pub prompt_tokens: usize,
    /// How many of its tokens were computed for an earlier request.
    pub cached_tokens: usize,
    /// Time to wait for a place among those that the model advances.
    pub queue_seconds: f64,
    /// Time to wait for the model, encode and read the prompt.
    pub prompt_seconds: f64,
    /// Time for everything after that.
    pub decode_seconds: f64,
    /// Time from the call to the first token.
    pub first_token_seconds: f64,
}

impl Generation {
    /// Returns the first answer.
    pub fn first(&self) -> &Continuation {
        self.answers.first().expect("a generation has at least one answer")
    }

    /// Returns how many tokens all answers have together.
    pub fn new_tokens(&self) -> usize {
        self.answers.iter().map(|answer| answer.token_ids.len()).sum()
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// The new text.
    pub text: String,
    /// Every token the model chose, the one that ended the answer included.
    pub token_ids: Vec<u32>,
    /// One for each token when they were asked for.
    pub logprobs: Vec<ChosenToken>,
    /// Why it ended.
    pub finish: FinishReason,
    /// What a beam search compared it by: the sum of log-probabilities over the length to the power of the penalty.
    pub score: Option<f64>,
}

/// What has become certain of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'p> {
    /// Its index.
    pub answer: usize,
    /// May be empty, then it only asks whether to go on.
    pub text: &'p str,
    /// One for each new token when they were asked for.
    pub logprobs: &'p [ChosenToken],
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

impl FinishReason {
    /// Returns its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Cancelled => "cancelled",
        }
    }
}

/// A language model that answers many callers at once.
pub(crate) struct ServedText {
    pub(crate) pipeline: Arc<TextPipeline>,
    scheduler: Scheduler,
}

impl ServedText {
    pub(crate) fn new(pipeline: TextPipeline, settings: TextSettings) -> ServedText {
        let pipeline = Arc::new(pipeline);
        ServedText { scheduler: Scheduler::new(Arc::clone(&pipeline), settings), pipeline }
    }

    /// Lets the model choose one token after one token.
    pub(crate) fn warm_up(&self) -> Result<()> {
        let first = self.pipeline.info().tokenizer.bos.unwrap_or(0);
        let request = GenerateRequest::new(Prompt::Text(String::new()), 1);
        let order = self.pipeline.order_of(&request, vec![first], Instant::now())?;
        let ticket = self.scheduler.submit(order)?;
        read(&ticket, &mut [Continuation::default()], &mut |_| ControlFlow::Continue(())).map(drop)
    }

    pub(crate) fn statistics(&self) -> TextStatistics {
        self.scheduler.statistics()
    }

    /// Continues a prompt. `on_piece` is called for every token, and now and then while there is none.
    pub(crate) fn generate(
        &self,
        request: &GenerateRequest,
        on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Result<Generation> {
        let started = Instant::now();
        let order = self.pipeline.order(request, started)?;
        let (prompt_tokens, answers) = (order.prompt.len(), order.answers);
        let ticket = self.scheduler.submit(order)?;
        let mut answers = vec![Continuation::default(); answers];
        let figures = read(&ticket, &mut answers, on_piece)?;
        let seconds = started.elapsed().as_secs_f64();
        let figures =
            figures.unwrap_or(Figures { prompt_seconds: seconds, first_token_seconds: seconds, ..Figures::default() });
        Ok(Generation {
            answers,
            prompt_tokens,
            cached_tokens: figures.cached_tokens,
            queue_seconds: figures.queue_seconds,
            prompt_seconds: figures.prompt_seconds,
            decode_seconds: seconds - figures.prompt_seconds,
            first_token_seconds: figures.first_token_seconds,
        })
    }
}

/// Collects what comes until it ends, or until the caller wants no more.
fn read(
    ticket: &Ticket,
    answers: &mut [Continuation],
    on_piece: &mut dyn FnMut(Piece<'_>) -> ControlFlow<()>,
) -> Result<Option<Figures>> {
    loop {
        let is_wanted = match ticket.next_within(PATIENCE) {
            Some(Event::End(end)) => return end.map(Some),
            Some(Event::Piece(new)) => {
                let piece = Piece { answer: new.answer, text: &new.text, logprobs: &new.logprobs };
                let is_wanted = on_piece(piece).is_continue();
                answers[new.answer].add(new);
                is_wanted
            }
            None => on_piece(Piece { answer: 0, text: "", logprobs: &[] }).is_continue(),
        };
        // Who has everything already changes nothing by leaving.
        if !is_wanted && answers.iter().any(|answer| answer.finish == FinishReason::Cancelled) {
            return Ok(None);
        }
    }
}

impl Default for Continuation {
    /// An answer is cancelled until it is complete.
    fn default() -> Continuation {
        Continuation {
            text: String::new(),
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            finish: FinishReason::Cancelled,
            score: None,
        }
    }
}

impl Continuation {
    fn add(&mut self, new: NewTokens) {
        self.text.push_str(&new.text);
        self.token_ids.extend(new.tokens);
        self.logprobs.extend(new.logprobs);
        self.score = new.score.or(self.score);
        self.finish = new.finish.unwrap_or(self.finish);
    }
}

impl TextPipeline {
    /// Checks a request and encodes its prompt.
    fn order(&self, request: &GenerateRequest, started: Instant) -> Result<Order> {
        request.check()?;
        request.sampling.check_vocabulary(self.token_count())?;
        let prompt = self.encode_prompt(&request.prompt)?;
        self.order_of(request, prompt, started)
    }

    /// The same for a prompt that is encoded.
    fn order_of(&self, request: &GenerateRequest, prompt: Vec<u32>, started: Instant) -> Result<Order> {
        let text = TextStream::new(&request.stop)?;
        let longest = self.room_after(prompt.len())?.min(request.max_new_tokens);
        Ok(Order {
            prompt: prompt.into(),
            longest,
            sampling: request.sampling.clone(),
            text,
            answers: request.answers,
            logprobs: request.logprobs,
            started,
            timeout: request.timeout,
            client: Arc::clone(&request.client),
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
    pub(crate) fn checked_logits<'l>(&self, logits: &'l [f32]) -> Result<&'l [f32]> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use seedhouse_core::Code;
    use seedhouse_core::runtime::{LoadOptions, LoadedModel, Runtime as _, TokenizerModel};
    use seedhouse_testkit::fake_runtime::{
        CONTEXT_LENGTH, END_OF_TEXT, FakeRuntime, TURN_END, TURN_START, VOCAB_SIZE, fake_files, one_hot,
    };

    use super::*;
    use crate::{Beams, SamplingParameters};

    fn served(runtime: &FakeRuntime) -> ServedText {
        let model = runtime.load(&fake_files("a.fake-text"), &LoadOptions::default()).unwrap();
        let LoadedModel::Text(model) = model else { panic!("`.fake-text` is a text model") };
        ServedText::new(TextPipeline::new("a_v1", model).unwrap(), TextSettings::default())
    }

    fn request(prompt: &str) -> GenerateRequest {
        GenerateRequest::new(Prompt::Text(prompt.into()), 100)
    }

    fn generate(runtime: &FakeRuntime, request: &GenerateRequest) -> Result<(Generation, Vec<String>)> {
        let mut pieces = Vec::new();
        let generation = served(runtime).generate(request, &mut |piece| {
            if !piece.text.is_empty() {
                pieces.push(piece.text.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        Ok((generation, pieces))
    }

    /// The first answer.
    fn run(runtime: &FakeRuntime, request: &GenerateRequest) -> Result<(Continuation, Vec<String>)> {
        generate(runtime, request).map(|(generation, pieces)| (generation.first().clone(), pieces))
    }

    #[test]
    fn answer_ends_where_the_model_ends_it() {
        let (generation, pieces) = generate(&FakeRuntime::alphabet(), &request("tuv")).unwrap();
        let answer = generation.first();
        assert_eq!((answer.text.as_str(), answer.finish), ("wxyz", FinishReason::Stop));
        assert_eq!(answer.token_ids, [119, 120, 121, 122, END_OF_TEXT]);
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
        let generation = served(&FakeRuntime::alphabet())
            .generate(&request("a"), &mut |piece| {
                pieces += usize::from(!piece.text.is_empty());
                if pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        let answer = generation.first();
        assert_eq!((answer.text.as_str(), answer.finish), ("bcd", FinishReason::Cancelled));
    }

    #[test]
    fn caller_can_cancel_while_the_prompt_is_read_and_while_no_text_is_released() {
        let slow = FakeRuntime::alphabet().on_step(|_| std::thread::sleep(PATIENCE * 10));
        let mut calls = 0;
        let generation = served(&slow)
            .generate(&request("a"), &mut |_| {
                calls += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        let answer = generation.first();
        assert_eq!((calls, answer.finish, answer.token_ids.len()), (1, FinishReason::Cancelled, 0));

        let silent = FakeRuntime::new(|_| one_hot(TURN_START));
        let mut calls = 0;
        let generation = served(&silent)
            .generate(&request("a"), &mut |piece| {
                assert_eq!(piece.text, "");
                calls += 1;
                if calls == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        let answer = generation.first();
        assert_eq!(answer.finish, FinishReason::Cancelled);
        assert!(answer.token_ids.len() <= 5, "{:?}", answer.token_ids);
    }

    #[test]
    fn prompt_that_cannot_fit_is_refused_before_it_is_encoded() {
        // The longest token has 13 bytes; a character without a token would be the error of encoding.
        let runtime = FakeRuntime::alphabet().with_info(|info| {
            let TokenizerModel::ByteLevelBpe { tokens, .. } = &mut info.tokenizer.model else { unreachable!() };
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

    fn beams(width: usize) -> Sampling {
        let beams = Some(Beams::of_width(width));
        Sampling::new(&SamplingParameters { beams, ..SamplingParameters::default() }).unwrap()
    }

    fn biased(token: u32) -> Sampling {
        let logit_bias = [(token, 1.0)].into();
        Sampling::new(&SamplingParameters { logit_bias, ..SamplingParameters::default() }).unwrap()
    }

    /// Together with [`only_a`] this leaves no token after the first one.
    fn unrepeated() -> Sampling {
        let parameters = SamplingParameters { no_repeat_ngram_size: 1, ..SamplingParameters::default() };
        Sampling::new(&parameters).unwrap()
    }

    #[test]
    fn rules_that_leave_no_token_are_the_requests_fault() {
        let only_a = FakeRuntime::new(|_| {
            let mut logits = vec![f32::NEG_INFINITY; VOCAB_SIZE];
            logits[97] = 1.0;
            logits
        });
        let error = run(&only_a, &GenerateRequest { sampling: unrepeated(), ..request("b") }).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("no_repeat_ngram_size")));
    }

    #[test]
    fn several_answers_to_one_prompt_are_those_of_their_seeds() {
        let level = FakeRuntime::new(|_| vec![0.0; VOCAB_SIZE]);
        let sampling = Sampling::new(&SamplingParameters { temperature: 1.0, ..SamplingParameters::default() });
        let request = GenerateRequest { sampling: sampling.unwrap(), max_new_tokens: 30, ..request("hello there") };
        let (alone, _) = run(&level, &request).unwrap();
        let (many, _) = generate(&level, &GenerateRequest { answers: 5, ..request }).unwrap();
        assert_eq!((many.answers.len(), &many.answers[0]), (5, &alone));
        for (index, answer) in many.answers.iter().enumerate() {
            assert!(!many.answers[..index].iter().any(|other| other.token_ids == answer.token_ids));
        }
    }

    #[test]
    fn logprobs_are_those_of_the_model_whatever_is_done_to_its_logits() {
        let runtime = FakeRuntime::new(|_| one_hot(97));
        let sampling = biased(98);
        let request = GenerateRequest { logprobs: Some(2), max_new_tokens: 2, sampling, ..request("x") };
        let (answer, _) = run(&runtime, &request).unwrap();
        assert_eq!((answer.text.as_str(), answer.logprobs.len()), ("aa", 2));
        let first = &answer.logprobs[0];
        let expected = 10.0 - (10.0f64.exp() + (VOCAB_SIZE - 1) as f64).ln();
        assert!((first.chosen.logprob - expected).abs() < 1e-6, "{first:?}");
        assert_eq!((first.chosen.id, first.chosen.bytes.as_slice(), first.top.len()), (97, &b"a"[..], 2));
        assert_eq!((first.top[0].id, first.top[1].id), (97, 0));
    }

    #[test]
    fn beam_search_gives_whole_answers_best_first() {
        // After `a` everything is equally likely, after `b` the end is certain.
        let runtime = FakeRuntime::new(|tokens| match tokens {
            [_, 97, ..] => vec![0.0; VOCAB_SIZE],
            [_, 98, ..] => one_hot(END_OF_TEXT).iter().map(|logit| logit * 3.0).collect(),
            _ => (0..VOCAB_SIZE)
                .map(|id| {
                    if id == 97 {
                        10.0
                    } else if id == 98 {
                        9.5
                    } else {
                        -10.0
                    }
                })
                .collect(),
        });
        let request = GenerateRequest { sampling: beams(3), answers: 2, max_new_tokens: 4, ..request("x") };
        let (generation, pieces) = generate(&runtime, &request).unwrap();
        let best = generation.first();
        assert_eq!(
            (best.text.as_str(), best.finish, best.token_ids.as_slice()),
            ("b", FinishReason::Stop, &[98, END_OF_TEXT][..])
        );
        assert!(generation.answers[0].score > generation.answers[1].score);
        assert_eq!(pieces.len(), 2);
        let stopping = GenerateRequest { stop: vec!["b".into()], ..request };
        assert_eq!(run(&runtime, &stopping).unwrap().0.text, "");
    }

    #[test]
    fn time_that_is_up_ends_the_request_with_its_limit() {
        let slow = FakeRuntime::new(|_| one_hot(97)).on_step(|_| std::thread::sleep(Duration::from_millis(20)));
        let timeout = Some(Duration::from_millis(100));
        let error = run(&slow, &GenerateRequest { timeout, ..request("x") }).unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            (Code::Deadline, "the generation took longer than 0.1 s")
        );
    }

    #[test]
    fn requests_that_cannot_be_answered_are_refused() {
        let cases = [
            (request(""), "`prompt` is ``"),
            (GenerateRequest { max_new_tokens: 0, ..request("a") }, "`max_new_tokens` is `0`"),
            (request(&"a".repeat(CONTEXT_LENGTH)), "256 tokens, but the context of `a_v1` holds 256"),
            (GenerateRequest { stop: vec![String::new()], ..request("a") }, "`stop[0]`"),
            (GenerateRequest { answers: 0, ..request("a") }, "`num_return_sequences` is `0`"),
            (GenerateRequest { answers: 129, ..request("a") }, "`num_return_sequences` is `129`"),
            (GenerateRequest { logprobs: Some(21), ..request("a") }, "`logprobs` is `21`"),
            (GenerateRequest { answers: 3, sampling: beams(2), ..request("a") }, "the width of the beam search, 2"),
            (GenerateRequest { logprobs: Some(1), sampling: beams(2), ..request("a") }, "beam search"),
            (GenerateRequest { sampling: biased(VOCAB_SIZE as u32), ..request("a") }, "`logit_bias` is `259`"),
        ];
        for (request, expected) in cases {
            let error = run(&FakeRuntime::alphabet(), &request).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn empty_prompt_is_fine_where_texts_begin_with_a_token() {
        let runtime = FakeRuntime::alphabet().with_info(|info| info.tokenizer.add_bos = true);
        let (generation, _) = generate(&runtime, &GenerateRequest { max_new_tokens: 2, ..request("") }).unwrap();
        assert_eq!((generation.prompt_tokens, generation.first().text.as_str()), (1, "ab"));
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
            let parameters = SamplingParameters { temperature: 1.0, top_p: 0.9, seed, ..SamplingParameters::default() };
            let sampling = Sampling::new(&parameters).unwrap();
            let request = GenerateRequest { sampling, max_new_tokens: 20, ..request("a") };
            let (one, _) = run(&level, &request).unwrap();
            let (two, _) = run(&level, &request).unwrap();
            prop_assert_eq!(one.token_ids, two.token_ids);
        }
    }
}
