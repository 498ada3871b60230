//! States of queries: making, merging and using them up.

use super::Call;
use super::task::Task;
use crate::lanes::{Kernel, LANES, Lanes};
use crate::rows::exp2;

/// What two states are multiplied with before they are added.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    before: f32,
    added: f32,
}

impl Factors {
    /// Leaves the state as it is.
    pub(super) const NOTHING_ADDED: Factors = Factors { before: 1.0, added: 0.0 };

    /// Merges the weighted sums of values.
    #[inline(always)]
    pub(super) fn merge<L: Lanes>(self, lanes: L, added: &[L::F32s], state: &mut [[f32; LANES]]) {
        let (before_factor, added_factor) = (lanes.splat(self.before), lanes.splat(self.added));
        for (added, state) in added.iter().zip(state) {
            let before = lanes.multiply(lanes.load(state), before_factor);
            lanes.store(lanes.multiply_add(*added, added_factor, before), state);
        }
    }
}

/// Empties a state.
#[inline(always)]
pub(super) fn clear(state: &mut [f32]) {
    state.fill(0.0);
    let [greatest, _sum] = scalars(state);
    *greatest = f32::NEG_INFINITY;
}

/// Merges the greatest score and the sum of powers of a piece, and returns what to do with the weighted sums.
#[inline(always)]
pub(super) fn merge_scalars<L: Lanes>(lanes: L, state: &mut [f32], greatest: f32, sum: f32) -> Factors {
    let [state_greatest, state_sum] = scalars(state);
    let new = if greatest > *state_greatest { greatest } else { *state_greatest };
    let mut exponents = [0.0; LANES];
    exponents[0] = *state_greatest - new;
    exponents[1] = greatest - new;
    let mut factors = [0.0; LANES];
    lanes.store(exp2(lanes, lanes.load(&exponents)), &mut factors);
    let factors = Factors { before: factors[0], added: factors[1] };
    *state_greatest = new;
    *state_sum = *state_sum * factors.before + sum * factors.added;
    factors
}

/// Returns the greatest score and the sum of powers of a state.
#[inline(always)]
fn scalars(state: &mut [f32]) -> &mut [f32; 2] {
    let start = state.len() - LANES;
    state[start..].first_chunk_mut().expect("a state ends with one vector of them")
}

/// Merges the states of several pieces in their order.
pub(super) struct Merge<'a> {
    pub(super) state_len: usize,
    /// States of the queries after each piece alone, a slot per piece.
    pub(super) partial: &'a [f32],
    pub(super) slot: usize,
    pub(super) states: &'a mut [f32],
}

impl Kernel for Merge<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (query, state) in self.states.chunks_exact_mut(self.state_len).enumerate() {
            clear(state);
            for states in self.partial.chunks_exact(self.slot) {
                let (sums, scalars) =
                    states[query * self.state_len..][..self.state_len].split_at(self.state_len - LANES);
                // A query that sees nothing of a piece has no powers there; one that sees something has at least a 1.
                if scalars[1] == 0.0 {
                    continue;
                }
                let factors = merge_scalars(lanes, state, scalars[0], scalars[1]);
                for (added, before) in sums.as_chunks::<LANES>().0.iter().zip(state.as_chunks_mut::<LANES>().0) {
                    factors.merge(lanes, &[lanes.load(added)], std::slice::from_mut(before));
                }
            }
        }
    }
}

/// Divides the weighted sums by the sums of powers and writes them to the output.
pub(super) struct Finish<'a> {
    pub(super) call: &'a Call<'a>,
    pub(super) task: Task<'a>,
    pub(super) states: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (call, task) = (self.call, self.task);
        let width = call.store.shape().head_width;
        for (query, state) in self.states.chunks_exact_mut(call.state_len()).enumerate() {
            let row = task.span.rows.start + task.first_row + query / call.group;
            let head = task.head * call.group + query % call.group;
            let first = (row * call.options.query_heads + head) * width;
            // SAFETY: a row and a query head belong to one task, spans have no row in common, and a task is finished once.
            let output = unsafe { call.output.part(first, width) };
            let factor = lanes.splat(1.0 / scalars(state)[1]);
            for (sums, output) in state.as_chunks::<LANES>().0.iter().zip(output.chunks_mut(LANES)) {
                // Tokens that are loaded for other queries add zeros, which may turn a negative zero into a positive
                // one; so there are only positive ones.
                let result = lanes.multiply_add(lanes.load(sums), factor, lanes.splat(0.0));
                lanes.store_first(result, output);
            }
        }
    }
}
