//! Sequences of the fake language model: lists of tokens, and a rule for what follows them.

use std::collections::BTreeMap;

use seedhouse_core::runtime::{Logits, SequenceId, StepPart, TextExecutor, Wanted};
use seedhouse_core::{Error, Result};

use super::{FakeRuntime, LogitsRule, StepHook};

/// Every token of every sequence takes one place of the cache, forked ones too.
#[derive(Clone)]
pub(super) struct FakeExecutor {
    rule: LogitsRule,
    on_step: StepHook,
    vocab_size: usize,
    context_length: usize,
    cache_tokens: usize,
    sequences: BTreeMap<SequenceId, Vec<u32>>,
    opened: u64,
    logits: Vec<f32>,
}

impl FakeExecutor {
    /// Returns one without sequences.
    pub(super) fn new(runtime: &FakeRuntime) -> FakeExecutor {
        FakeExecutor {
            rule: runtime.rule.clone(),
            on_step: runtime.on_step.clone(),
            vocab_size: runtime.info.vocab_size,
            context_length: runtime.info.context_length,
            cache_tokens: runtime.cache_tokens,
            sequences: BTreeMap::new(),
            opened: 0,
            logits: Vec::new(),
        }
    }

    fn insert(&mut self, tokens: Vec<u32>) -> SequenceId {
        self.opened += 1;
        self.sequences.insert(SequenceId(self.opened), tokens);
        SequenceId(self.opened)
    }

    fn require_room(&self, tokens: usize) -> Result<()> {
        if tokens > self.free_tokens() {
            return Err(Error::Exhausted { what: "cached tokens".into(), limit: self.cache_tokens });
        }
        Ok(())
    }

    fn check(&self, parts: &[StepPart<'_>]) -> Result<()> {
        for (index, part) in parts.iter().enumerate() {
            let Some(sequence) = self.sequences.get(&part.sequence) else {
                return Err(Error::invalid("sequence", part.sequence.0, "must be open"));
            };
            if parts[..index].iter().any(|other| other.sequence == part.sequence) {
                return Err(Error::invalid("sequence", part.sequence.0, "must stand in one part only"));
            }
            let room = self.context_length - sequence.len();
            if part.tokens.is_empty() || part.tokens.len() > room {
                return Err(Error::invalid("tokens", part.tokens.len(), format!("must be 1 to {room} more tokens")));
            }
            if let Some(id) = part.tokens.iter().find(|id| **id as usize >= self.vocab_size) {
                return Err(Error::invalid("tokens", id, format!("must be below {}", self.vocab_size)));
            }
        }
        self.require_room(parts.iter().map(|part| part.tokens.len()).sum())
    }
}

impl TextExecutor for FakeExecutor {
    fn open(&mut self) -> Result<SequenceId> {
        Ok(self.insert(Vec::new()))
    }

    fn fork(&mut self, parent: SequenceId, length: usize) -> Result<SequenceId> {
        let tokens = &self.sequences[&parent];
        let Some(shared) = tokens.get(..length) else {
            return Err(Error::invalid("length", length, format!("the sequence has {} tokens", tokens.len())));
        };
        self.require_room(length)?;
        let shared = shared.to_vec();
        Ok(self.insert(shared))
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) {
        self.sequences.get_mut(&sequence).expect("the sequence is open").truncate(length);
    }

    fn close(&mut self, sequence: SequenceId) {
        self.sequences.remove(&sequence).expect("the sequence is open");
    }

    fn length(&self, sequence: SequenceId) -> usize {
        self.sequences[&sequence].len()
    }

    fn step(&mut self, parts: &[StepPart<'_>]) -> Result<Logits<'_>> {
        (self.on_step)(parts);
        self.check(parts)?;
        self.logits.clear();
        for part in parts {
            let tokens = self.sequences.get_mut(&part.sequence).expect("checked above");
            for (index, token) in part.tokens.iter().enumerate() {
                tokens.push(*token);
                let is_last = index + 1 == part.tokens.len();
                if part.wanted == Wanted::All || part.wanted == Wanted::Last && is_last {
                    self.logits.extend((self.rule)(tokens));
                }
            }
        }
        Ok(Logits::new(&self.logits, self.vocab_size))
    }

    fn free_tokens(&self) -> usize {
        self.cache_tokens - self.sequences.values().map(Vec::len).sum::<usize>()
    }
}
