//! Sequences of a plan, and what a step does with them.

mod passes;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::runtime::{Logits, SequenceId, StepPart, TextExecutor, Wanted};
use seedhouse_core::{Error, Result};
use seedhouse_kernels::{BLOCK_TOKENS, KeyValueShape, KeyValueStore, Pool, Span};

use super::blocks::Blocks;
use super::compile::Plan;
use super::forward::{Buffers, Forward, Row};
use super::linear::resized;
use passes::{Passes, Piece};

/// All sequences of one owner.
pub(super) struct PlanExecutor {
    plan: Arc<Plan>,
    pool: Arc<Pool>,
    store: KeyValueStore,
    blocks: Blocks,
    sequences: BTreeMap<SequenceId, Sequence>,
    opened: u64,
    buffers: Buffers,
    /// What a step needs for a moment; kept, so that a step allocates nothing.
    passes: Passes,
    rows: Vec<Row>,
    wanted: Vec<usize>,
    spans: Vec<Span<'static>>,
    logits: Vec<f32>,
    /// What all executors of the model hold, and how much of that is this one's.
    cached_bytes: Arc<AtomicU64>,
    counted_bytes: u64,
}

/// The tokens of a sequence, by where their keys and values are.
#[derive(Debug)]
struct Sequence {
    blocks: Vec<u32>,
    length: usize,
}

impl Sequence {
    /// Returns a sequence with room for the blocks of a full one: it grows without being moved.
    fn new(blocks: &[u32], length: usize, context_length: usize) -> Sequence {
        let mut all = Vec::with_capacity(context_length.div_ceil(BLOCK_TOKENS));
        all.extend_from_slice(blocks);
        Sequence { blocks: all, length }
    }

    /// Returns the last block when it is not full and others use it too.
    fn shared_end(&self, blocks: &Blocks) -> Option<u32> {
        let last = self.blocks.last().copied()?;
        (!self.length.is_multiple_of(BLOCK_TOKENS) && blocks.is_shared(last)).then_some(last)
    }
}

impl PlanExecutor {
    /// Makes an executor whose cache takes about `cache_bytes`, but at least one sequence of full length.
    pub(super) fn new(
        plan: Arc<Plan>,
        pool: Arc<Pool>,
        cache_bytes: usize,
        cached_bytes: Arc<AtomicU64>,
    ) -> Result<PlanExecutor> {
        let spec = &plan.spec;
        let shape = KeyValueShape { layers: spec.layers, heads: spec.key_value_heads, head_width: spec.head_width };
        let fitting = cache_bytes / KeyValueStore::block_bytes(shape).max(1);
        // One block more than a full sequence needs: the copy of a shared one.
        let count = fitting.max(spec.context_length.div_ceil(BLOCK_TOKENS) + 1);
        let store = KeyValueStore::new(shape, count).map_err(|error| Error::Unavailable {
            what: "memory for keys and values".into(),
            reason: error.to_string(),
        })?;
        Ok(PlanExecutor {
            blocks: Blocks::new(count),
            store,
            sequences: BTreeMap::new(),
            opened: 0,
            buffers: Buffers::default(),
            passes: Passes::default(),
            rows: Vec::new(),
            wanted: Vec::new(),
            spans: Vec::new(),
            logits: Vec::new(),
            cached_bytes,
            counted_bytes: 0,
            plan,
            pool,
        })
    }

    /// Tells how much is held now.
    fn count_bytes(&mut self) {
        let block = KeyValueStore::block_bytes(self.store.shape());
        let blocks = page_rounded(self.blocks.touched() * block).min(self.store.bytes());
        let bytes = (blocks + self.buffers.bytes() + size_of_val(&self.logits[..])) as u64;
        // Only grows, so that a difference is never below nothing.
        let more = bytes.saturating_sub(self.counted_bytes);
        self.cached_bytes.fetch_add(more, Ordering::Relaxed);
        self.counted_bytes += more;
    }

    fn insert(&mut self, sequence: Sequence) -> SequenceId {
        self.opened += 1;
        self.sequences.insert(SequenceId(self.opened), sequence);
        SequenceId(self.opened)
    }

    fn sequence(&self, sequence: SequenceId) -> &Sequence {
        self.sequences.get(&sequence).expect("the sequence is open")
    }

