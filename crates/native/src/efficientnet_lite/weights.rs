//! From tensors to convolutions, with batch normalisation folded in.

use seedhouse_core::{Error, Result};

use super::Block;
use super::layout::{BlockLayout, NORM_PARTS, STEM_KERNEL, STEM_STRIDE};
use crate::convolution::{Activation, Grouping, Pointwise, Spatial};
use crate::torch::checkpoint::{Checkpoint, DataType};

/// What batch normalisation adds to the variance; TensorFlow's value, torch's own is 1e-5.
const EPSILON: f32 = 1e-3;

/// Returns the error about a tensor that is not of floating-point numbers of at most 32 bits.
pub(super) fn wrong_type(checkpoint: &Checkpoint<'_>, name: &str, found: DataType) -> Error {
    Error::unsupported(
        format!("tensor `{name}` of {}", checkpoint.file()),
        format!("it is {}; F32, F16 and BF16 are computed with", found.as_str()),
    )
}

/// A checkpoint whose layout was checked.
pub(super) struct Weights<'c> {
    checkpoint: &'c Checkpoint<'c>,
}

impl<'c> Weights<'c> {
    pub(super) fn new(checkpoint: &'c Checkpoint<'_>) -> Weights<'c> {
        Weights { checkpoint }
    }

    pub(super) fn stem(&self) -> Result<Spatial> {
        let (weights, bias) = self.folded("_conv_stem", "_bn0")?;
        Ok(Spatial {
            weights,
            bias,
            kernel: STEM_KERNEL,
            stride: STEM_STRIDE,
            grouping: Grouping::Dense,
            activation: Activation::Relu6,
        })
    }

    pub(super) fn head(&self) -> Result<Pointwise> {
        let (weights, bias) = self.folded("_conv_head", "_bn1")?;
        Ok(Pointwise::new(weights, bias, Activation::Relu6))
    }

    pub(super) fn block(&self, layout: &BlockLayout) -> Result<Block> {
        let folded = |convolution: &str, norm: &str| {
            self.folded(&format!("{}{convolution}", layout.prefix), &format!("{}{norm}", layout.prefix))
        };
        let expand = match layout.expands {
            true => {
                let (weights, bias) = folded("_expand_conv", "_bn0")?;
                Some(Pointwise::new(weights, bias, Activation::Relu6))
            }
            false => None,
        };
        let (weights, bias) = folded("_depthwise_conv", "_bn1")?;
        let depthwise = Spatial {
            weights,
            bias,
            kernel: layout.kernel,
            stride: layout.stride,
            grouping: Grouping::Depthwise,
            activation: Activation::Relu6,
        };
        let (weights, bias) = folded("_project_conv", "_bn2")?;
        let project = Pointwise::new(weights, bias, Activation::Identity);
        Ok(Block { expand, depthwise, project, skip: layout.stride == 1 && layout.inputs == layout.outputs })
    }

    /// Returns the values of a tensor, all of them finite.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let missing = || Error::Internal(format!("tensor `{name}` was there when the layout was checked"));
        let tensor = self.checkpoint.tensors().get(name).ok_or_else(missing)?;
        let values = tensor.to_f32().ok_or_else(|| wrong_type(self.checkpoint, name, tensor.data_type))?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(place) => {
                Err(self.malformed(format!("value {place} of tensor `{name}` is {}, not finite", values[place])))
            }
        }
    }

    /// Returns the weights and the bias that do what the convolution and the normalisation after it do.
    fn folded(&self, convolution: &str, norm: &str) -> Result<(Vec<f32>, Vec<f32>)> {
        let name = format!("{convolution}.weight");
        let mut weights = self.values(&name)?;
        let [gain, shift, mean, variance] = NORM_PARTS.map(|part| self.values(&format!("{norm}.{part}")));
        let (gain, mut bias, mean, variance) = (gain?, shift?, mean?, variance?);
        if let Some(negative) = variance.iter().find(|value| **value < 0.0) {
            return Err(self.malformed(format!("tensor `{norm}.running_var` has the negative variance {negative}")));
        }
        let per_channel = weights.len() / gain.len();
        for (channel, weights) in weights.chunks_mut(per_channel).enumerate() {
            let scale = gain[channel] / (variance[channel] + EPSILON).sqrt();
            weights.iter_mut().for_each(|weight| *weight *= scale);
            bias[channel] -= mean[channel] * scale;
        }
        if weights.iter().chain(&bias).any(|value| !value.is_finite()) {
            return Err(self.malformed(format!("tensor `{name}` normalised by `{norm}` is beyond what f32 holds")));
        }
        Ok((weights, bias))
    }

    fn malformed(&self, reason: String) -> Error {
        Error::malformed(self.checkpoint.file(), reason)
    }
}
