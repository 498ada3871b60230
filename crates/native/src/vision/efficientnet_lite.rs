//! EfficientNet-Lite0, an image classifier, with the tensor names of the `efficientnet_lite_pytorch` packages.
//!
//! An EfficientNet (Tan and Le 2019, <https://arxiv.org/abs/1905.11946>) without squeeze-and-excitation and with ReLU6
//! (<https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>):
//!
//! ```text
//! stem 3x3/2 -> 16 blocks of (1x1 expand, kxk depthwise, 1x1 project, + input) -> head 1x1 -> mean -> linear
//! ```
//!
//! Repeats, steps and windows are those of Lite0 ([`layout`]); all widths are read from the tensors. Batch
//! normalisation is folded into the convolutions when the weights are loaded.

mod graph;
mod layout;

use seedhouse_core::Result;
use seedhouse_kernels::{Nonlinearity, Step, global_average_pool};

use self::layout::{BlockLayout, Layout, STEM_KERNEL, STEM_STRIDE};
use super::families::Family;
use super::network::{Buffers, Network, Sides};
use crate::layers::{Compile, Convolution, DepthwiseConvolution, Linear, Map, Padding, Square, Tensors, Weights};

/// The family.
pub(super) const FAMILY: Family = Family {
    architecture: "efficientnet_lite0",
    title: "EfficientNet-Lite0",
    recognises,
    describe: |weights, _| Ok(Box::new(Layout::read(weights)?)),
};

/// What batch normalisation adds to the variance; TensorFlow's value, torch's own is 1e-5.
const EPSILON: f32 = 1e-3;

/// The network halves its planes five times.
const SMALLEST_SIDE: usize = 32;

/// Returns whether there are this family's names, and none of squeeze-and-excitation.
fn recognises(tensors: &Tensors<'_>) -> bool {
    const SIGNS: [&str; 4] =
        ["_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight", "_fc.weight"];
    SIGNS.iter().all(|name| tensors.has(name)) && !tensors.names().any(|name| name.contains("._se_"))
}

/// The network, ready to compute with.
struct EfficientNetLite {
    image_channels: usize,
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
    classifier: Linear,
}

/// An inverted residual block.
struct Block {
    expand: Option<Convolution>,
    depthwise: DepthwiseConvolution,
    project: Convolution,
    /// Whether the input is added to the output.
    skip: bool,
}

impl EfficientNetLite {
    fn new(layout: &Layout, weights: &Weights<'_>, compile: &Compile) -> Result<EfficientNetLite> {
        let relu6 = Some(Nonlinearity::Relu6);
        let read = |names, square| Convolution::normalised(weights, compile, names, EPSILON, square, relu6);
        let blocks = layout.blocks.iter().map(|block| Block::new(block, weights, compile));
        Ok(EfficientNetLite {
            image_channels: layout.image_channels,
            stem: read(["_conv_stem", "_bn0"], same(STEM_KERNEL, STEM_STRIDE))?,
            blocks: blocks.collect::<Result<_>>()?,
            head: read(["_conv_head", "_bn1"], same(1, 1))?,
            classifier: Linear::read(weights, compile, &["_fc".to_owned()])?,
        })
    }
}

fn same(size: usize, stride: usize) -> Square {
    Square { size, stride, padding: Padding::Same }
}

impl Network for EfficientNetLite {
    fn input(&self) -> (usize, Sides) {
        (self.image_channels, Sides::AtLeast(SMALLEST_SIDE))
    }

    fn classifier(&self) -> &Linear {
        &self.classifier
    }

    fn images_together(&self, [height, width]: [usize; 2]) -> usize {
        // The widest map has 96 numbers for each 4 pixels of the image.
        (16 << 20) / (height * width * 96)
    }

    fn features(&self, step: &mut Step<'_>, buffers: &mut Buffers, features: &mut [f32]) {
        let Buffers { images, maps: [current, expanded, spread, next], convolution, .. } = buffers;
        self.stem.apply(step, convolution, images, current);
        for block in &self.blocks {
            let input: &Map = match &block.expand {
                Some(expand) => {
                    expand.apply(step, convolution, current, expanded);
                    expanded
                }
                None => current,
            };
            block.depthwise.apply(step, input, spread);
            if block.skip {
                block.project.add(step, convolution, spread, current);
            } else {
                block.project.apply(step, convolution, spread, next);
                std::mem::swap(current, next);
            }
        }
        self.head.apply(step, convolution, current, expanded);
        global_average_pool(step, expanded.images(), features);
    }

    fn bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Block::bytes).sum();
        self.stem.bytes() + blocks + self.head.bytes() + self.classifier.bytes()
    }
}

impl Block {
    fn new(layout: &BlockLayout, weights: &Weights<'_>, compile: &Compile) -> Result<Block> {
        let relu6 = Some(Nonlinearity::Relu6);
        let name = |part: &str| format!("{}{part}", layout.prefix);
        let pointwise = |convolution: &str, norm: &str, then| {
            let names = [name(convolution), name(norm)];
            let names = [names[0].as_str(), names[1].as_str()];
            Convolution::normalised(weights, compile, names, EPSILON, same(1, 1), then)
        };
        let expand = match layout.expands {
            true => Some(pointwise("_expand_conv", "_bn0", relu6)?),
            false => None,
        };
        let (values, bias) = weights.folded(&name("_depthwise_conv"), &name("_bn1"), EPSILON)?;
        let depthwise = DepthwiseConvolution::new(same(layout.kernel, layout.stride), &values, bias, relu6);
        let project = pointwise("_project_conv", "_bn2", None)?;
        Ok(Block { expand, depthwise, project, skip: layout.stride == 1 && layout.inputs == layout.outputs })
    }

    fn bytes(&self) -> usize {
        let expand = self.expand.as_ref().map_or(0, Convolution::bytes);
        expand + self.depthwise.bytes() + self.project.bytes()
    }
}

#[cfg(test)]
mod tests;
