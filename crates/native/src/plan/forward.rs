//! The forward pass of a batch of rows: tokens of several sequences, each at its position.

use seedhouse_kernels::{Activations, AttentionOptions, KeyValueStore, Level, Span, Step, append, attend, rows};

use super::compile::{Layer, Plan};
use super::linear::{FusedRows, resized};
use super::norm::NormWeights;
use crate::decoder::FeedForward;

/// Queries, keys and values among the fused inputs of a layer.
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;

/// A token and where it stands in its sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) token: u32,
    pub(super) position: usize,
}

/// Intermediate results, one row after the other; kept from step to step, so that a step of a size that was there before
/// allocates none of them.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    hidden: Vec<f32>,
    normalised: Vec<f32>,
    angles: Vec<f32>,
    inputs: FusedRows,
    attended: Vec<f32>,
    expanded: FusedRows,
    activations: Activations,
}

impl Buffers {
    /// Returns what they have grown to.
    pub(super) fn bytes(&self) -> usize {
        let rows = [&self.hidden, &self.normalised, &self.angles, &self.attended];
        let rows: usize = rows.into_iter().map(|numbers| size_of_val(&numbers[..])).sum();
        rows + self.inputs.bytes() + self.expanded.bytes() + self.activations.bytes()
    }
}

/// A pass over all layers.
pub(super) struct Forward<'p, 's> {
    pub(super) plan: &'p Plan,
    pub(super) step: &'p mut Step<'s>,
    pub(super) store: &'p mut KeyValueStore,
    pub(super) buffers: &'p mut Buffers,
    pub(super) rows: &'p [Row],
    pub(super) spans: &'p [Span<'p>],
}

impl Forward<'_, '_> {
    /// Computes the rows, and writes the logits of those that are `wanted`.
    pub(super) fn run(&mut self, wanted: &[usize], logits: &mut [f32]) {
        self.embed();
        for (index, layer) in self.plan.layers.iter().enumerate() {
            self.attention(index, layer);
            self.feed_forward(layer);
        }
        if !wanted.is_empty() {
            self.logits(wanted, logits);
        }
    }

    fn embed(&mut self) {
        let (plan, rows, width) = (self.plan, self.rows, self.plan.spec.width);
        let level = self.step.level();
        let Buffers { hidden, normalised, angles, .. } = self.buffers;
        let positions = resized(normalised, rows.len() * width);
        for ((row, hidden), position) in rows
            .iter()
            .zip(resized(hidden, rows.len() * width).chunks_exact_mut(width))
            .zip(positions.chunks_exact_mut(width))
        {
            plan.embedding.read_row(row.token as usize, hidden);
            if let Some(scale) = plan.spec.embedding_scale {
                hidden.iter_mut().for_each(|number| *number *= scale);
            }
            if let Some(embedding) = &plan.position_embedding {
                embedding.read_row(row.position, position);
                rows::add_assign(level, position, hidden);
            }
        }
        if let Some(rotary) = &plan.rotary {
            let length = rotary.angles_len();
            for (row, angles) in rows.iter().zip(resized(angles, rows.len() * length).chunks_exact_mut(length)) {
                rotary.fill_angles(row.position, angles);
            }
        }
    }

    fn attention(&mut self, index: usize, layer: &Layer) {
        let (spec, count, level) = (&self.plan.spec, self.rows.len(), self.step.level());
        self.fill_inputs(layer);
        self.turn_heads(layer);
        let Buffers { inputs, attended, .. } = self.buffers;
        let [queries, keys, values] = [QUERY, KEY, VALUE].map(|projection| layer.inputs.rows(projection, inputs));
        append(self.step, self.store, index, self.spans, keys, values);
        let query_width = spec.query_width();
        let options = AttentionOptions {
            query_heads: spec.query_heads,
            scale: spec.attention_scale,
            window: spec.sliding_window,
        };
        let attended = resized(attended, count * query_width);
        attend(self.step, self.store, index, self.spans, queries, options, attended);
        let Buffers { activations, attended, hidden, .. } = self.buffers;
        let attended = &attended[..count * query_width];
        let (form, width) = (layer.attention_output.form(), spec.width);
        activations.fill(self.step, form, count, query_width, &|row, numbers| {
            numbers.copy_from_slice(&attended[row * query_width..][..query_width]);
        });
        layer.attention_output.apply(self.step, activations, &mut hidden[..count * width], true);
        self.norm_after(&layer.attention_norm, level);
    }

