//! Weighted sums of values.

use std::ops::Range;

use super::PIECE;
use super::merge::Factors;
use crate::key_value_store::BLOCK_TOKENS;
use crate::lanes::{LANES, Lanes};

/// The values of a piece.
pub(super) struct Values<'a, F> {
    /// Returns the values of a block of the piece.
    pub(super) block: F,
    /// The positions in the piece that are seen by at least one query.
    pub(super) seen: Range<usize>,
    /// Vectors of a value.
    pub(super) vectors: usize,
    /// The weights, one row per query.
    pub(super) weights: &'a [[f32; PIECE]],
    /// How the sums are merged, one per query.
    pub(super) factors: &'a [Factors],
    pub(super) state_len: usize,
}

impl<'v, F: Fn(usize) -> &'v [u16]> Values<'_, F> {
    /// Merges the sums of `N` queries over `T` vectors into their states: those from `query` and `vector` on.
    #[inline(always)]
    pub(super) fn add<L: Lanes, const N: usize, const T: usize>(
        &self,
        lanes: L,
        query: usize,
        vector: usize,
        states: &mut [f32],
    ) {
        let weights: &[[f32; PIECE]; N] = self.weights[query..].first_chunk().expect("the caller has N queries");
        let mut sums = [[lanes.splat(0.0); T]; N];
        let mut position = self.seen.start;
        while position < self.seen.end {
            let block = position / BLOCK_TOKENS;
            let end = self.seen.end.min((block + 1) * BLOCK_TOKENS);
            let values = (self.block)(block).as_chunks::<LANES>().0;
            let rows = values.chunks_exact(self.vectors).skip(position % BLOCK_TOKENS);
            for (position, row) in (position..end).zip(rows) {
                let row: &[[u16; LANES]; T] = row[vector..].first_chunk().expect("the caller has T vectors");
                let mut values = [lanes.splat(0.0); T];
                for index in 0..T {
                    values[index] = lanes.load_halves(&row[index]);
                }
                for index in 0..N {
                    // A piece is a power of two: this is no limit, but spares the check of one.
                    let weight = lanes.splat(weights[index][position % PIECE]);
                    for vector in 0..T {
                        sums[index][vector] = lanes.multiply_add(values[vector], weight, sums[index][vector]);
                    }
                }
            }
            position = end;
        }
        for index in 0..N {
            let state = &mut states[(query + index) * self.state_len..][vector * LANES..];
            self.factors[query + index].merge(lanes, &sums[index], state.as_chunks_mut::<LANES>().0);
        }
    }
}
