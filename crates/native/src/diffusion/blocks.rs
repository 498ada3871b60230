//! What a U-Net is made of.

use std::ops::Range;

use seedhouse_core::Result;
use seedhouse_kernels::{
    Activations, ConvolutionBuffers, GroupNormBuffers, MutualAttention, Nonlinearity, RowView, Step, attend_mutually,
};

use super::layout;
use super::settings::Settings;
use crate::layers::{Compile, Convolution, GroupNorm, Linear, Map, Square, Weights};

/// torch's own.
pub(super) const EPSILON: f32 = 1e-5;

/// Intermediate results within a block, kept from call to call.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    normed: Map,
    inner: Map,
    attended: Map,
    pub(super) activations: Activations,
    pub(super) convolution: ConvolutionBuffers,
    pub(super) norm: GroupNormBuffers,
}

impl Buffers {
    /// Returns the bytes that they have grown to.
    pub(super) fn bytes(&self) -> usize {
        let maps = [&self.normed, &self.inner, &self.attended].map(Map::bytes);
        let others = [self.activations.bytes(), self.convolution.bytes(), self.norm.bytes()];
        maps.into_iter().chain(others).sum()
    }
}

/// What ends a network: a norm, SiLU and a convolution.
#[derive(Debug)]
pub(super) struct End {
    norm: GroupNorm,
    convolution: Convolution,
}

impl End {
    pub(super) fn read(
        weights: &Weights<'_>,
        compile: &Compile,
        settings: &Settings,
        [norm, convolution]: [&str; 2],
    ) -> Result<End> {
        let norm = GroupNorm::read(weights, norm, (settings.num_groups, EPSILON), Some(Nonlinearity::Silu))?;
        Ok(End { norm, convolution: Convolution::read(weights, compile, convolution, Square::new(3, 1, 1))? })
    }

    /// Replaces the output.
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        buffers: &mut Buffers,
        input: &Map,
        addend: Option<RowView<'_>>,
        output: &mut Map,
    ) {
        self.norm.apply(step, &mut buffers.norm, input, addend, &mut buffers.normed);
        self.convolution.apply(step, &mut buffers.convolution, &buffers.normed, output);
    }

    /// Adds to the output.
    fn add(&self, step: &mut Step<'_>, buffers: &mut Buffers, input: &Map, addend: RowView<'_>, output: &mut Map) {
        self.norm.apply(step, &mut buffers.norm, input, Some(addend), &mut buffers.normed);
        self.convolution.add(step, &mut buffers.convolution, &buffers.normed, output);
    }

    pub(super) fn bytes(&self) -> usize {
        self.norm.bytes() + self.convolution.bytes()
    }
}

/// A residual block. The part of the time embedding is computed outside, for all blocks at once.
#[derive(Debug)]
pub(super) struct Block {
    first: End,
    second: End,
    shortcut: Option<Convolution>,
}

impl Block {
    pub(super) fn read(
        weights: &Weights<'_>,
        compile: &Compile,
        settings: &Settings,
        layout::Block { name, inputs, outputs }: &layout::Block,
    ) -> Result<Block> {
        let part = |norm: &str, convolution: &str| {
            let names = [format!("{name}.{norm}"), format!("{name}.{convolution}")];
            End::read(weights, compile, settings, [&names[0], &names[1]])
        };
        let shortcut = || Convolution::read(weights, compile, &format!("{name}.shortcut"), Square::new(1, 1, 0));
        Ok(Block {
            first: part("norm1", "conv1")?,
            second: part("norm2", "conv2")?,
            shortcut: (inputs != outputs).then(shortcut).transpose()?,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.first.bytes() + self.second.bytes() + self.shortcut.as_ref().map_or(0, Convolution::bytes)
    }

    /// Replaces the output. `time` has a row for each image, the part of this block.
    pub(super) fn apply(
        &self,
        step: &mut Step<'_>,
        buffers: &mut Buffers,
        input: &Map,
        time: RowView<'_>,
        output: &mut Map,
    ) {
        let mut inner = std::mem::take(&mut buffers.inner);
        self.first.apply(step, buffers, input, None, &mut inner);
        match &self.shortcut {
            Some(shortcut) => shortcut.apply(step, &mut buffers.convolution, input, output),
            None => output.copy_of(step, input),
        }
        self.second.add(step, buffers, &inner, time, output);
        buffers.inner = inner;
    }

    /// Replaces the output. What the input is then is not said: where channels stay as many, its memory becomes the output.
    pub(super) fn consume(
        &self,
        step: &mut Step<'_>,
        buffers: &mut Buffers,
        input: &mut Map,
        time: RowView<'_>,
        output: &mut Map,
    ) {
        if self.shortcut.is_some() {
            return self.apply(step, buffers, input, time, output);
        }
        let mut inner = std::mem::take(&mut buffers.inner);
        self.first.apply(step, buffers, input, None, &mut inner);
        self.second.add(step, buffers, &inner, time, input);
        buffers.inner = inner;
        std::mem::swap(input, output);
    }
}

/// Attention over the pixels of each image.
#[derive(Debug)]
pub(super) struct Attention {
    norm: GroupNorm,
    /// Queries, keys and values.
    inputs: Linear,
    output: Linear,
    options: MutualAttention,
}

impl Attention {
    pub(super) fn read(
        weights: &Weights<'_>,
        compile: &Compile,
        settings: &Settings,
        name: &str,
        channels: usize,
    ) -> Result<Attention> {
        let part = |part: &str| format!("{name}.{part}");
        let heads = settings.heads(channels);
        let head_width = channels / heads;
        Ok(Attention {
            norm: GroupNorm::read(weights, &part("norm"), (settings.num_groups, EPSILON), None)?,
            inputs: Linear::read(weights, compile, &["query", "key", "value"].map(part))?,
            output: Linear::read(weights, compile, &[part("output")])?,
            options: MutualAttention { heads, head_width, scale: 1.0 / (head_width as f32).sqrt() },
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.norm.bytes() + self.inputs.bytes() + self.output.bytes()
    }

    /// Adds to each pixel what it finds in the others.
    pub(super) fn change(&self, step: &mut Step<'_>, buffers: &mut Buffers, map: &mut Map) {
        let (pixels, channels) = (map.sides[0] * map.sides[1], map.channels);
        let Buffers { normed, inner, attended, activations, norm, .. } = buffers;
        self.norm.apply(step, norm, map, None, normed);
        inner.reset(map.count, map.sides, self.inputs.outputs());
        let numbers = normed.numbers();
        let row = |row: usize, into: &mut [f32]| into.copy_from_slice(&numbers[row * channels..][..channels]);
        self.inputs.apply(step, activations, map.count * pixels, &row, (inner.numbers_mut(), false));
        attended.reset(map.count, map.sides, channels);
        let views = [0, 1, 2].map(|part| RowView::new(&inner.numbers()[part * channels..], 3 * channels));
        let images: Vec<Range<usize>> = (0..map.count).map(|image| image * pixels..(image + 1) * pixels).collect();
        attend_mutually(step, &images, views, self.options, attended.numbers_mut());
        let numbers = attended.numbers();
        let row = |row: usize, into: &mut [f32]| into.copy_from_slice(&numbers[row * channels..][..channels]);
        self.output.apply(step, activations, map.count * pixels, &row, (map.numbers_mut(), true));
    }
}
