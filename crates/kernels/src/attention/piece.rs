//! A task's way through its pieces.

use std::ops::Range;

use super::merge::{Factors, clear, merge_scalars};
use super::scores::scores;
use super::task::{Task, visible};
use super::values::Values;
use super::{Call, PIECE, queries};
use crate::key_value_store::BLOCK_TOKENS;
use crate::lanes::{Kernel, LANES, Lanes};
use crate::rows::exp2;

/// Queries that are in registers together, at most.
const MOST_QUERIES: usize = 12;

/// Memory that a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    queries: Vec<f32>,
    scores: Vec<[f32; PIECE]>,
    pub(super) states: Vec<f32>,
}

/// Writes the states of a task after some pieces.
pub(super) struct Attend<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) task: Task<'a>,
    pub(super) pieces: Range<usize>,
    pub(super) scratch: &'a mut Scratch,
    pub(super) states: &'a mut [f32],
}

impl Kernel for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (call, task) = (self.call, self.task);
        let Scratch { queries: packed, scores, .. } = self.scratch;
        queries::pack(call, task, L::REGISTERS, packed);
        scores.resize(MOST_QUERIES, [0.0; PIECE]);
        for state in self.states.chunks_exact_mut(call.state_len()) {
            clear(state);
        }
        let (width, count) = (call.store.shape().head_width, task.queries(call.group));
        for piece in self.pieces {
            let mut first = 0;
            while first < count {
                let group = queries::next_group(count - first, L::REGISTERS);
                let queries = &packed[first * width..][..group * width];
                let states = &mut self.states[first * call.state_len()..][..group * call.state_len()];
                Group { call, task, piece, first, queries }.run(lanes, &mut scores[..group], states);
                first += group;
            }
        }
    }
}

/// Queries that are in registers together, and a piece.
struct Group<'a> {
    call: &'a Call<'a>,
    task: Task<'a>,
    piece: usize,
    /// The first query, counted in the task.
    first: usize,
    queries: &'a [f32],
}

impl Group<'_> {
    #[inline(always)]
    fn run<L: Lanes>(&self, lanes: L, weights: &mut [[f32; PIECE]], states: &mut [f32]) {
        let count = weights.len();
        let seen = self.seen_by(0).start..self.seen_by(count - 1).end;
        if seen.is_empty() {
            return;
        }
        self.all_scores(lanes, seen.start / BLOCK_TOKENS..seen.end.div_ceil(BLOCK_TOKENS), weights);
        let state_len = self.call.state_len();
        let mut factors = [Factors::NOTHING_ADDED; MOST_QUERIES];
        for (query, state) in states.chunks_exact_mut(state_len).enumerate() {
            let own = self.seen_by(query);
            clear_unseen(&mut weights[query], &seen, &own);
            if !own.is_empty() {
                let (greatest, sum) = softmax(lanes, &mut weights[query], own);
                factors[query] = merge_scalars(lanes, state, greatest, sum);
            }
        }
        let vectors = self.call.store.shape().value_width() / LANES;
        let block = |block| self.call.store.values(self.call.layer, self.task.head, self.block(block));
        let values = Values { block, seen, vectors, weights, factors: &factors[..count], state_len };
        add_values(lanes, &values, count, states);
    }

    /// Returns the positions that a query sees, counted in the piece. Both ends grow with the query.
    #[inline(always)]
    fn seen_by(&self, query: usize) -> Range<usize> {
        let row = (self.first + query) / self.call.group;
        let visible = visible(self.task.position(row), self.call.options.window);
        let start = self.piece * PIECE;
        visible.start.saturating_sub(start).min(PIECE)..visible.end.saturating_sub(start).min(PIECE)
    }

    /// Returns a block of the piece.
    #[inline(always)]
    fn block(&self, block: usize) -> u32 {
        self.task.span.blocks[self.piece * (PIECE / BLOCK_TOKENS) + block]
    }

    #[inline(always)]
    fn keys(&self, block: usize) -> &[u16] {
        self.call.store.keys(self.call.layer, self.task.head, self.block(block))
    }

    /// Writes the scores of the queries with the keys of some blocks of the piece.
    #[inline(always)]
    fn all_scores<L: Lanes>(&self, lanes: L, blocks: Range<usize>, weights: &mut [[f32; PIECE]]) {
        match weights.len() {
            1 if L::REGISTERS >= 32 => self.scores_of::<L, 1, 4>(lanes, blocks, weights),
            2 if L::REGISTERS >= 32 => self.scores_of::<L, 2, 2>(lanes, blocks, weights),
            3 if L::REGISTERS >= 32 => self.scores_of::<L, 3, 2>(lanes, blocks, weights),
            4 if L::REGISTERS >= 32 => self.scores_of::<L, 4, 2>(lanes, blocks, weights),
            6 if L::REGISTERS >= 32 => self.scores_of::<L, 6, 1>(lanes, blocks, weights),
            8 if L::REGISTERS >= 32 => self.scores_of::<L, 8, 1>(lanes, blocks, weights),
            12 if L::REGISTERS >= 32 => self.scores_of::<L, 12, 1>(lanes, blocks, weights),
            1 if L::REGISTERS >= 8 => self.scores_of::<L, 1, 2>(lanes, blocks, weights),
            1 => self.scores_of::<L, 1, 1>(lanes, blocks, weights),
            2 => self.scores_of::<L, 2, 1>(lanes, blocks, weights),
            3 => self.scores_of::<L, 3, 1>(lanes, blocks, weights),
            4 => self.scores_of::<L, 4, 1>(lanes, blocks, weights),
            count => unreachable!("no level takes {count} queries at a time"),
        }
    }

    /// Writes the scores of `N` queries, `B` blocks at a time.
    #[inline(always)]
    fn scores_of<L: Lanes, const N: usize, const B: usize>(
        &self,
        lanes: L,
        blocks: Range<usize>,
        weights: &mut [[f32; PIECE]],
    ) {
        let mut block = blocks.start;
        while block + B <= blocks.end {
            let mut keys = [&[][..]; B];
            for (index, keys) in keys.iter_mut().enumerate() {
                *keys = self.keys(block + index);
            }
            scores::<L, N, B>(lanes, keys, self.queries, weights, block * BLOCK_TOKENS);
            block += B;
        }
        for block in block..blocks.end {
            scores::<L, N, 1>(lanes, [self.keys(block)], self.queries, weights, block * BLOCK_TOKENS);
        }
    }
}

