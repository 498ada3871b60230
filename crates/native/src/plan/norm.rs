//! The norms of a plan.

use std::sync::Arc;

use std::cell::RefCell;

use seedhouse_kernels::{Level, rows};

use super::compile::Compiler;
use super::parts::Mismatch;
use crate::decoder::{Norm, NormKind, TensorSource};

thread_local! {
    /// The numbers that a norm is about to replace.
    static COPY: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

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

    /// Normalises a row where it stands.
    pub(super) fn apply_in_place(&self, level: Level, numbers: &mut [f32]) {
        COPY.with_borrow_mut(|copy| {
            copy.clear();
            copy.extend_from_slice(numbers);
            self.apply(level, copy, numbers);
        });
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
