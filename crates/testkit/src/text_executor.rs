//! What every text executor promises, whatever it computes with.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

use seedhouse_core::Code;
use seedhouse_core::runtime::{SequenceId, StepPart, TextExecutor, TextModel, Wanted};

use crate::suite::{Claim, check};

/// A model, and how exactly its logits have to agree when the same tokens are computed in other pieces.
pub struct TextExecutorCase<'m> {
    /// A model with at least 100 tokens in its vocabulary and a context of at least 48; its logits depend on all tokens.
    pub model: &'m dyn TextModel,
    /// 0 for bit by bit.
    pub tolerance: f32,
}

/// Checks every promise of the port.
///
/// # Panics
/// When a promise is not kept; the message names each that is not.
pub fn text_executor_suite(case: &TextExecutorCase<'_>) {
    macro_rules! claims {
        ($($claim:ident,)*) => {
            [$((stringify!($claim), Box::new(|| $claim(case)) as Box<dyn Fn() + '_>),)*]
        };
    }
    let claims: [Claim<'_>; _] = claims![
        tokens_in_pieces_give_what_they_give_at_once,
        sequences_of_a_step_do_not_see_each_other,
        rows_come_in_the_order_of_the_parts,
        fork_goes_on_where_its_parent_was_and_leaves_it_alone,
        fork_outlives_its_parent,
        fork_beyond_its_parent_is_refused,
        truncated_tokens_leave_no_trace,
        closing_gives_the_room_back,
        step_that_breaks_a_rule_changes_nothing,
        step_beyond_the_context_is_refused,
    ];
    check("text executor", &claims);
}

const TOKENS: [u32; 40] = {
    let mut tokens = [0; 40];
    let mut index = 0;
    while index < tokens.len() {
        tokens[index] = (index as u32 * 37 + 11) % 97 + 3;
        index += 1;
    }
    tokens
};

fn executor(case: &TextExecutorCase<'_>) -> Box<dyn TextExecutor> {
    case.model.executor().unwrap()
}

fn advance(executor: &mut dyn TextExecutor, sequence: SequenceId, tokens: &[u32], wanted: Wanted) -> Vec<Vec<f32>> {
    let logits = executor.step(&[StepPart { sequence, tokens, wanted }]).unwrap();
    assert_eq!(logits.row_count(), wanted.rows(tokens.len()));
    logits.rows().map(<[f32]>::to_vec).collect()
}

/// Every row of a sequence that is computed alone and at once.
fn expected(case: &TextExecutorCase<'_>, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut executor = executor(case);
    let sequence = executor.open().unwrap();
    advance(&mut *executor, sequence, tokens, Wanted::All)
}

#[track_caller]
fn assert_rows(case: &TextExecutorCase<'_>, actual: &[Vec<f32>], expected: &[Vec<f32>]) {
    assert_eq!(actual.len(), expected.len());
    for (row, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!((actual.len(), expected.len()), (case.model.info().vocab_size, case.model.info().vocab_size));
        for (id, (a, b)) in actual.iter().zip(expected).enumerate() {
            let close = a.to_bits() == b.to_bits() || (a - b).abs() <= case.tolerance;
            assert!(close, "row {row}, token {id}: {a} and {b}");
        }
    }
}

fn tokens_in_pieces_give_what_they_give_at_once(case: &TextExecutorCase<'_>) {
    let expected = expected(case, &TOKENS);
    assert_ne!(expected[3], expected[4], "the logits say something");
    for size in [1, 2, 7, 16, 39] {
        let mut executor = executor(case);
        let sequence = executor.open().unwrap();
        for (index, piece) in TOKENS.chunks(size).enumerate() {
            let wanted = [Wanted::All, Wanted::None, Wanted::Last][index % 3];
            let from = index * size;
            let rows = advance(&mut *executor, sequence, piece, wanted);
            let end = from + piece.len();
            assert_rows(case, &rows, &expected[end - wanted.rows(piece.len())..end]);
            assert_eq!(executor.length(sequence), end);
        }
    }
}

fn sequences_of_a_step_do_not_see_each_other(case: &TextExecutorCase<'_>) {
    let texts: Vec<Vec<u32>> =
        (0..5).map(|text| TOKENS.iter().map(|token| (token + text * 7) % 100).collect()).collect();
    let mut executor = executor(case);
    let sequences: Vec<SequenceId> = texts.iter().map(|_| executor.open().unwrap()).collect();
    let mut starts = [0; 5];
    for round in 1..=4 {
        // One token, two tokens, …: every sequence advances by another length.
        let ends: Vec<usize> = (0..5).map(|index| (starts[index] + round * (index + 1) - index).min(40)).collect();
        let parts: Vec<StepPart<'_>> = (0..5)
            .filter(|&index| ends[index] > starts[index])
            .map(|index| StepPart {
                sequence: sequences[index],
                tokens: &texts[index][starts[index]..ends[index]],
                wanted: Wanted::Last,
            })
            .collect();
        let logits = executor.step(&parts).unwrap();
        let rows: Vec<Vec<f32>> = logits.rows().map(<[f32]>::to_vec).collect();
        let alone: Vec<Vec<f32>> = (0..5)
            .filter(|&index| ends[index] > starts[index])
            .map(|index| expected(case, &texts[index][..ends[index]]).pop().unwrap())
            .collect();
        assert_rows(case, &rows, &alone);
        starts.copy_from_slice(&ends);
    }
}

fn rows_come_in_the_order_of_the_parts(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let [first, second, third] = [(); 3].map(|()| executor.open().unwrap());
    let parts = [
        StepPart { sequence: third, tokens: &TOKENS[..3], wanted: Wanted::All },
        StepPart { sequence: first, tokens: &TOKENS[3..9], wanted: Wanted::None },
        StepPart { sequence: second, tokens: &TOKENS[9..14], wanted: Wanted::Last },
    ];
    let rows: Vec<Vec<f32>> = executor.step(&parts).unwrap().rows().map(<[f32]>::to_vec).collect();
    let mut wanted = expected(case, &TOKENS[..3]);
    wanted.push(expected(case, &TOKENS[9..14]).pop().unwrap());
    assert_rows(case, &rows, &wanted);
}

fn fork_goes_on_where_its_parent_was_and_leaves_it_alone(case: &TextExecutorCase<'_>) {
    for shared in [0, 1, 10, 20] {
        let mut executor = executor(case);
        let parent = executor.open().unwrap();
        advance(&mut *executor, parent, &TOKENS[..20], Wanted::None);
        let fork = executor.fork(parent, shared).unwrap();
        assert_eq!((executor.length(fork), executor.length(parent)), (shared, 20));
        let other: Vec<u32> = TOKENS[..shared].iter().copied().chain([5, 6, 7]).collect();
        let rows = advance(&mut *executor, fork, &[5, 6, 7], Wanted::All);
        assert_rows(case, &rows, &expected(case, &other)[shared..]);
        let rows = advance(&mut *executor, parent, &TOKENS[20..], Wanted::All);
        assert_rows(case, &rows, &expected(case, &TOKENS)[20..]);
    }
}

fn fork_outlives_its_parent(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let parent = executor.open().unwrap();
    advance(&mut *executor, parent, &TOKENS[..21], Wanted::None);
    let fork = executor.fork(parent, 21).unwrap();
    executor.close(parent);
    let other = executor.open().unwrap();
    advance(&mut *executor, other, &[9; 30], Wanted::None);
    let rows = advance(&mut *executor, fork, &TOKENS[21..], Wanted::All);
    assert_rows(case, &rows, &expected(case, &TOKENS)[21..]);
}

fn fork_beyond_its_parent_is_refused(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let parent = executor.open().unwrap();
    advance(&mut *executor, parent, &TOKENS[..3], Wanted::None);
    assert_eq!(executor.fork(parent, 4).unwrap_err().code(), Code::Invalid);
}

fn truncated_tokens_leave_no_trace(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let sequence = executor.open().unwrap();
    advance(&mut *executor, sequence, &TOKENS[..10], Wanted::None);
    let fork = executor.fork(sequence, 10).unwrap();
    advance(&mut *executor, sequence, &[8; 9], Wanted::None);
    executor.truncate(sequence, 50);
    assert_eq!(executor.length(sequence), 19, "a sequence is never made longer");
    executor.truncate(sequence, 7);
    assert_eq!((executor.length(sequence), executor.length(fork)), (7, 10));
    let rows = advance(&mut *executor, sequence, &TOKENS[7..], Wanted::All);
    assert_rows(case, &rows, &expected(case, &TOKENS)[7..]);
    let rows = advance(&mut *executor, fork, &TOKENS[10..], Wanted::All);
    assert_rows(case, &rows, &expected(case, &TOKENS)[10..]);
}

fn closing_gives_the_room_back(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let all = executor.free_tokens();
    let sequence = executor.open().unwrap();
    advance(&mut *executor, sequence, &TOKENS, Wanted::None);
    assert!(executor.free_tokens() + TOKENS.len() <= all);
    let fork = executor.fork(sequence, 20).unwrap();
    executor.close(sequence);
    executor.close(fork);
    assert_eq!(executor.free_tokens(), all);
}

fn step_that_breaks_a_rule_changes_nothing(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let [sequence, closed] = [(); 2].map(|()| executor.open().unwrap());
    advance(&mut *executor, sequence, &TOKENS[..5], Wanted::None);
    executor.close(closed);
    let beyond = [u32::try_from(case.model.info().vocab_size).unwrap()];
    let part = |sequence, tokens| StepPart { sequence, tokens, wanted: Wanted::Last };
    let good = part(sequence, &TOKENS[5..7]);
    let other = executor.open().unwrap();
    let cases = [
        [good, part(other, &[])],
        [good, part(other, &beyond)],
        [good, part(closed, &[1])],
        [good, part(sequence, &[1])],
    ];
    for parts in cases {
        let free = executor.free_tokens();
        let error = executor.step(&parts).err().unwrap();
        assert_eq!(error.code(), Code::Invalid, "{error}");
        assert_eq!((executor.length(sequence), executor.length(other), executor.free_tokens()), (5, 0, free));
    }
    let rows = advance(&mut *executor, sequence, &TOKENS[5..], Wanted::All);
    assert_rows(case, &rows, &expected(case, &TOKENS)[5..]);
}

fn step_beyond_the_context_is_refused(case: &TextExecutorCase<'_>) {
    let mut executor = executor(case);
    let sequence = executor.open().unwrap();
    let context_length = case.model.info().context_length;
    advance(&mut *executor, sequence, &vec![7; context_length - 1], Wanted::None);
    let parts = [StepPart { sequence, tokens: &[7, 7], wanted: Wanted::Last }];
    assert_eq!(executor.step(&parts).err().unwrap().code(), Code::Invalid);
    assert_eq!(executor.length(sequence), context_length - 1);
    advance(&mut *executor, sequence, &[7], Wanted::Last);
}