/// Gives no weight to what other queries see and this one does not.
#[inline(always)]
fn clear_unseen(weights: &mut [f32; PIECE], seen: &Range<usize>, own: &Range<usize>) {
    if own.is_empty() {
        weights[seen.clone()].fill(0.0);
    } else {
        weights[seen.start..own.start].fill(0.0);
        weights[own.end..seen.end].fill(0.0);
    }
}

/// Turns scores into powers of 2 relative to the greatest. Returns the greatest and the sum of the powers.
#[inline(always)]
fn softmax<L: Lanes>(lanes: L, scores: &mut [f32; PIECE], seen: Range<usize>) -> (f32, f32) {
    let least = lanes.splat(f32::NEG_INFINITY);
    let zero = lanes.splat(0.0);
    let first = seen.start / LANES;
    let vectors = &mut scores.as_chunks_mut::<LANES>().0[first..seen.end.div_ceil(LANES)];
    let (before, end) = (seen.start - first * LANES, seen.end - first * LANES);
    let last = vectors.len() - 1;
    // Only the first and the last vector may hold what is not seen.
    let masked = lanes.keep(lanes.load(&vectors[0]), before..end.min(LANES), least);
    lanes.store(masked, &mut vectors[0]);
    if last > 0 {
        let masked = lanes.keep(lanes.load(&vectors[last]), 0..end - last * LANES, least);
        lanes.store(masked, &mut vectors[last]);
    }
    let mut greatest = least;
    for vector in vectors.iter() {
        greatest = lanes.max(lanes.load(vector), greatest);
    }
    let greatest = lanes.greatest(greatest);
    let shift = lanes.splat(greatest);
    let mut sums = zero;
    for vector in vectors {
        let powers = exp2(lanes, lanes.subtract(lanes.load(vector), shift));
        sums = lanes.add(sums, powers);
        lanes.store(powers, vector);
    }
    (greatest, lanes.sum(sums))
}

/// Adds the weighted values of all queries, as many at a time as there are registers for.
#[inline(always)]
fn add_values<'v, L: Lanes, F: Fn(usize) -> &'v [u16]>(
    lanes: L,
    values: &Values<'_, F>,
    count: usize,
    states: &mut [f32],
) {
    let mut query = 0;
    while query < count {
        match count - query {
            12 | 6 => query += add_rows::<L, F, 6>(lanes, values, query, states),
            8 | 4 => query += add_rows::<L, F, 4>(lanes, values, query, states),
            3 => query += add_rows::<L, F, 3>(lanes, values, query, states),
            2 => query += add_rows::<L, F, 2>(lanes, values, query, states),
            _ => query += add_rows::<L, F, 1>(lanes, values, query, states),
        }
    }
}

/// Adds the weighted values of `N` queries and returns how many they are.
#[inline(always)]
fn add_rows<'v, L: Lanes, F: Fn(usize) -> &'v [u16], const N: usize>(
    lanes: L,
    values: &Values<'_, F>,
    query: usize,
    states: &mut [f32],
) -> usize {
    let mut vector = 0;
    while vector < values.vectors {
        let remaining = values.vectors - vector;
        if remaining >= 4 && L::REGISTERS >= 32 {
            values.add::<L, N, 4>(lanes, query, vector, states);
            vector += 4;
        } else if remaining >= 2 && L::REGISTERS >= 8 {
            values.add::<L, N, 2>(lanes, query, vector, states);
            vector += 2;
        } else {
            values.add::<L, N, 1>(lanes, query, vector, states);
            vector += 1;
        }
    }
    N
}