    /// Queries, keys and values of all rows.
    fn fill_inputs(&mut self, layer: &Layer) {
        let (plan, count, level) = (self.plan, self.rows.len(), self.step.level());
        let width = plan.spec.width;
        let Buffers { hidden, inputs, activations, .. } = self.buffers;
        let hidden = &hidden[..count * width];
        let write = |row: usize, numbers: &mut [f32]| {
            let hidden = &hidden[row * width..][..width];
            match plan.norms_after() {
                true => numbers.copy_from_slice(hidden),
                false => layer.attention_norm.apply(level, hidden, numbers),
            }
        };
        layer.inputs.apply(self.step, activations, count, &write, inputs);
    }

    /// Normalises and rotates the heads of queries and keys where they stand.
    fn turn_heads(&mut self, layer: &Layer) {
        let (plan, level, head_width) = (self.plan, self.step.level(), self.plan.spec.head_width);
        if plan.rotary.is_none() && layer.head_norms.is_none() {
            return;
        }
        let Buffers { angles, inputs, .. } = self.buffers;
        let angles = &*angles;
        let turn = |projection: usize, row: usize, heads: &mut [f32]| {
            if projection == VALUE {
                return;
            }
            if let Some(norms) = &layer.head_norms {
                let norm = &norms[usize::from(projection == KEY)];
                heads.chunks_exact_mut(head_width).for_each(|head| norm.apply_in_place(level, head));
            }
            if let Some(rotary) = &plan.rotary {
                let length = rotary.angles_len();
                rotary.rotate(level, &angles[row * length..][..length], head_width, heads);
            }
        };
        layer.inputs.change(self.step, self.rows.len(), inputs, &turn);
    }

    fn feed_forward(&mut self, layer: &Layer) {
        let (plan, count, level) = (self.plan, self.rows.len(), self.step.level());
        let width = plan.spec.width;
        let Buffers { hidden, expanded, activations, .. } = self.buffers;
        let numbers = &hidden[..count * width];
        let write = |row: usize, output: &mut [f32]| {
            let numbers = &numbers[row * width..][..width];
            match plan.norms_after() {
                true => output.copy_from_slice(numbers),
                false => layer.feed_forward_norm.apply(level, numbers, output),
            }
        };
        layer.expansion.apply(self.step, activations, count, &write, expanded);
        let expanded = &*expanded;
        let expansion = |projection: usize, row: usize| layer.expansion.row(projection, row, expanded);
        let function = plan.spec.feed_forward;
        let form = layer.down.form();
        activations.fill(self.step, form, count, plan.spec.feed_forward_width, &|row, output| match function {
            FeedForward::GatedSilu => rows::silu_gated(level, expansion(0, row), expansion(1, row), output),
            FeedForward::GatedGelu => rows::gelu_erf_gated(level, expansion(0, row), expansion(1, row), output),
            FeedForward::GatedGeluTanh => rows::gelu_tanh_gated(level, expansion(0, row), expansion(1, row), output),
            FeedForward::Gelu => rows::gelu_erf(level, expansion(0, row), output),
            FeedForward::GeluTanh => rows::gelu_tanh(level, expansion(0, row), output),
        });
        layer.down.apply(self.step, activations, &mut hidden[..count * width], true);
        self.norm_after(&layer.feed_forward_norm, level);
    }

    /// Normalises what goes to the next part, where norms stand after the parts.
    fn norm_after(&mut self, norm: &NormWeights, level: Level) {
        if !self.plan.norms_after() {
            return;
        }
        let (width, count) = (self.plan.spec.width, self.rows.len());
        let Buffers { hidden, normalised, .. } = self.buffers;
        let (hidden, normalised) = (resized(hidden, count * width), resized(normalised, count * width));
        let numbers = &*hidden;
        self.step.for_each_piece(normalised, width, &|row, output| {
            norm.apply(level, &numbers[row * width..][..width], output);
        });
        hidden.copy_from_slice(normalised);
    }

    fn logits(&mut self, wanted: &[usize], logits: &mut [f32]) {
        let (plan, level, width) = (self.plan, self.step.level(), self.plan.spec.width);
        let Buffers { hidden, activations, .. } = self.buffers;
        let hidden = &*hidden;
        activations.fill(self.step, plan.output.form(), wanted.len(), width, &|row, output| {
            let hidden = &hidden[wanted[row] * width..][..width];
            match &plan.final_norm {
                Some(norm) => norm.apply(level, hidden, output),
                None => output.copy_from_slice(hidden),
            }
        });
        plan.output.apply(self.step, activations, logits, false);
    }
}
