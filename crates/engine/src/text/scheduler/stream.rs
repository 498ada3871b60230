//! An answer in the making: the sequences that it needs, and what becomes of their logits.

use std::sync::Arc;

use seedhouse_core::runtime::SequenceId;
use seedhouse_core::{Error, Result};

use super::outlet::NewTokens;
use super::task::Order;
use crate::TextPipeline;
use crate::text::beam::{BeamSearch, Hypothesis, Parent};
use crate::text::generation::FinishReason;
use crate::text::logprobs::logprobs;
use crate::text::sampling::Sampler;
use crate::text::text_stream::TextStream;

/// Tokens, and how many of them a sequence of the executor has.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) tokens: Vec<u32>,
    pub(super) sequence: Option<SequenceId>,
    pub(super) computed: usize,
}

impl Lane {
    pub(super) fn new(tokens: Vec<u32>) -> Lane {
        Lane { tokens, sequence: None, computed: 0 }
    }

    /// Returns how many tokens are still to be computed; at least one while the answer grows.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Takes the sequence away and returns it with the tokens that it has.
    pub(super) fn release(&mut self) -> Option<(SequenceId, Vec<u32>)> {
        let sequence = self.sequence.take()?;
        let computed = std::mem::take(&mut self.computed);
        Some((sequence, self.tokens[..computed].to_vec()))
    }
}

/// One answer, or a beam search for all of them.
pub(super) struct Stream {
    /// The request.
    pub(super) group: u64,
    /// Older ones have smaller numbers.
    pub(super) arrived: u64,
    pub(super) lanes: Vec<Lane>,
    order: Arc<Order>,
    work: Work,
}

enum Work {
    One(Box<Answer>),
    Beams(BeamSearch),
}

struct Answer {
    index: usize,
    sampler: Sampler,
    text: TextStream,
    tokens: usize,
    longest: usize,
}

/// What logits led to.
pub(super) struct Advance {
    /// What the caller gets.
    pub(super) pieces: Vec<NewTokens>,
    /// The beams that go on, as continuations of which lane.
    pub(super) parents: Option<Vec<Parent>>,
    pub(super) is_over: bool,
}

impl Stream {
    /// Returns the streams of a request.
    pub(super) fn of(group: u64, order: &Arc<Order>, arrived: &mut u64) -> Vec<Stream> {
        let make = |work: Work, arrived: u64| Stream {
            group,
            arrived,
            lanes: vec![Lane::new(order.prompt.to_vec())],
            order: Arc::clone(order),
            work,
        };
        let mut next = || {
            *arrived += 1;
            *arrived
        };
        if let Some(beams) = order.sampling.beams() {
            let rules = order.sampling.ruled_logits(&order.prompt);
            return vec![make(Work::Beams(BeamSearch::new(beams.clone(), rules, order.longest)), next())];
        }
        let answer = |index: usize| {
            let sampler = order.sampling.sampler(&order.prompt, index);
            Work::One(Box::new(Answer { index, sampler, text: order.text.clone(), tokens: 0, longest: order.longest }))
        };
        (0..order.answers).map(|index| make(answer(index), next())).collect()
    }

    /// Returns how many sequences it may need.
    pub(super) fn width(&self) -> usize {
        self.order.sampling.beams().map_or(1, |beams| beams.width)
    }

    /// Lets an answer end, as at the end of the context, where prompt and answer together fill a cache of `capacity` tokens.
    pub(super) fn limit(&mut self, capacity: usize) {
        let most = capacity.saturating_sub(self.prompt_tokens()).max(1);
        if let Work::One(answer) = &mut self.work {
            answer.longest = answer.longest.min(most);
        }
    }