    fn check(&self, parts: &[StepPart<'_>]) -> Result<()> {
        let mut needed = 0;
        for (index, part) in parts.iter().enumerate() {
            let Some(sequence) = self.sequences.get(&part.sequence) else {
                return Err(Error::invalid("sequence", part.sequence.0, "must be open"));
            };
            if parts[..index].iter().any(|other| other.sequence == part.sequence) {
                return Err(Error::invalid("sequence", part.sequence.0, "must stand in one part only"));
            }
            self.check_tokens(sequence.length, part.tokens)?;
            needed += self.blocks_needed(sequence, part.tokens.len());
        }
        if needed > self.blocks.free() {
            let limit = self.store.blocks() * BLOCK_TOKENS;
            return Err(Error::Exhausted { what: "cached tokens".into(), limit });
        }
        Ok(())
    }

    fn check_tokens(&self, position: usize, tokens: &[u32]) -> Result<()> {
        let (vocab_size, context_length) = (self.plan.spec.vocab_size, self.plan.spec.context_length);
        if tokens.is_empty() {
            return Err(Error::invalid("tokens", "[]", "must have at least one token"));
        }
        if let Some(outside) = tokens.iter().find(|&&token| token as usize >= vocab_size) {
            return Err(Error::invalid("tokens", outside, format!("the vocabulary has {vocab_size} tokens")));
        }
        if tokens.len() > context_length - position {
            let rule = format!("the context has {context_length} tokens, of which {position} are taken");
            return Err(Error::invalid("tokens", format!("{} tokens long", tokens.len()), rule));
        }
        Ok(())
    }

    fn blocks_needed(&self, sequence: &Sequence, tokens: usize) -> usize {
        let after = (sequence.length + tokens).div_ceil(BLOCK_TOKENS);
        after - sequence.blocks.len() + usize::from(sequence.shared_end(&self.blocks).is_some())
    }

    /// Gives a sequence the blocks for further tokens; [`PlanExecutor::check`] has counted them.
    fn extend(&mut self, id: SequenceId, tokens: usize) {
        let sequence = self.sequences.get_mut(&id).expect("checked before");
        if let Some(shared) = sequence.shared_end(&self.blocks) {
            let own = self.blocks.take().expect("counted before");
            self.store.copy_block(shared, own);
            self.blocks.release(shared);
            *sequence.blocks.last_mut().expect("it has a shared end") = own;
        }
        while sequence.blocks.len() * BLOCK_TOKENS < sequence.length + tokens {
            sequence.blocks.push(self.blocks.take().expect("counted before"));
        }
        sequence.length += tokens;
    }

    /// Computes pieces together, and writes their logits.
    fn pass(&mut self, parts: &[StepPart<'_>], pieces: &[Piece], logits: Range<usize>) {
        self.rows.clear();
        self.wanted.clear();
        let mut spans: Vec<Span<'_>> = std::mem::take(&mut self.spans);
        for piece in pieces {
            let part = &parts[piece.part];
            let first = self.rows.len();
            let places = part.tokens[piece.tokens.clone()].iter().zip(piece.first_position..);
            self.rows.extend(places.map(|(&token, position)| Row { token, position }));
            let sequence = self.sequences.get(&part.sequence).expect("checked before");
            let rows = first..self.rows.len();
            match piece.wanted {
                Wanted::None => {}
                Wanted::Last => self.wanted.push(rows.end - 1),
                Wanted::All => self.wanted.extend(rows.clone()),
            }
            spans.push(Span { blocks: &sequence.blocks, first_position: piece.first_position, rows });
        }
        let (plan, store, buffers, rows) = (&self.plan, &mut self.store, &mut self.buffers, &self.rows);
        let (wanted, logits) = (&self.wanted, &mut self.logits[logits]);
        self.pool.step(|step| {
            Forward { plan, step, store, buffers, rows, spans: &spans }.run(wanted, logits);
        });
        self.spans = emptied(spans);
    }
}

/// Returns the same memory for spans of another step: collecting what borrows nothing happens in place.
fn emptied(mut spans: Vec<Span<'_>>) -> Vec<Span<'static>> {
    spans.clear();
    spans.into_iter().map(|_| unreachable!("it was emptied")).collect()
}

impl Drop for PlanExecutor {
    fn drop(&mut self) {
        self.cached_bytes.fetch_sub(self.counted_bytes, Ordering::Relaxed);
    }
}

/// The store asks for huge pages, so its memory is taken in such pieces.
fn page_rounded(bytes: usize) -> usize {
    const HUGE_PAGE: usize = 2 << 20;
    bytes.next_multiple_of(HUGE_PAGE)
}

impl TextExecutor for PlanExecutor {
    fn open(&mut self) -> Result<SequenceId> {
        let context_length = self.plan.spec.context_length;
        Ok(self.insert(Sequence::new(&[], 0, context_length)))
    }

    fn fork(&mut self, parent: SequenceId, length: usize) -> Result<SequenceId> {
        let parent = self.sequence(parent);
        if length > parent.length {
            return Err(Error::invalid("length", length, format!("the sequence has {} tokens", parent.length)));
        }
        let blocks = &parent.blocks[..length.div_ceil(BLOCK_TOKENS)];
        let forked = Sequence::new(blocks, length, self.plan.spec.context_length);
        forked.blocks.iter().for_each(|&block| self.blocks.share(block));
        Ok(self.insert(forked))
    }

    fn truncate(&mut self, sequence: SequenceId, length: usize) {
        let sequence = self.sequences.get_mut(&sequence).expect("the sequence is open");
        if length < sequence.length {
            sequence.length = length;
            let kept = length.div_ceil(BLOCK_TOKENS);
            sequence.blocks.drain(kept..).for_each(|block| self.blocks.release(block));
        }
    }

    fn close(&mut self, sequence: SequenceId) {
        let sequence = self.sequences.remove(&sequence).expect("the sequence is open");
        sequence.blocks.into_iter().for_each(|block| self.blocks.release(block));
    }

    fn length(&self, sequence: SequenceId) -> usize {
        self.sequence(sequence).length
    }

    fn step(&mut self, parts: &[StepPart<'_>]) -> Result<Logits<'_>> {
        self.check(parts)?;
        let vocab_size = self.plan.spec.vocab_size;
        let mut passes = std::mem::take(&mut self.passes);
        passes.cut(parts, |sequence| self.length(sequence));
        parts.iter().for_each(|part| self.extend(part.sequence, part.tokens.len()));
        let row_count: usize = parts.iter().map(|part| part.wanted.rows(part.tokens.len())).sum();
        resized(&mut self.logits, row_count * vocab_size);
        let mut first = 0;
        for pieces in passes.each() {
            let count: usize = pieces.iter().map(Piece::logits).sum();
            self.pass(parts, pieces, first * vocab_size..(first + count) * vocab_size);
            first += count;
        }
        self.passes = passes;
        self.count_bytes();
        Ok(Logits::new(&self.logits[..row_count * vocab_size], vocab_size))
    }

    fn free_tokens(&self) -> usize {
        self.blocks.free() * BLOCK_TOKENS
    }
}
