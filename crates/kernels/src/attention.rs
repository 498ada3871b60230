//! Attention of the rows of a batch over the keys and values of their sequences.
//!
//! The context is cut into pieces of 256 tokens at fixed positions. What a query sees in a piece gives a state (the
//! greatest score, the sum of the powers, the weighted sum of the values), and states are merged in the order of the
//! pieces (Milakov and Gimelshein 2018). So a result does not depend on the other rows, on how a prompt is cut, or on
//! whether one thread goes through all pieces or several take some each.
//!
//! ```text
//!   task     rows of one span x query heads that share a key head, so that each key and value is loaded once for all
//!   state    [value width] weighted sum | greatest score (base 2) | sum of powers | padding
//! ```

use std::cell::RefCell;

use crate::key_value_store::{KeyValueStore, Span};
use crate::lanes::{self, LANES};
use crate::{Level, RowView, Step};

mod merge;
mod output;
mod piece;
mod queries;
mod scores;
mod task;
#[cfg(test)]
mod tests;
mod values;

use merge::Finish;
use output::Output;
use piece::{Attend, Scratch};
use task::{Task, Tasks};

/// Tokens of a piece; whole blocks.
const PIECE: usize = 256;
/// Below so many tasks per thread, long contexts are shared too.
const FEW_TASKS_PER_THREAD: usize = 4;
/// Parts per thread when they are.
const PARTS_PER_THREAD: usize = 8;

/// How queries look at keys.
#[derive(Debug, Clone, Copy)]
pub struct AttentionOptions {
    /// Query heads of a row; a multiple of the key heads. Neighbours share a key head.
    pub query_heads: usize,
    /// What scores are multiplied with, mostly `1 / sqrt(head width)`.
    pub scale: f32,
    /// How many tokens a row sees, itself included; all when absent.
    pub window: Option<usize>,
}

thread_local! {
    /// What a thread needs for a task, and what the thread of a step keeps of the pieces.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static PARTIAL_STATES: RefCell<Vec<f32>> = RefCell::default();
}

/// Writes, for each row of `spans` and each query head, the values of the tokens up to this row, weighted with the
/// softmax of the scaled products of query and keys. The keys and values of the rows must have been appended. Rows that
/// belong to no span keep their output.
///
/// Keys and values have 11 bits; beyond that the result is within 1e-5 of the greatest value seen.
///
/// # Panics
/// When the layer or a block does not exist, a sequence has too few blocks, rows are missing, spans overlap, the query
/// heads are no multiple of the key heads, or the window is 0.
pub fn attend<'a>(
    step: &mut Step<'_>,
    store: &KeyValueStore,
    layer: usize,
    spans: &[Span<'_>],
    queries: impl Into<RowView<'a>>,
    options: AttentionOptions,
    output: &mut [f32],
) {
    let call = Call::new(store, layer, spans, queries.into(), options, output);
    let tasks = call.tasks();
    let (level, count) = (step.level(), tasks.count());
    let pieces = if count < FEW_TASKS_PER_THREAD * step.threads() { tasks.pieces() } else { 0 };
    if step.threads() > 1 && pieces > count {
        share_pieces(step, &call, tasks, pieces);
    } else {
        step.run(count, &|index| call.run_task(level, tasks.get(index)));
    }
}

/// Runs the pieces of all tasks as parts of their own, and then merges them.
fn share_pieces(step: &mut Step<'_>, call: &Call<'_>, tasks: Tasks<'_>, pieces: usize) {
    let level = step.level();
    let slot = call.most_queries() * call.state_len();
    let per_part = pieces.div_ceil(PARTS_PER_THREAD * step.threads());
    PARTIAL_STATES.with_borrow_mut(|states| {
        states.resize((pieces * slot).max(states.len()), 0.0);
        let states = &mut states[..pieces * slot];
        step.for_each_piece(states, per_part * slot, &|part, slots| {
            for (index, states) in slots.chunks_exact_mut(slot).enumerate() {
                let (task, piece) = tasks.piece(part * per_part + index);
                let states = &mut states[..task.queries(call.group) * call.state_len()];
                call.run_pieces(level, task, piece..piece + 1, states);
            }
        });
        let states = &*states;
        step.run(tasks.count(), &|index| {
            let (task, first) = (tasks.get(index), tasks.first_piece(index));
            let partial = &states[first * slot..][..task.pieces(call.options.window).len() * slot];
            call.finish(level, task, partial, slot);
        });
    });
}

/// One call of [`attend`], checked.
struct Call<'a> {
    store: &'a KeyValueStore,
    layer: usize,
    spans: &'a [Span<'a>],
    queries: RowView<'a>,
    options: AttentionOptions,
    output: Output<'a>,
    /// Query heads that share a key head.
    group: usize,
}

impl<'a> Call<'a> {
    fn new(
        store: &'a KeyValueStore,
        layer: usize,
        spans: &'a [Span<'a>],
        queries: RowView<'a>,
        options: AttentionOptions,
        output: &'a mut [f32],
    ) -> Call<'a> {
        let (shape, query_heads) = (store.shape(), options.query_heads);
        let rows = store.check_spans(layer, spans);
        let width = query_heads * shape.head_width;
        queries.check("queries", rows, width);
        assert!(
            query_heads > 0 && query_heads.is_multiple_of(shape.heads),
            "{query_heads} query heads cannot share {} key heads",
            shape.heads
        );
        assert!(options.window != Some(0), "a row sees itself at least");
        assert!(output.len() >= rows * width, "{rows} rows of {width} numbers do not fit {}", output.len());
        let group = query_heads / shape.heads;
        Call { store, layer, spans, queries, options, output: Output::new(output), group }
    }

    fn tasks(&self) -> Tasks<'a> {
        Tasks::new(self.spans, self.store.shape().heads, self.group, self.options.window)
    }

    /// Returns the numbers of one state.
    #[inline(always)]
    fn state_len(&self) -> usize {
        self.store.shape().value_width() + LANES
    }

    fn most_queries(&self) -> usize {
        task::rows_of_task(self.group) * self.group
    }

    /// Runs a task from its first piece to its last.
    fn run_task(&self, level: Level, task: Task<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut states = std::mem::take(&mut scratch.states);
            let length = task.queries(self.group) * self.state_len();
            states.resize(length.max(states.len()), 0.0);
            let pieces = task.pieces(self.options.window);
            lanes::run(level, Attend { call: self, task, pieces, scratch, states: &mut states[..length] });
            lanes::run(level, Finish { call: self, task, states: &mut states[..length] });
            scratch.states = states;
        });
    }

    /// Writes the states of a task after some of its pieces.
    fn run_pieces(&self, level: Level, task: Task<'_>, pieces: std::ops::Range<usize>, states: &mut [f32]) {
        SCRATCH.with_borrow_mut(|scratch| lanes::run(level, Attend { call: self, task, pieces, scratch, states }));
    }

    /// Merges the states of the pieces of a task, each in a slot of `slot` numbers.
    fn finish(&self, level: Level, task: Task<'_>, partial: &[f32], slot: usize) {
        SCRATCH.with_borrow_mut(|scratch| {
            let length = task.queries(self.group) * self.state_len();
            let states = &mut scratch.states;
            states.resize(length.max(states.len()), 0.0);
            let states = &mut states[..length];
            lanes::run(level, merge::Merge { state_len: self.state_len(), partial, slot, states });
            lanes::run(level, Finish { call: self, task, states });
        });
    }
}
