//! Queries in the order in which the scores read them.

use super::Call;
use super::task::Task;

/// Queries that are in registers together; the sizes for which [`super::scores`] has loops.
const GROUPS: [usize; 7] = [12, 8, 6, 4, 3, 2, 1];

/// Returns how many of `remaining` queries are taken next by a level with so many registers: each takes two for its scores
/// with a block, and two more are needed for what is multiplied.
#[inline(always)]
pub(super) fn next_group(remaining: usize, registers: usize) -> usize {
    let mut index = 0;
    while GROUPS[index] > remaining || GROUPS[index] * 2 + 2 > registers {
        index += 1;
    }
    GROUPS[index]
}

/// Writes the queries of a task as `[head width][group]` for one group after the other. They are multiplied with what
/// scores are to be multiplied with, and with log2 e, so that powers of 2 do for the softmax.
#[inline(always)]
pub(super) fn pack(call: &Call<'_>, task: Task<'_>, registers: usize, packed: &mut Vec<f32>) {
    let width = call.store.shape().head_width;
    let count = task.queries(call.group);
    let factor = call.options.scale * std::f32::consts::LOG2_E;
    packed.resize(count * width, 0.0);
    let mut first = 0;
    while first < count {
        let group = next_group(count - first, registers);
        let target = &mut packed[first * width..][..group * width];
        for index in 0..group {
            let query = query(call, task, first + index);
            for (number, column) in query.iter().zip(target.chunks_exact_mut(group)) {
                column[index] = number * factor;
            }
        }
        first += group;
    }
}

/// Returns a query of a task: all heads of the first row, then those of the next.
fn query<'a>(call: &Call<'a>, task: Task<'_>, index: usize) -> &'a [f32] {
    let width = call.store.shape().head_width;
    let row = task.span.rows.start + task.first_row + index / call.group;
    let head = task.head * call.group + index % call.group;
    &call.queries.row(row, call.options.query_heads * width)[head * width..][..width]
}
