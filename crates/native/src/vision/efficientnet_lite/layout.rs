//! The widths of a network, and the shape that every tensor must have because of them.

use seedhouse_core::Result;
use serde_json::{Map, Value};

use super::{EPSILON, EfficientNetLite, FAMILY, graph};
use crate::export::builder::GraphBuilder;
use crate::layers::{Compile, Expected, Part, Weights};
use crate::vision::network::{Description, Drawn, Network};

/// The side of the stem's window.
pub(super) const STEM_KERNEL: usize = 3;
/// The step of the stem.
pub(super) const STEM_STRIDE: usize = 2;

/// A run of equal blocks; only the first takes the step.
struct Stage {
    repeats: usize,
    kernel: usize,
    stride: usize,
    expands: bool,
}

const fn stage(repeats: usize, kernel: usize, stride: usize, expands: bool) -> Stage {
    Stage { repeats, kernel, stride, expands }
}

const LITE0: [Stage; 7] = [
    stage(1, 3, 1, false),
    stage(2, 3, 2, true),
    stage(2, 5, 2, true),
    stage(3, 3, 2, true),
    stage(3, 5, 1, true),
    stage(4, 5, 2, true),
    stage(1, 3, 1, true),
];

/// The widths of a network.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) image_channels: usize,
    pub(super) base_channels: usize,
    pub(super) blocks: Vec<BlockLayout>,
    head_channels: usize,
    pub(super) num_classes: usize,
}

/// The widths of a block.
#[derive(Debug)]
pub(super) struct BlockLayout {
    /// How its tensors' names begin, with the dot.
    pub(super) prefix: String,
    pub(super) inputs: usize,
    /// Channels of the depthwise convolution.
    pub(super) expanded: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    /// Whether a convolution widens the input first.
    pub(super) expands: bool,
}

impl Layout {
    /// Reads the widths.
    pub(super) fn read(weights: &Weights<'_>) -> Result<Layout> {
        let [base_channels, image_channels, ..] = weights.sizes::<4>("_conv_stem.weight")?;
        let [head_channels, ..] = weights.sizes::<4>("_conv_head.weight")?;
        let [num_classes, _] = weights.sizes("_fc.weight")?;
        let blocks = read_blocks(weights, base_channels)?;
        Ok(Layout { image_channels, base_channels, blocks, head_channels, num_classes })
    }
}

impl Description for Layout {
    fn hyper_parameters(&self) -> Map<String, Value> {
        Map::from_iter([
            ("model_type".to_owned(), FAMILY.architecture.into()),
            ("image_channels".to_owned(), self.image_channels.into()),
            ("num_classes".to_owned(), self.num_classes.into()),
            ("base_channels".to_owned(), self.base_channels.into()),
        ])
    }

    fn expected(&self) -> Expected {
        let mut expected = Expected::default();
        let stem = [self.base_channels, self.image_channels, STEM_KERNEL, STEM_KERNEL];
        let mut add = |convolution: &str, norm: &str, shape, part| {
            expected.normalised([convolution, norm], shape, EPSILON, part);
        };
        add("_conv_stem", "_bn0", stem, Part::Filter);
        for block in &self.blocks {
            let name = |part: &str| format!("{}{part}", block.prefix);
            if block.expands {
                let widths = [block.expanded, block.inputs, 1, 1];
                add(&name("_expand_conv"), &name("_bn0"), widths, Part::Filter);
            }
            let window = [block.expanded, 1, block.kernel, block.kernel];
            // So few numbers that they are kept.
            add(&name("_depthwise_conv"), &name("_bn1"), window, Part::Exact);
            add(&name("_project_conv"), &name("_bn2"), [block.outputs, block.expanded, 1, 1], Part::Filter);
        }
        let features = self.blocks.last().map_or(self.base_channels, |block| block.outputs);
        add("_conv_head", "_bn1", [self.head_channels, features, 1, 1], Part::Filter);
        expected.layer("_fc", &[self.num_classes, self.head_channels]);
        expected
    }

    fn draw(&self, weights: &Weights<'_>, graph: &mut GraphBuilder<'_>) -> Result<Drawn> {
        graph::draw(self, weights, graph)
    }

    fn build(&self, weights: &Weights<'_>, compile: &Compile) -> Result<Box<dyn Network>> {
        Ok(Box::new(EfficientNetLite::new(self, weights, compile)?))
    }
}

fn read_blocks(weights: &Weights<'_>, base_channels: usize) -> Result<Vec<BlockLayout>> {
    let mut blocks: Vec<BlockLayout> = Vec::new();
    for stage in &LITE0 {
        for repeat in 0..stage.repeats {
            let prefix = format!("_blocks.{}.", blocks.len());
            let inputs = blocks.last().map_or(base_channels, |block| block.outputs);
            let width = |part: &str| Ok(weights.sizes::<4>(&format!("{prefix}{part}.weight"))?[0]);
            blocks.push(BlockLayout {
                inputs,
                expanded: if stage.expands { width("_expand_conv")? } else { inputs },
                outputs: width("_project_conv")?,
                kernel: stage.kernel,
                stride: if repeat == 0 { stage.stride } else { 1 },
                expands: stage.expands,
                prefix,
            });
        }
    }
    Ok(blocks)
}
