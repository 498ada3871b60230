//! The norms of a plan.

use seedhouse_kernels::{Level, rows};

use super::packing::Packing;
use crate::decoder::{Norm, NormKind, TensorSource};

/// A norm with its weights.
#[derive(Debug)]
pub(super) struct NormWeights {
    kind: NormKind,
    epsilon: f32,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
}

impl NormWeights {
    pub(super) fn new(
        packing: &mut Packing,
        norm: Norm,
        weight: &TensorSource,
        bias: Option<&TensorSource>,
    ) -> NormWeights {
        NormWeights {
            kind: norm.kind,
            epsilon: norm.epsilon,
            weight: packing.vector(weight),
            bias: bias.map(|bias| packing.vector(bias)),
        }
    }

    /// Writes the normalised `input`.
    pub(super) fn apply(&self, level: Level, input: &[f32], output: &mut [f32]) {
        match self.kind {
            NormKind::Rms => rows::rms_norm(level, input, &self.weight, self.epsilon, output),
            NormKind::Layer => {
                rows::layer_norm(level, input, &self.weight, self.bias.as_deref(), self.epsilon, output);
            }
        }
    }
}
