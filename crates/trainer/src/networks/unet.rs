//! The U-Net that `crates/native/src/diffusion/layout.rs` describes, with doubled pixels on the way up.

use super::{DEVIATION, he};
use crate::numbers::{Activation, Then};
use crate::parameters::{ParameterId, Parameters, Start};
use crate::tape::{Attention, Convolution, Geometry, Tape, Var};
use std::sync::Arc;

/// torch's own.
const EPSILON: f32 = 1e-5;
const SAME: Convolution = Convolution { side: 3, stride: 1, padding: 1 };
const HALF: Convolution = Convolution { side: 3, stride: 2, padding: 1 };
/// The slowest sinusoid of a timestep has this period, times 2 pi.
const LONGEST_PERIOD: f64 = 10_000.0;

/// The sizes of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) image_size: usize,
    pub(crate) image_channels: usize,
    pub(crate) base_channels: usize,
    pub(crate) time_emb_dim: usize,
    pub(crate) num_classes: Option<usize>,
    pub(crate) num_groups: usize,
    /// `None` for one head for each 64 channels.
    pub(crate) num_heads: Option<usize>,
    /// The channels of each level.
    pub(crate) levels: Vec<usize>,
    /// Blocks of a level.
    pub(crate) blocks: usize,
    /// Whether the last level has attention; the middle always has it.
    pub(crate) has_level_attention: bool,
}

/// A network.
#[derive(Debug)]
pub(crate) struct Unet {
    pub(crate) sizes: Sizes,
    time: [[ParameterId; 2]; 2],
    classes: Option<ParameterId>,
    input: [ParameterId; 2],
    down: Vec<Level>,
    middle: ([Block; 2], AttentionPart),
    up: Vec<Level>,
    output_norm: [ParameterId; 2],
    output: [ParameterId; 2],
}

#[derive(Debug)]
struct Level {
    stages: Vec<(Block, Option<AttentionPart>)>,
    resampling: Option<[ParameterId; 2]>,
}

#[derive(Debug)]
struct Block {
    norm1: [ParameterId; 2],
    conv1: [ParameterId; 2],
    time: [ParameterId; 2],
    norm2: [ParameterId; 2],
    conv2: [ParameterId; 2],
    shortcut: Option<[ParameterId; 2]>,
}

#[derive(Debug)]
struct AttentionPart {
    norm: [ParameterId; 2],
    inputs: [ParameterId; 2],
    output: [ParameterId; 2],
}

/// Adds weights.
struct Builder<'p> {
    parameters: &'p mut Parameters,
    time_emb_dim: usize,
}

fn names(name: &str) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("{name}.{part}"))
}

impl Builder<'_> {
    fn norm(&mut self, name: &str, channels: usize) -> [ParameterId; 2] {
        let [gain, bias] = names(name);
        [self.parameters.row(&gain, channels, 1.0), self.parameters.row(&bias, channels, 0.0)]
    }

    fn convolution(&mut self, name: &str, [outputs, inputs, side]: [usize; 3], factor: f32) -> [ParameterId; 2] {
        let [weight, bias] = names(name);
        let start = Start::Normal(he(inputs * side * side) * factor);
        [self.parameters.convolution(&weight, [outputs, inputs, side], start), self.parameters.row(&bias, outputs, 0.0)]
    }

    fn matrix(&mut self, name: &str, outputs: usize, inputs: usize) -> [ParameterId; 2] {
        let [weight, bias] = names(name);
        let start = Start::Normal((1.0 / inputs as f32).sqrt());
        [self.parameters.matrix(&weight, outputs, inputs, start), self.parameters.row(&bias, outputs, 0.0)]
    }

    fn block(&mut self, name: &str, inputs: usize, outputs: usize) -> Block {
        let part = |part: &str| format!("{name}.{part}");
        Block {
            norm1: self.norm(&part("norm1"), inputs),
            conv1: self.convolution(&part("conv1"), [outputs, inputs, 3], 1.0),
            time: self.matrix(&part("time"), outputs, self.time_emb_dim),
            norm2: self.norm(&part("norm2"), outputs),
            // A block begins with passing on what it gets.
            conv2: self.convolution(&part("conv2"), [outputs, outputs, 3], 0.1),
            shortcut: (inputs != outputs).then(|| self.convolution(&part("shortcut"), [outputs, inputs, 1], 0.7)),
        }
    }

    fn attention(&mut self, name: &str, channels: usize) -> AttentionPart {
        let parts = |end: &str| ["query", "key", "value"].map(|part| (format!("{name}.{part}.{end}"), channels));
        let start = Start::Normal((1.0 / channels as f32).sqrt());
        let [weight, bias] = names(&format!("{name}.output"));
        AttentionPart {
            norm: self.norm(&format!("{name}.norm"), channels),
            inputs: [
                self.parameters.joined(&parts("weight"), channels, start),
                self.parameters.rows(&parts("bias"), 0.0),
            ],
            output: [
                self.parameters.matrix(&weight, channels, channels, Start::Normal(DEVIATION)),
                self.parameters.row(&bias, channels, 0.0),
            ],
        }
    }
}

