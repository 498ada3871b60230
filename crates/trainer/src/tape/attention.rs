//! Attention of the rows of a sequence to each other (Vaswani et al. 2017).
//!
//! Queries are taken in blocks, so that scores stay in the cache however long a sequence is, and what a block must not see is not
//! computed. Shares are not kept: the way back computes them again from the logarithms of their sums.

use seedhouse_kernels::{Accumulation, MatrixView, MatrixViewMut, product};

use super::{Tape, Var};
use crate::numbers;
use crate::parallel;
use rayon::prelude::*;

/// Queries whose scores are computed together.
const BLOCK: usize = 64;

/// The sizes of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attention {
    /// Rows of a sequence.
    pub(crate) length: usize,
    pub(crate) heads: usize,
    /// Heads of keys and values; as many queries share one as there are more heads of queries.
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    /// Whether a row sees only itself and those before it.
    pub(crate) is_causal: bool,
}

/// A block of queries of one head.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    count: usize,
    /// Rows that are seen by any query of the block.
    seen: usize,
    /// Where the numbers of a row begin.
    query: usize,
    key: usize,
    value: usize,
    output: usize,
}

/// Memory of one thread.
struct Scratch {
    scores: Vec<f32>,
    gradients: Vec<f32>,
    logarithms: Vec<f32>,
    dots: Vec<f32>,
}

impl Attention {
    /// Returns the numbers of a row with queries, keys and values.
    pub(crate) fn inputs(self) -> usize {
        (self.heads + 2 * self.key_value_heads) * self.head_width
    }

    fn outputs(self) -> usize {
        self.heads * self.head_width
    }

    fn scale(self) -> f32 {
        (1.0 / (self.head_width as f64).sqrt()) as f32
    }

    fn scratch(self) -> Scratch {
        let scores = BLOCK.min(self.length) * self.length;
        Scratch {
            scores: vec![0.0; scores],
            gradients: vec![0.0; scores],
            logarithms: vec![0.0; BLOCK],
            dots: vec![0.0; BLOCK],
        }
    }

    fn blocks(self) -> impl Iterator<Item = Block> {
        let width = self.head_width;
        (0..self.heads).flat_map(move |head| {
            let key_value_head = head * self.key_value_heads / self.heads;
            let key = (self.heads + key_value_head) * width;
            (0..self.length).step_by(BLOCK).map(move |first| {
                let count = BLOCK.min(self.length - first);
                let seen = if self.is_causal { first + count } else { self.length };
                let value = key + self.key_value_heads * width;
                Block { first, count, seen, query: head * width, key, value, output: head * width }
            })
        })
    }

    /// Writes the shares of a block to the scratch.
    fn shares(self, block: Block, rows: &[f32], scratch: &mut Scratch) {
        let (inputs, width) = (self.inputs(), self.head_width);
        let queries = MatrixView::new(&rows[block.first * inputs + block.query..], block.count, width, inputs);
        let keys = MatrixView::new(&rows[block.key..], block.seen, width, inputs).transposed();
        let scores = &mut scratch.scores[..block.count * block.seen];
        let into = MatrixViewMut::new(scores, block.count, block.seen, block.seen);
        product(queries, keys, self.scale(), into, Accumulation::Replace, 1);
        numbers::exponentials(scores, block.seen, block.first + 1, self.is_causal, &mut scratch.logarithms);
    }

    /// Computes a sequence.
    fn forward(self, rows: &[f32], output: &mut [f32], scratch: &mut Scratch) {
        let (inputs, outputs, width) = (self.inputs(), self.outputs(), self.head_width);
        for block in self.blocks() {
            self.shares(block, rows, scratch);
            let shares = MatrixView::new(&scratch.scores, block.count, block.seen, block.seen);
            let values = MatrixView::new(&rows[block.value..], block.seen, width, inputs);
            let output = &mut output[block.first * outputs + block.output..];
            let into = MatrixViewMut::new(output, block.count, width, outputs);
            product(shares, values, 1.0, into, Accumulation::Replace, 1);
        }
    }

