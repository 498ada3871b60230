//! Attention in which every row of a sequence sees every other, as in encoders of images and sentences.
//!
//! A task is one head of one sequence. It copies the head's keys (transposed, so that scores need no sums across lanes) and
//! values to where they stay in the cache, and takes the rows in blocks: scores, softmax, weighted sum of the values. All of it
//! is f32. Each sum runs over its terms in order, so a row is the same whatever else is computed.

use std::cell::RefCell;
use std::ops::Range;

use crate::disjoint::Disjoint;
use crate::lanes::{self, LANES};
use crate::{Level, RowView, Step, rows};

mod product;
#[cfg(test)]
mod tests;

use product::Product;

/// Rows whose scores stay in the cache; a multiple of the rows of every tile.
const BLOCK_ROWS: usize = 48;

/// How rows look at each other.
#[derive(Debug, Clone, Copy)]
pub struct MutualAttention {
    /// Heads of a row.
    pub heads: usize,
    /// Numbers of a head.
    pub head_width: usize,
    /// What scores are multiplied with, mostly `1 / sqrt(head width)`.
    pub scale: f32,
}

thread_local! {
    /// What a thread needs for a task.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    scores: Vec<f32>,
    shares: Vec<f32>,
    sums: Vec<f32>,
}

/// Writes, for each row of each sequence and each head, the values of the rows of the sequence, weighted with the softmax of the
/// scaled products of query and keys. Sequences are ranges of rows; rows of none keep their output.
///
/// # Panics
/// When rows are missing, or sequences overlap or do not follow each other.
pub fn attend_mutually<'a>(
    step: &mut Step<'_>,
    sequences: &[Range<usize>],
    [queries, keys, values]: [RowView<'a>; 3],
    options: MutualAttention,
    output: &mut [f32],
) {
    let width = options.heads * options.head_width;
    let end = sequences.last().map_or(0, |last| last.end);
    for view in [queries, keys, values] {
        view.check("queries, keys and values", end, width);
    }
    assert!(sequences.is_sorted_by(|a, b| a.end <= b.start), "sequences follow each other");
    assert!(output.len() >= end * width, "{end} rows of {width} numbers do not fit {}", output.len());
    let (level, output) = (step.level(), Disjoint::new(output));
    let call = Call { views: [queries, keys, values], options };
    step.run(sequences.len() * options.heads, &|task| {
        let (rows, head) = (sequences[task / options.heads].clone(), task % options.heads);
        SCRATCH.with_borrow_mut(|scratch| {
            call.load(rows.clone(), head, scratch);
            call.run(level, rows.len(), scratch);
            let sums = scratch.sums.chunks_exact(options.head_width.next_multiple_of(LANES));
            for (row, sums) in rows.zip(sums) {
                let first = row * width + head * options.head_width;
                // SAFETY: the numbers of a head of a row are written by the one task of this head and the row's sequence.
                let output = unsafe { output.piece(first..first + options.head_width) };
                output.copy_from_slice(&sums[..options.head_width]);
            }
        });
    });
}

struct Call<'a> {
    views: [RowView<'a>; 3],
    options: MutualAttention,
}

impl Call<'_> {
    /// Copies a head: queries scaled, keys transposed, values filled up to whole vectors.
    fn load(&self, rows: Range<usize>, head: usize, scratch: &mut Scratch) {
        let MutualAttention { head_width, heads, scale } = self.options;
        let (count, padded) = (rows.len().next_multiple_of(LANES), head_width.next_multiple_of(LANES));
        let Scratch { queries, keys, values, .. } = scratch;
        for (buffer, length) in [
            (&mut *queries, rows.len() * head_width),
            (&mut *keys, head_width * count),
            (&mut *values, rows.len() * padded),
        ] {
            buffer.clear();
            buffer.resize(length, 0.0);
        }
        let of =
            |view: usize, row: usize| &self.views[view].row(row, heads * head_width)[head * head_width..][..head_width];
        for (index, row) in rows.enumerate() {
            let target = &mut queries[index * head_width..][..head_width];
            target.iter_mut().zip(of(0, row)).for_each(|(target, number)| *target = number * scale);
            keys.iter_mut().skip(index).step_by(count).zip(of(1, row)).for_each(|(target, number)| *target = *number);
            values[index * padded..][..head_width].copy_from_slice(of(2, row));
        }
    }

    /// Computes the sums of all rows.
    fn run(&self, level: Level, rows: usize, scratch: &mut Scratch) {
        let width = self.options.head_width;
        let (count, padded) = (rows.next_multiple_of(LANES), width.next_multiple_of(LANES));
        let Scratch { queries, keys, values, scores, shares, sums } = scratch;
        scores.resize(BLOCK_ROWS * count, 0.0);
        shares.resize(BLOCK_ROWS * count, 0.0);
        sums.clear();
        sums.resize(rows * padded, 0.0);
        for first in (0..rows).step_by(BLOCK_ROWS) {
            let block = BLOCK_ROWS.min(rows - first);
            let scores = &mut scores[..block * count];
            lanes::run(
                level,
                Product {
                    left: &queries[first * width..][..block * width],
                    left_stride: width,
                    depth: width,
                    right: keys,
                    right_stride: count,
                    output: scores,
                },
            );
            for (scores, shares) in scores.chunks_exact(count).zip(shares.chunks_exact_mut(count)) {
                rows::softmax(level, &scores[..rows], &mut shares[..rows]);
            }
            lanes::run(
                level,
                Product {
                    left: &shares[..block * count],
                    left_stride: count,
                    depth: rows,
                    right: values,
                    right_stride: padded,
                    output: &mut sums[first * padded..][..block * padded],
                },
            );
        }
    }
}
