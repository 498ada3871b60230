//! The norms of a plan.

use std::sync::Arc;

use seedhouse_kernels::{Level, rows};

use super::compile::Compiler;
use super::parts::Mismatch;
use crate::decoder::{Norm, NormKind, TensorSource};

/// A norm with its weights.
#[derive(Debug)]
pub(super) struct NormWeights {
    kind: NormKind,
    epsilon: f32,
    weight: Arc<[f32]>,
    bias: Option<Arc<[f32]>>,
}

impl NormWeights {
    pub(super) fn new(
        compiler: &mut Compiler<'_>,
        norm: Norm,
        weight: &TensorSource,
        bias: Option<&TensorSource>,
    ) -> Result<NormWeights, Mismatch> {
        Ok(NormWeights {
            kind: norm.kind,
            epsilon: norm.epsilon,
            weight: compiler.parts.vector(weight)?,
            bias: bias.map(|bias| compiler.parts.vector(bias)).transpose()?,
        })
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