impl Unet {
    /// Adds the weights.
    pub(crate) fn new(sizes: Sizes, parameters: &mut Parameters) -> Unet {
        let (base, time_emb_dim) = (sizes.base_channels, sizes.time_emb_dim);
        let mut builder = Builder { parameters, time_emb_dim };
        let time = [
            builder.matrix("time_embedding.first", time_emb_dim, base),
            builder.matrix("time_embedding.second", time_emb_dim, time_emb_dim),
        ];
        let classes = sizes.num_classes.map(|classes| {
            builder.parameters.table("class_embedding.weight", &[classes + 1, time_emb_dim], Start::Normal(DEVIATION))
        });
        let input = builder.convolution("input", [base, sizes.image_channels, 3], 0.7);
        let last = sizes.levels.len() - 1;
        let has_attention = |level: usize| sizes.has_level_attention && level == last;
        let (mut channels, mut left, mut down) = (base, Vec::new(), Vec::new());
        for (level, width) in sizes.levels.iter().copied().enumerate() {
            let stage = |block: usize, channels: &mut usize, builder: &mut Builder<'_>| {
                let made = builder.block(&format!("down.{level}.blocks.{block}"), *channels, width);
                *channels = width;
                (
                    made,
                    has_attention(level).then(|| builder.attention(&format!("down.{level}.attention.{block}"), width)),
                )
            };
            let stages = (0..sizes.blocks).map(|block| stage(block, &mut channels, &mut builder)).collect();
            left.extend(std::iter::repeat_n(width, sizes.blocks));
            let downsample = || builder.convolution(&format!("down.{level}.downsample"), [width, width, 3], 0.7);
            down.push(Level { stages, resampling: (level < last).then(downsample) });
        }
        let first = builder.block("middle.0", channels, channels);
        let attention = builder.attention("middle.attention", channels);
        let middle = ([first, builder.block("middle.1", channels, channels)], attention);
        let mut up = Vec::new();
        for (level, width) in sizes.levels.iter().copied().enumerate().rev() {
            let mut stages = Vec::new();
            for block in 0..sizes.blocks {
                let inputs = channels + left.pop().unwrap_or(0);
                let made = builder.block(&format!("up.{level}.blocks.{block}"), inputs, width);
                channels = width;
                let attention = || builder.attention(&format!("up.{level}.attention.{block}"), width);
                stages.push((made, has_attention(level).then(attention)));
            }
            let upsample = || builder.convolution(&format!("up.{level}.upsample"), [width, width, 3], 0.7);
            up.push(Level { stages, resampling: (level > 0).then(upsample) });
        }
        let output_norm = builder.norm("output_norm", channels);
        let output = builder.convolution("output", [sizes.image_channels, channels, 3], 0.1);
        Unet { sizes, time, classes, input, down, middle, up, output_norm, output }
    }

    /// Returns the sinusoids of timesteps, a row for each.
    fn sinusoids(&self, timesteps: &[usize]) -> Vec<f32> {
        let half = self.sizes.base_channels / 2;
        let frequency = |index: usize| (-LONGEST_PERIOD.ln() * index as f64 / half as f64).exp();
        let row = |timestep: &usize| {
            let angles: Vec<f64> = (0..half).map(|index| *timestep as f64 * frequency(index)).collect();
            let cosines: Vec<f32> = angles.iter().map(|angle| angle.cos() as f32).collect();
            cosines.into_iter().chain(angles.into_iter().map(|angle| angle.sin() as f32))
        };
        timesteps.iter().flat_map(row).collect()
    }

    /// Returns what is predicted of images, a pixel a row. `classes` has a class for each image, where the network has classes; the
    /// number of classes stands for none.
    pub(crate) fn run(
        &self,
        tape: &mut Tape<'_>,
        images: Var,
        timesteps: &[usize],
        classes: &[u32],
        dropout: f32,
    ) -> Var {
        let side = self.sizes.image_size;
        let mut geometry = Geometry { images: timesteps.len(), height: side, width: side };
        let sinusoids = tape.input(self.sinusoids(timesteps), self.sizes.base_channels);
        let [first, second] = self.time;
        let embedded = tape.linear(sinusoids, first[0], Some(first[1]));
        let embedded = tape.activate(embedded, Activation::Silu);
        let embedded = match self.classes {
            None => tape.linear(embedded, second[0], Some(second[1])),
            Some(table) => {
                let of_classes = tape.embed(Arc::from(classes), table, None, 1);
                tape.add_linear(of_classes, embedded, second[0], Some(second[1]))
            }
        };
        let time = tape.activate(embedded, Activation::Silu);
        let (mut hidden, _) = tape.convolve(images, geometry, SAME, self.input[0], Some(self.input[1]));
        let mut left = Vec::new();
        for level in &self.down {
            for (block, attention) in &level.stages {
                hidden = self.block(tape, block, hidden, time, geometry, dropout);
                hidden = self.attend(tape, attention.as_ref(), hidden, geometry);
                left.push(hidden);
            }
            if let Some([weight, bias]) = level.resampling {
                (hidden, geometry) = tape.convolve(hidden, geometry, HALF, weight, Some(bias));
            }
        }
        let (blocks, attention) = &self.middle;
        hidden = self.block(tape, &blocks[0], hidden, time, geometry, dropout);
        hidden = self.attend(tape, Some(attention), hidden, geometry);
        hidden = self.block(tape, &blocks[1], hidden, time, geometry, dropout);
        for level in &self.up {
            for (block, attention) in &level.stages {
                if let Some(skipped) = left.pop() {
                    hidden = tape.join(hidden, skipped);
                }
                hidden = self.block(tape, block, hidden, time, geometry, dropout);
                hidden = self.attend(tape, attention.as_ref(), hidden, geometry);
            }
            if let Some([weight, bias]) = level.resampling {
                let (doubled, of_doubled) = tape.double_pixels(hidden, geometry);
                (hidden, geometry) = tape.convolve(doubled, of_doubled, SAME, weight, Some(bias));
            }
        }
        let normed = tape.group_norm(hidden, geometry, self.output_norm, (self.sizes.num_groups, EPSILON), Then::Silu);
        tape.convolve(normed, geometry, SAME, self.output[0], Some(self.output[1])).0
    }

    fn block(
        &self,
        tape: &mut Tape<'_>,
        block: &Block,
        input: Var,
        time: Var,
        geometry: Geometry,
        dropout: f32,
    ) -> Var {
        let groups = (self.sizes.num_groups, EPSILON);
        let normed = tape.group_norm(input, geometry, block.norm1, groups, Then::Silu);
        let (inner, _) = tape.convolve(normed, geometry, SAME, block.conv1[0], Some(block.conv1[1]));
        let of_time = tape.linear(time, block.time[0], Some(block.time[1]));
        let inner = tape.add_to_pixels(inner, of_time);
        let normed = tape.group_norm(inner, geometry, block.norm2, groups, Then::Silu);
        tape.dropout(normed, dropout);
        let (inner, _) = tape.convolve(normed, geometry, SAME, block.conv2[0], Some(block.conv2[1]));
        match block.shortcut {
            None => tape.add(input, inner),
            Some([weight, bias]) => tape.add_linear(inner, input, weight, Some(bias)),
        }
    }

    fn attend(&self, tape: &mut Tape<'_>, part: Option<&AttentionPart>, input: Var, geometry: Geometry) -> Var {
        let Some(part) = part else { return input };
        let channels = tape.columns(input);
        let heads = self.sizes.num_heads.unwrap_or_else(|| (channels / 64).max(1));
        let head_width = channels / heads;
        let attention =
            Attention { length: geometry.pixels(), heads, key_value_heads: heads, head_width, is_causal: false };
        let normed = tape.group_norm(input, geometry, part.norm, (self.sizes.num_groups, EPSILON), Then::Nothing);
        let inputs = tape.linear(normed, part.inputs[0], Some(part.inputs[1]));
        let attended = tape.attend(inputs, attention);
        tape.add_linear(input, attended, part.output[0], Some(part.output[1]))
    }
}