    /// Returns the length of the prompt.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.order.prompt.len()
    }

    /// Takes the logits that follow every lane.
    pub(super) fn take(&mut self, rows: &[&[f32]], pipeline: &TextPipeline) -> Result<Advance> {
        let rows = rows.iter().map(|row| pipeline.checked_logits(row)).collect::<Result<Vec<_>>>()?;
        match &mut self.work {
            Work::One(answer) => {
                let piece = answer.take(rows[0], &self.order, pipeline)?;
                self.lanes[0].tokens.extend(&piece.tokens);
                let is_over = piece.finish.is_some();
                Ok(Advance { pieces: vec![piece], parents: None, is_over })
            }
            Work::Beams(search) => {
                let parents = search.advance(&rows, &|tokens, token| ends(tokens, token, &self.order, pipeline));
                if !parents.is_empty() {
                    return Ok(Advance { pieces: Vec::new(), parents: Some(parents), is_over: false });
                }
                let pieces = found(search.take_best(self.order.answers), &self.order, pipeline)?;
                Ok(Advance { pieces, parents: None, is_over: true })
            }
        }
    }

    /// Returns the tokens of every beam, the prompt included.
    pub(super) fn beam_tokens(&self) -> Vec<Vec<u32>> {
        let Work::Beams(search) = &self.work else { return Vec::new() };
        search.running().iter().map(|beam| [&self.order.prompt[..], &beam.tokens[..]].concat()).collect()
    }
}

impl Answer {
    fn take(&mut self, logits: &[f32], order: &Order, pipeline: &TextPipeline) -> Result<NewTokens> {
        let Some(id) = self.sampler.choose(logits) else { return Err(nothing_left(order)) };
        self.tokens += 1;
        let bytes = |id| pipeline.printed_bytes(id);
        let logprobs = order.logprobs.map(|top| logprobs(logits, id, top, &bytes)).into_iter().collect();
        let mut text = String::new();
        let mut finish = None;
        if pipeline.ends_text(id) {
            finish = Some(FinishReason::Stop);
        } else {
            text.push_str(self.text.push(&pipeline.printed_bytes(id)));
            if self.text.is_stopped() {
                finish = Some(FinishReason::Stop);
            } else if self.tokens >= self.longest {
                finish = Some(FinishReason::Length);
            }
        }
        if finish.is_some() {
            text.push_str(self.text.finish());
            if self.text.is_stopped() {
                finish = Some(FinishReason::Stop);
            }
        }
        Ok(NewTokens { answer: self.index, tokens: vec![id], text, logprobs, finish, score: None })
    }
}

/// Says whether a token ends the beam that it is added to.
fn ends(tokens: &[u32], token: u32, order: &Order, pipeline: &TextPipeline) -> bool {
    if pipeline.ends_text(token) {
        return true;
    }
    if !order.text.can_stop() {
        return false;
    }
    let mut text = order.text.clone();
    for token in tokens.iter().chain([&token]) {
        text.push(&pipeline.printed_bytes(*token));
    }
    text.is_stopped()
}

/// Returns the answers of a search that is over.
fn found(best: Vec<Hypothesis>, order: &Order, pipeline: &TextPipeline) -> Result<Vec<NewTokens>> {
    if best.is_empty() {
        return Err(nothing_left(order));
    }
    let pieces = best.into_iter().enumerate().map(|(answer, hypothesis)| {
        let mut text = order.text.clone();
        for token in &hypothesis.tokens {
            if !pipeline.ends_text(*token) {
                text.push(&pipeline.printed_bytes(*token));
            }
        }
        text.finish();
        let is_stopped = hypothesis.ended || text.is_stopped();
        let finish = Some(if is_stopped { FinishReason::Stop } else { FinishReason::Length });
        let (text, score) = (text.into_text(), Some(hypothesis.score));
        NewTokens { answer, tokens: hypothesis.tokens, text, logprobs: Vec::new(), finish, score }
    });
    Ok(pieces.collect())
}

/// A request that forbids every token.
fn nothing_left(order: &Order) -> Error {
    let rule = format!("leaves no token for an answer to a prompt of {} tokens", order.prompt.len());
    Error::invalid("no_repeat_ngram_size", "set", rule)
}