    /// Writes the gradients of a sequence, which are zeros.
    fn backward(self, rows: &[f32], attended: &[f32], gradient: &[f32], of_rows: &mut [f32], scratch: &mut Scratch) {
        let (inputs, outputs, width) = (self.inputs(), self.outputs(), self.head_width);
        for block in self.blocks() {
            self.shares(block, rows, scratch);
            let shares = MatrixView::new(&scratch.scores, block.count, block.seen, block.seen);
            let start = block.first * outputs + block.output;
            let of_output = MatrixView::new(&gradient[start..], block.count, width, outputs);
            let into = MatrixViewMut::new(&mut of_rows[block.value..], block.seen, width, inputs);
            product(shares.transposed(), of_output, 1.0, into, Accumulation::Add, 1);
            let values = MatrixView::new(&rows[block.value..], block.seen, width, inputs).transposed();
            let gradients = &mut scratch.gradients[..block.count * block.seen];
            let into = MatrixViewMut::new(gradients, block.count, block.seen, block.seen);
            product(of_output, values, 1.0, into, Accumulation::Replace, 1);
            for (place, dot) in scratch.dots[..block.count].iter_mut().enumerate() {
                let at = start + place * outputs;
                *dot = gradient[at..at + width].iter().zip(&attended[at..at + width]).map(|(a, b)| a * b).sum();
            }
            let scores = &scratch.scores[..block.count * block.seen];
            numbers::softmax_gradient(scores, gradients, block.seen, &scratch.dots, self.scale());
            let gradients = MatrixView::new(gradients, block.count, block.seen, block.seen);
            let keys = MatrixView::new(&rows[block.key..], block.seen, width, inputs);
            let of_queries = &mut of_rows[block.first * inputs + block.query..];
            let into = MatrixViewMut::new(of_queries, block.count, width, inputs);
            product(gradients, keys, 1.0, into, Accumulation::Replace, 1);
            let queries = MatrixView::new(&rows[block.first * inputs + block.query..], block.count, width, inputs);
            let into = MatrixViewMut::new(&mut of_rows[block.key..], block.seen, width, inputs);
            product(gradients.transposed(), queries, 1.0, into, Accumulation::Add, 1);
        }
    }
}

impl Tape<'_> {
    /// Returns for each row the values of its sequence by the shares of its query. Rows have queries, keys and values side by side.
    pub(crate) fn attend(&mut self, input: Var, attention: Attention) -> Var {
        let (inputs, outputs) = (attention.inputs() * attention.length, attention.outputs() * attention.length);
        let mut output = self.arena.take(self.rows(input) * attention.outputs());
        let rows = self.numbers(input);
        let pieces = output.par_chunks_mut(outputs).zip(rows.par_chunks(inputs));
        pieces
            .for_each_init(|| attention.scratch(), |scratch, (output, rows)| attention.forward(rows, output, scratch));
        self.push_with(output, attention.outputs(), move |tape, output| {
            let gradient = tape.take_gradient(output);
            let mut of_input = tape.arena.take(tape.numbers(input).len());
            let (rows, attended) = (tape.numbers(input), tape.numbers(output));
            parallel::each_piece(&mut of_input, inputs, |sequence, of_rows| {
                of_rows.fill(0.0);
                let mut scratch = attention.scratch();
                let (rows, of_outputs) =
                    (&rows[sequence * inputs..][..inputs], sequence * outputs..(sequence + 1) * outputs);
                let (attended, gradient) = (&attended[of_outputs.clone()], &gradient[of_outputs]);
                attention.backward(rows, attended, gradient, of_rows, &mut scratch);
            });
            tape.arena.give(gradient);
            tape.hand_gradient(input, of_input);
        })
    }
}
