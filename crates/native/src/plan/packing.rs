//! Tensors into packed matrices. Rows are read once, checked for weights that are no numbers, and packed.

use seedhouse_core::Result;
use seedhouse_kernels::{GroupRow, PackedMatrix, WeightFormat};

use super::options::{PlanOptions, WeightPrecision};
use crate::decoder::{self, NonFinite, TensorSource, WeightCheck};

/// Packs the matrices of one plan.
pub(super) struct Packing {
    options: PlanOptions,
    check: WeightCheck,
}

impl Packing {
    pub(super) fn new(options: PlanOptions) -> Packing {
        Packing { options, check: WeightCheck::new(options.non_finite()) }
    }

    pub(super) fn options(&self) -> &PlanOptions {
        &self.options
    }

    /// Packs tensors of the same inputs and format one under the other.
    pub(super) fn matrix(&mut self, sources: &[&TensorSource]) -> PackedMatrix {
        let (inputs, format) = (sources[0].inputs(), self.options.format(sources[0]));
        let outputs = sources.iter().map(|source| source.outputs()).sum();
        match self.options.weights == WeightPrecision::AsStored && sources[0].groups().is_some() {
            true => self.groups(sources, format, outputs, inputs),
            false => self.numbers(sources, format, outputs, inputs),
        }
    }

    /// Reads a vector, or a small matrix, as it is.
    pub(super) fn vector(&mut self, source: &TensorSource) -> Vec<f32> {
        let values = source.to_vec();
        for (row, values) in values.chunks_exact(source.inputs()).enumerate() {
            self.check.row(source, row, values);
        }
        values
    }

    /// Returns the tensors with weights that are not finite.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming the first one, unless they are allowed.
    pub(super) fn finish(self) -> Result<Vec<NonFinite>> {
        self.check.finish()
    }

    fn numbers(
        &mut self,
        sources: &[&TensorSource],
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
    ) -> PackedMatrix {
        PackedMatrix::pack_f32(format, outputs, inputs, &mut |output, numbers| {
            let (source, row) = locate(sources, output);
            source.read_row(row, numbers);
            self.check.row(source, row, numbers);
        })
    }

    fn groups(
        &mut self,
        sources: &[&TensorSource],
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
    ) -> PackedMatrix {
        let layout = sources[0].groups().expect("the caller saw that there are groups");
        let factors = layout.super_block.map_or(0, |size| inputs / size);
        // What a format does not store is read all the same: it is 0.
        let (mut no_offsets, mut no_factors) = (vec![0.0; inputs / layout.size], vec![0.0; factors]);
        PackedMatrix::pack_groups(format, outputs, inputs, &mut |output, groups: &mut GroupRow<'_>| {
            let (source, row) = locate(sources, output);
            let (offsets, offset_factors) = match layout.has_offsets {
                true => (&mut *groups.offsets, &mut *groups.offset_factors),
                false => (&mut no_offsets[..], &mut no_factors[..]),
            };
            let into = decoder::GroupRow {
                quants: &mut *groups.quants,
                scales: &mut *groups.scales,
                offsets: &mut *offsets,
                scale_factors: &mut *groups.scale_factors,
                offset_factors: &mut *offset_factors,
            };
            source.read_groups(row, into);
            for numbers in [&*groups.scales, &*offsets, &*groups.scale_factors, &*offset_factors] {
                self.check.row(source, row, numbers);
            }
        })
    }
}

/// Returns the tensor of an output of tensors that stand one under the other, and the row within it.
fn locate<'s>(sources: &[&'s TensorSource], mut output: usize) -> (&'s TensorSource, usize) {
    for source in sources {
        if output < source.outputs() {
            return (source, output);
        }
        output -= source.outputs();
    }
    unreachable!("the matrix has as many outputs as its tensors")
}
