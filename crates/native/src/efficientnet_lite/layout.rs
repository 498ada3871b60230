//! The widths of a network, and the shape that every tensor must have because of them.

use std::collections::BTreeSet;

use seedhouse_core::{Error, Result};

use crate::torch::checkpoint::Checkpoint;
use crate::torch::quote;

/// The side of the stem's window.
pub(super) const STEM_KERNEL: usize = 3;
/// The step of the stem.
pub(super) const STEM_STRIDE: usize = 2;

/// What batch normalisation has for each channel.
pub(super) const NORM_PARTS: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

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
    /// Reads the widths and checks the presence and the shape of every tensor.
    pub(super) fn read(checkpoint: &Checkpoint<'_>) -> Result<Layout> {
        let stem = Shape::of(checkpoint, "_conv_stem.weight", 4)?;
        let head = Shape::of(checkpoint, "_conv_head.weight", 4)?;
        let classifier = Shape::of(checkpoint, "_fc.weight", 2)?;
        let layout = Layout {
            image_channels: stem.dimension(1)?,
            base_channels: stem.dimension(0)?,
            blocks: read_blocks(checkpoint, stem.dimension(0)?)?,
            head_channels: head.dimension(0)?,
            num_classes: classifier.dimension(0)?,
        };
        layout.check(checkpoint)?;
        Ok(layout)
    }

    fn check(&self, checkpoint: &Checkpoint<'_>) -> Result<()> {
        let mut expected = BTreeSet::new();
        for (name, shape) in self.expected() {
            let found = Shape::of(checkpoint, &name, shape.len())?;
            if found.shape != shape {
                return Err(wrong_shape(checkpoint, &name, found.shape, &format!("{shape:?}")));
            }
            expected.insert(name);
        }
        let is_known = |name: &str| match name.strip_suffix("num_batches_tracked") {
            Some(norm) => expected.contains(&format!("{norm}running_mean")),
            None => expected.contains(name),
        };
        let superfluous: Vec<&str> = checkpoint.tensors().keys().copied().filter(|name| !is_known(name)).collect();
        match superfluous.first() {
            None => Ok(()),
            Some(first) => {
                let (count, first) = (superfluous.len(), quote(first));
                let reason = format!("{count} tensors are not part of EfficientNet-Lite0, the first being {first}");
                Err(Error::malformed(checkpoint.file(), reason))
            }
        }
    }

    /// Returns the name and the shape of every tensor that counts.
    fn expected(&self) -> Vec<(String, Vec<usize>)> {
        let mut expected = Vec::new();
        let mut convolution = |name: String, norm: String, shape: [usize; 4]| {
            expected.push((format!("{name}.weight"), shape.to_vec()));
            expected.extend(NORM_PARTS.map(|part| (format!("{norm}.{part}"), vec![shape[0]])));
        };
        let stem = [self.base_channels, self.image_channels, STEM_KERNEL, STEM_KERNEL];
        convolution("_conv_stem".into(), "_bn0".into(), stem);
        for block in &self.blocks {
            let name = |part: &str| format!("{}{part}", block.prefix);
            if block.expands {
                convolution(name("_expand_conv"), name("_bn0"), [block.expanded, block.inputs, 1, 1]);
            }
            let window = [block.expanded, 1, block.kernel, block.kernel];
            convolution(name("_depthwise_conv"), name("_bn1"), window);
            convolution(name("_project_conv"), name("_bn2"), [block.outputs, block.expanded, 1, 1]);
        }
        let features = self.blocks.last().map_or(self.base_channels, |block| block.outputs);
        convolution("_conv_head".into(), "_bn1".into(), [self.head_channels, features, 1, 1]);
        expected.push(("_fc.weight".into(), vec![self.num_classes, self.head_channels]));
        expected.push(("_fc.bias".into(), vec![self.num_classes]));
        expected
    }
}

fn read_blocks(checkpoint: &Checkpoint<'_>, base_channels: usize) -> Result<Vec<BlockLayout>> {
    let mut blocks: Vec<BlockLayout> = Vec::new();
    for stage in &LITE0 {
        for repeat in 0..stage.repeats {
            let prefix = format!("_blocks.{}.", blocks.len());
            let inputs = blocks.last().map_or(base_channels, |block| block.outputs);
            let width = |part: &str| Shape::of(checkpoint, &format!("{prefix}{part}.weight"), 4)?.dimension(0);
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

/// The shape of a tensor that is there.
struct Shape<'c> {
    checkpoint: &'c Checkpoint<'c>,
    name: String,
    shape: &'c [usize],
}

impl<'c> Shape<'c> {
    fn of(checkpoint: &'c Checkpoint<'_>, name: &str, dimensions: usize) -> Result<Shape<'c>> {
        let Some(tensor) = checkpoint.tensors().get(name) else {
            let reason = format!("tensor `{name}` of EfficientNet-Lite0 is missing");
            return Err(Error::malformed(checkpoint.file(), reason));
        };
        if tensor.shape.len() != dimensions {
            return Err(wrong_shape(checkpoint, name, &tensor.shape, &format!("{dimensions} dimensions")));
        }
        Ok(Shape { checkpoint, name: name.to_owned(), shape: &tensor.shape })
    }

    /// Returns a width, which must not be zero.
    fn dimension(&self, index: usize) -> Result<usize> {
        match self.shape[index] {
            0 => Err(wrong_shape(self.checkpoint, &self.name, self.shape, "no dimension of 0")),
            size => Ok(size),
        }
    }
}

fn wrong_shape(checkpoint: &Checkpoint<'_>, name: &str, found: &[usize], expected: &str) -> Error {
    let reason = format!("tensor `{name}` has the shape {found:?}, but EfficientNet-Lite0 has {expected} there");
    Error::malformed(checkpoint.file(), reason)
}
