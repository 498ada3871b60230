//! The forward pass: rows of all tokens of a batch, layer by layer.

use std::ops::Range;

use seedhouse_kernels::{Activations, MutualAttention, Nonlinearity, RowView, Step, attend_mutually, rows};

use super::bert::Sizes;
use super::token_table::TokenTable;
use crate::layers::{LayerNorm, Linear};

/// Rows that a thread takes at a time where little is done with each.
const ROWS_PER_PIECE: usize = 16;

/// The network, ready to compute with.
pub(super) struct Bert {
    pub(super) sizes: Sizes,
    pub(super) attention: MutualAttention,
    pub(super) nonlinearity: Nonlinearity,
    pub(super) tokens: TokenTable,
    /// A row for each position, which holds the vector of the token's type as well.
    pub(super) positions: Vec<f32>,
    pub(super) embeddings_norm: LayerNorm,
    pub(super) layers: Vec<Layer>,
}

pub(super) struct Layer {
    /// Queries, keys and values.
    pub(super) inputs: Linear,
    pub(super) attention_output: Linear,
    pub(super) attention_norm: LayerNorm,
    pub(super) up: Linear,
    pub(super) down: Linear,
    pub(super) output_norm: LayerNorm,
}

/// Intermediate results, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// The rows.
    hidden: Vec<f32>,
    /// What the rows become.
    next: Vec<f32>,
    /// Queries, keys and values, and later what stands between the two products after the attention.
    wide: Vec<f32>,
    activations: Activations,
}

impl Buffers {
    /// Returns the bytes that they have grown to.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = [&self.hidden, &self.next, &self.wide].into_iter().map(|rows| size_of_val(&rows[..])).sum();
        rows + self.activations.bytes()
    }
}

/// Sequences of token ids, one after the other.
pub(super) struct Sequences {
    /// Token and position of each row.
    rows: Vec<(usize, usize)>,
    /// The rows of each sequence.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Sequences {
    pub(super) fn new(sequences: &[&[u32]]) -> Sequences {
        let (mut rows, mut ranges) = (Vec::new(), Vec::with_capacity(sequences.len()));
        for sequence in sequences {
            let first = rows.len();
            rows.extend(sequence.iter().enumerate().map(|(position, token)| (*token as usize, position)));
            ranges.push(first..rows.len());
        }
        Sequences { rows, ranges }
    }
}

impl Bert {
    /// Returns a row for each token, the sequences one after the other.
    pub(super) fn rows<'b>(&self, step: &mut Step<'_>, buffers: &'b mut Buffers, sequences: &Sequences) -> &'b [f32] {
        self.embed(step, buffers, sequences);
        for layer in &self.layers {
            self.attend(step, buffers, layer, sequences);
            self.feed_forward(step, buffers, layer, sequences.rows.len());
        }
        &buffers.hidden[..sequences.rows.len() * self.sizes.width]
    }

    /// Writes what the tokens begin with.
    fn embed(&self, step: &mut Step<'_>, buffers: &mut Buffers, sequences: &Sequences) {
        let (width, level) = (self.sizes.width, step.level());
        let hidden = grown(&mut buffers.hidden, sequences.rows.len() * width);
        let next = grown(&mut buffers.next, sequences.rows.len() * width);
        step.for_each_piece(next, ROWS_PER_PIECE * width, &|piece, numbers| {
            let rows = &sequences.rows[piece * ROWS_PER_PIECE..];
            for (&(token, position), row) in rows.iter().zip(numbers.chunks_exact_mut(width)) {
                self.tokens.write(token, row);
                rows::add_assign(level, &self.positions[position * width..][..width], row);
            }
        });
        normalise(step, &self.embeddings_norm, next, hidden, width);
    }

    /// Adds to the rows what they see of their sequence.
    fn attend(&self, step: &mut Step<'_>, buffers: &mut Buffers, layer: &Layer, sequences: &Sequences) {
        let (width, count) = (self.sizes.width, sequences.rows.len());
        let Buffers { hidden, next, wide, activations } = buffers;
        let (hidden, next) = (&mut hidden[..count * width], &mut next[..count * width]);
        let inputs = grown(wide, count * 3 * width);
        layer.inputs.apply(step, activations, count, &copy_of(hidden, width), (inputs, false));
        let views = [0, 1, 2].map(|part| RowView::new(&inputs[part * width..], 3 * width));
        attend_mutually(step, &sequences.ranges, views, self.attention, next);
        layer.attention_output.apply(step, activations, count, &copy_of(next, width), (hidden, true));
        normalise(step, &layer.attention_norm, hidden, next, width);
        std::mem::swap(&mut buffers.hidden, &mut buffers.next);
    }

    /// Adds to the rows what comes of each alone.
    fn feed_forward(&self, step: &mut Step<'_>, buffers: &mut Buffers, layer: &Layer, count: usize) {
        let (width, inner, level) = (self.sizes.width, self.sizes.feed_forward_width, step.level());
        let Buffers { hidden, next, wide, activations } = buffers;
        let (hidden, next) = (&mut hidden[..count * width], &mut next[..count * width]);
        let expanded = grown(wide, count * inner);
        layer.up.apply(step, activations, count, &copy_of(hidden, width), (expanded, false));
        let expanded = &*expanded;
        let function = |row: usize, output: &mut [f32]| {
            let input = &expanded[row * inner..][..inner];
            match self.nonlinearity {
                Nonlinearity::GeluErf => rows::gelu_erf(level, input, output),
                Nonlinearity::GeluTanh => rows::gelu_tanh(level, input, output),
                Nonlinearity::Silu => rows::silu(level, input, output),
                Nonlinearity::Relu | Nonlinearity::Relu6 => {
                    output.copy_from_slice(input);
                    self.nonlinearity.apply(level, output);
                }
            }
        };
        layer.down.apply(step, activations, count, &function, (hidden, true));
        normalise(step, &layer.output_norm, hidden, next, width);
        std::mem::swap(&mut buffers.hidden, &mut buffers.next);
    }

    /// Returns the bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        let of = |layer: &Layer| {
            layer.inputs.bytes() + layer.attention_output.bytes() + layer.up.bytes() + layer.down.bytes()
        };
        let layers: usize = self.layers.iter().map(of).sum();
        self.tokens.bytes() + size_of_val(&self.positions[..]) + layers
    }
}

/// Returns what writes rows as they are.
fn copy_of(rows: &[f32], width: usize) -> impl Fn(usize, &mut [f32]) + Sync {
    move |row: usize, output: &mut [f32]| output.copy_from_slice(&rows[row * width..][..width])
}

/// Writes the rows of `from`, normalised, to `to`.
fn normalise(step: &mut Step<'_>, norm: &LayerNorm, from: &[f32], to: &mut [f32], width: usize) {
    let level = step.level();
    step.for_each_piece(to, ROWS_PER_PIECE * width, &|piece, numbers| {
        let from = &from[piece * ROWS_PER_PIECE * width..];
        for (from, to) in from.chunks_exact(width).zip(numbers.chunks_exact_mut(width)) {
            norm.apply(level, from, to);
        }
    });
}

/// Returns the first `length` numbers of a buffer that only ever grows.
fn grown(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}
