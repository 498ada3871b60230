//! Products of queries and keys.

use super::PIECE;
use crate::key_value_store::BLOCK_TOKENS;
use crate::lanes::{LANES, Lanes};

/// Registers for the keys of one block.
const VECTORS: usize = BLOCK_TOKENS / LANES;

/// Writes the scores of `N` queries, as packed by [`super::queries`], with the keys of `B` consecutive blocks, to where
/// the first of them begins in a piece.
///
/// Each score is summed up over the numbers of a head in their order, whatever `N` and `B` are; they only say how many
/// sums run side by side.
#[inline(always)]
pub(super) fn scores<L: Lanes, const N: usize, const B: usize>(
    lanes: L,
    keys: [&[u16]; B],
    queries: &[f32],
    scores: &mut [[f32; PIECE]],
    first: usize,
) {
    let mut sums = [[[lanes.splat(0.0); VECTORS]; B]; N];
    let queries = queries.as_chunks::<N>().0;
    let mut columns = [&[][..]; B];
    for block in 0..B {
        columns[block] = &keys[block].as_chunks::<LANES>().0.as_chunks::<VECTORS>().0[..queries.len()];
    }
    for (number, query) in queries.iter().enumerate() {
        for block in 0..B {
            let mut keys = [lanes.splat(0.0); VECTORS];
            for (keys, column) in keys.iter_mut().zip(&columns[block][number]) {
                *keys = lanes.load_halves(column);
            }
            for index in 0..N {
                // Each query number stays in a register only for the vectors of one block: there is none to spare.
                let query = lanes.splat(query[index]);
                for vector in 0..VECTORS {
                    let sum = &mut sums[index][block][vector];
                    *sum = lanes.multiply_add(query, keys[vector], *sum);
                }
            }
        }
    }
    for (sums, scores) in sums.iter().zip(scores) {
        let targets = scores[first..].as_chunks_mut::<LANES>().0;
        for (sum, target) in sums.as_flattened().iter().zip(targets) {
            lanes.store(*sum, target);
        }
    }
}
