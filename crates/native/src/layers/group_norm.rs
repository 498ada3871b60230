//! Group normalisation with its weights.

use seedhouse_core::Result;
use seedhouse_kernels::{GroupNormBuffers, Nonlinearity, RowView, Step, group_norm};

use super::{Map, Weights};

/// A group norm, and what follows it.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    groups: usize,
    epsilon: f32,
    then: Option<Nonlinearity>,
}

impl GroupNorm {
    /// Reads `NAME.weight` and `NAME.bias`; the groups share the channels evenly.
    pub(crate) fn read(
        weights: &Weights<'_>,
        name: &str,
        (groups, epsilon): (usize, f32),
        then: Option<Nonlinearity>,
    ) -> Result<GroupNorm> {
        let read = |part: &str| weights.values(&format!("{name}.{part}"));
        Ok(GroupNorm { weight: read("weight")?, bias: read("bias")?, groups, epsilon, then })
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.weight[..]) + size_of_val(&self.bias[..])
    }

    /// Replaces the output; before it is normed, each number of the input gets what its image has for its channel added.
    pub(crate) fn apply(
        &self,
        step: &mut Step<'_>,
        buffers: &mut GroupNormBuffers,
        input: &Map,
        addend: Option<RowView<'_>>,
        output: &mut Map,
    ) {
        output.reset(input.count, input.sides, input.channels);
        let GroupNorm { weight, bias, groups, epsilon, then } = self;
        let norm =
            seedhouse_kernels::GroupNorm { groups: *groups, weight, bias, epsilon: *epsilon, addend, then: *then };
        group_norm(step, input.images(), norm, buffers, output.numbers_mut());
    }
}
