//! The forward pass: rows of all images of a batch, layer by layer.

use std::ops::Range;

use seedhouse_kernels::{Level, MutualAttention, Nonlinearity, RowView, Step, attend_mutually, rows};

use super::Sizes;
use crate::layers::{Convolution, LayerNorm, Linear, Map};
use crate::vision::network::{Buffers, Network, Sides};

/// Rows that are computed together: enough for every thread, and few enough that the widest results stay in the last cache.
const MOST_ROWS: usize = 1600;

/// The network, ready to compute with.
pub(super) struct Vit {
    pub(super) sizes: Sizes,
    pub(super) attention: MutualAttention,
    pub(super) nonlinearity: Nonlinearity,
    pub(super) patches: Convolution,
    /// A row for the class token, which holds the token as well, and one for each patch.
    pub(super) positions: Vec<f32>,
    pub(super) layers: Vec<Layer>,
    pub(super) final_norm: LayerNorm,
    pub(super) classifier: Linear,
}

pub(super) struct Layer {
    pub(super) attention_norm: LayerNorm,
    /// Queries, keys and values.
    pub(super) inputs: Linear,
    pub(super) attention_output: Linear,
    pub(super) feed_forward_norm: LayerNorm,
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl Network for Vit {
    fn input(&self) -> (usize, Sides) {
        (self.sizes.image_channels, Sides::Fixed([self.sizes.image_size; 2]))
    }

    fn classifier(&self) -> &Linear {
        &self.classifier
    }

    fn images_together(&self, _: [usize; 2]) -> usize {
        MOST_ROWS / self.sizes.rows()
    }

    fn features(&self, step: &mut Step<'_>, buffers: &mut Buffers, features: &mut [f32]) {
        self.embed(step, buffers);
        let (count, rows) = (buffers.images.count, self.sizes.rows());
        let sequences: Vec<Range<usize>> = (0..count).map(|image| image * rows..(image + 1) * rows).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            self.attend(step, buffers, layer, &sequences);
            if index + 1 == self.layers.len() {
                keep_first_rows(buffers, count, rows);
            }
            self.feed_forward(step, buffers, layer);
        }
        let (level, width) = (step.level(), self.sizes.width);
        let hidden = buffers.maps[0].numbers();
        step.for_each_piece(features, width, &|image, features| {
            self.final_norm.apply(level, &hidden[image * width..][..width], features);
        });
    }

    fn bytes(&self) -> usize {
        let of = |layer: &Layer| {
            layer.inputs.bytes() + layer.attention_output.bytes() + layer.up.bytes() + layer.down.bytes()
        };
        let layers: usize = self.layers.iter().map(of).sum();
        self.patches.bytes() + size_of_val(&self.positions[..]) + layers + self.classifier.bytes()
    }
}

impl Vit {
    /// Writes the rows of all images to the first map.
    fn embed(&self, step: &mut Step<'_>, buffers: &mut Buffers) {
        let (width, rows, level) = (self.sizes.width, self.sizes.rows(), step.level());
        let Buffers { images, maps: [hidden, patches, ..], convolution, .. } = buffers;
        self.patches.apply(step, convolution, images, patches);
        hidden.reset(images.count, [1, rows], width);
        let patches = patches.numbers();
        step.for_each_piece(hidden.numbers_mut(), width, &|row, numbers| {
            let (image, row) = (row / rows, row % rows);
            let position = &self.positions[row * width..][..width];
            match row.checked_sub(1) {
                None => numbers.copy_from_slice(position),
                Some(patch) => {
                    let patch = &patches[(image * (rows - 1) + patch) * width..][..width];
                    rows::add(level, patch, position, numbers);
                }
            }
        });
    }

    /// Leaves the attended values in the third map, and adds what comes of them to the rows. In the last layer that is left to
    /// the class tokens.
    fn attend(&self, step: &mut Step<'_>, buffers: &mut Buffers, layer: &Layer, sequences: &[Range<usize>]) {
        let (width, level) = (self.sizes.width, step.level());
        let Buffers { maps: [hidden, inputs, attended, _], activations, .. } = buffers;
        let count = hidden.count * hidden.sides[1];
        inputs.reset(hidden.count, hidden.sides, layer.inputs.outputs());
        attended.reset(hidden.count, hidden.sides, width);
        let numbers = hidden.numbers();
        let norm = |row: usize, output: &mut [f32]| {
            layer.attention_norm.apply(level, &numbers[row * width..][..width], output);
        };
        layer.inputs.apply(step, activations, count, &norm, (inputs.numbers_mut(), false));
        let views = [0, 1, 2].map(|part| RowView::new(&inputs.numbers()[part * width..], 3 * width));
        attend_mutually(step, sequences, views, self.attention, attended.numbers_mut());
    }

    /// What follows the attention, row by row.
    fn feed_forward(&self, step: &mut Step<'_>, buffers: &mut Buffers, layer: &Layer) {
        let (width, level) = (self.sizes.width, step.level());
        let Buffers { maps: [hidden, expanded, attended, _], activations, .. } = buffers;
        let count = hidden.count * hidden.sides[1];
        let numbers = attended.numbers();
        let copy = |row: usize, output: &mut [f32]| output.copy_from_slice(&numbers[row * width..][..width]);
        layer.attention_output.apply(step, activations, count, &copy, (hidden.numbers_mut(), true));
        let inner = layer.up.outputs();
        expanded.reset(hidden.count, hidden.sides, inner);
        let numbers = hidden.numbers();
        let norm = |row: usize, output: &mut [f32]| {
            layer.feed_forward_norm.apply(level, &numbers[row * width..][..width], output);
        };
        layer.up.apply(step, activations, count, &norm, (expanded.numbers_mut(), false));
        let numbers = expanded.numbers();
        let function = |row: usize, output: &mut [f32]| {
            apply(self.nonlinearity, level, &numbers[row * inner..][..inner], output);
        };
        layer.down.apply(step, activations, count, &function, (hidden.numbers_mut(), true));
    }
}

fn apply(function: Nonlinearity, level: Level, input: &[f32], output: &mut [f32]) {
    match function {
        Nonlinearity::GeluErf => rows::gelu_erf(level, input, output),
        Nonlinearity::GeluTanh => rows::gelu_tanh(level, input, output),
        Nonlinearity::Silu => rows::silu(level, input, output),
        Nonlinearity::Relu | Nonlinearity::Relu6 => {
            output.copy_from_slice(input);
            function.apply(level, output);
        }
    }
}

/// Leaves the class tokens of the rows and of what they attended to.
fn keep_first_rows(buffers: &mut Buffers, count: usize, rows: usize) {
    let [hidden, _, attended, _] = &mut buffers.maps;
    for map in [hidden, attended] {
        keep_first_rows_of(map, count, rows);
    }
}

fn keep_first_rows_of(map: &mut Map, count: usize, rows: usize) {
    let width = map.channels;
    for image in 1..count {
        map.numbers_mut().copy_within(image * rows * width..image * rows * width + width, image * width);
    }
    map.reset(count, [1, 1], width);
}
