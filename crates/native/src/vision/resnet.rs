//! Residual networks (He et al. 2015, <https://arxiv.org/abs/1512.03385>) with the tensor names of torchvision, and in folders with
//! those of the transformers library.
//!
//! ```text
//! stem 7x7/2, max 3x3/2 -> 4 stages of blocks -> mean -> linear
//! basic block       3x3/s, 3x3, + input
//! bottleneck block  1x1, 3x3/s, 1x1, + input        (the step in the middle, as torchvision has it since 2016)
//! ```
//!
//! Kind, number and widths of the blocks are read from the tensors. Where the shape changes, the input is added by a 1x1 convolution.

mod graph;
mod layout;

use seedhouse_core::Result;
use seedhouse_kernels::{Nonlinearity, Step, Window, global_average_pool, max_pool};

use self::layout::{BlockLayout, Layer, TORCHVISION};
pub(super) use self::layout::{HUGGING_FACE, Layout};
use super::families::Family;
use super::network::{Buffers, Network, Sides};
use crate::layers::{Compile, Convolution, Linear, Square, Tensors, Weights};

/// The family.
pub(super) const FAMILY: Family = Family {
    architecture: "resnet",
    title: "ResNet",
    recognises,
    describe: |weights, _| Ok(Box::new(Layout::read(weights, &TORCHVISION)?)),
};

/// torch's own.
const EPSILON: f32 = 1e-5;

/// The network halves its planes five times.
const SMALLEST_SIDE: usize = 32;

fn recognises(tensors: &Tensors<'_>) -> bool {
    const SIGNS: [&str; 2] = ["layer1.0.conv1.weight", "fc.weight"];
    tensors.has_normalised("conv1", "bn1") && SIGNS.iter().all(|name| tensors.has(name))
}

/// The network, ready to compute with.
struct ResNet {
    image_channels: usize,
    stem: Convolution,
    blocks: Vec<Block>,
    classifier: Linear,
}

struct Block {
    /// The convolutions but the last.
    first: Vec<Convolution>,
    /// Adds to the input of the block, or to what the shortcut made of it.
    last: Convolution,
    shortcut: Option<Convolution>,
}

impl ResNet {
    fn new(layout: &Layout, weights: &Weights<'_>, compile: &Compile) -> Result<ResNet> {
        let blocks = layout.blocks.iter().map(|block| Block::new(block, weights, compile));
        let relu = Some(Nonlinearity::Relu);
        Ok(ResNet {
            image_channels: layout.image_channels,
            stem: read(&layout.stem, weights, compile, relu)?,
            blocks: blocks.collect::<Result<_>>()?,
            classifier: Linear::read(weights, compile, &[layout.classifier.to_owned()])?,
        })
    }
}

fn read(layer: &Layer, weights: &Weights<'_>, compile: &Compile, then: Option<Nonlinearity>) -> Result<Convolution> {
    let square = Square::new(layer.size(), layer.stride, layer.size() / 2);
    Convolution::normalised(weights, compile, [&layer.convolution, &layer.norm], EPSILON, square, then)
}

impl Block {
    fn new(layout: &BlockLayout, weights: &Weights<'_>, compile: &Compile) -> Result<Block> {
        let relu = Some(Nonlinearity::Relu);
        let (last, first) = layout.layers.split_last().expect("a block has two or three layers");
        Ok(Block {
            first: first.iter().map(|layer| read(layer, weights, compile, relu)).collect::<Result<_>>()?,
            last: read(last, weights, compile, relu)?,
            shortcut: layout.shortcut.as_ref().map(|layer| read(layer, weights, compile, None)).transpose()?,
        })
    }

    fn bytes(&self) -> usize {
        self.first.iter().chain([&self.last]).chain(&self.shortcut).map(Convolution::bytes).sum()
    }
}

impl Network for ResNet {
    fn input(&self) -> (usize, Sides) {
        (self.image_channels, Sides::AtLeast(SMALLEST_SIDE))
    }

    fn classifier(&self) -> &Linear {
        &self.classifier
    }

    fn images_together(&self, [height, width]: [usize; 2]) -> usize {
        // The widest map has 64 numbers for each 4 pixels of the image, or 256 for each 16.
        (16 << 20) / (height * width * 64)
    }

    fn features(&self, step: &mut Step<'_>, buffers: &mut Buffers, features: &mut [f32]) {
        let Buffers { images, maps: [current, one, other, added], convolution, .. } = buffers;
        self.stem.apply(step, convolution, images, one);
        let window = Window::square(3, 2, 1);
        current.reset(one.count, window.output(one.sides), one.channels);
        max_pool(step, one.images(), window, current.numbers_mut());
        for block in &self.blocks {
            for (index, layer) in block.first.iter().enumerate() {
                match index {
                    0 => layer.apply(step, convolution, current, one),
                    _ => {
                        layer.apply(step, convolution, one, other);
                        std::mem::swap(one, other);
                    }
                }
            }
            if let Some(shortcut) = &block.shortcut {
                shortcut.apply(step, convolution, current, added);
                std::mem::swap(current, added);
            }
            block.last.add(step, convolution, one, current);
        }
        global_average_pool(step, current.images(), features);
    }

    fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Block::bytes).sum();
        self.stem.bytes() + blocks + self.classifier.bytes()
    }
}
