//! Tensors into packed matrices. Rows are read once, checked for weights that are no numbers, and packed by all threads of the pool.

use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::Result;
use seedhouse_kernels::{GroupRow, PackedMatrix, Pool, WeightFormat};

use super::options::PlanOptions;
use super::parts::{Content, Mismatch, PackedParts, Part, PartSource};
use crate::decoder::{self, TensorSource, WeightCheck};

/// Packs the parts of one plan.
pub(super) struct Packing<'p> {
    options: PlanOptions,
    pool: &'p Pool,
    check: WeightCheck,
    parts: Vec<Part>,
}

impl<'p> Packing<'p> {
    pub(super) fn new(options: PlanOptions, pool: &'p Pool) -> Packing<'p> {
        Packing { options, pool, check: WeightCheck::new(options.non_finite()), parts: Vec::new() }
    }

    /// Returns the parts in the order in which they were asked for.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming the first weight that is not finite, unless they are allowed.
    pub(super) fn finish(self) -> Result<PackedParts> {
        Ok(PackedParts::new(self.parts, self.check.finish()?))
    }

    fn keep(&mut self, name: String, content: Content) {
        self.parts.push(Part { name, content });
    }
}

impl PartSource for Packing<'_> {
    fn matrix(
        &mut self,
        format: WeightFormat,
        sources: &[&TensorSource],
    ) -> std::result::Result<Arc<PackedMatrix>, Mismatch> {
        let found = self.check.found();
        let check = Mutex::new(&mut self.check);
        let rows = Rows { sources, check: &check };
        // The other models of the process take their turns between two matrices.
        let (first, is_kept) = (sources[0], sources.iter().all(|source| self.options.keeps(source)));
        let matrix = match (is_kept, first.groups().is_some(), first.is_quantized()) {
            (true, true, _) => rows.groups(self.pool, format),
            (true, false, true) => rows.integers(self.pool, format),
            (true, false, false) | (false, ..) => rows.numbers(self.pool, format),
        };
        self.check.order(found, sources);
        let matrix = Arc::new(matrix);
        self.keep(Part::name_of(sources), Content::Matrix(Arc::clone(&matrix)));
        Ok(matrix)
    }

    fn vector(&mut self, source: &TensorSource) -> std::result::Result<Arc<[f32]>, Mismatch> {
        let values: Arc<[f32]> = source.to_vec().into();
        for (row, values) in values.chunks_exact(source.inputs()).enumerate() {
            self.check.row(source, row, values);
        }
        self.keep(source.name().to_owned(), Content::Vector(Arc::clone(&values)));
        Ok(values)
    }
}

/// The rows of one matrix.
struct Rows<'s, 'c> {
    sources: &'s [&'s TensorSource],
    check: &'c Mutex<&'c mut WeightCheck>,
}

impl Rows<'_, '_> {
    fn shape(&self) -> (usize, usize) {
        (self.sources.iter().map(|source| source.outputs()).sum(), self.sources[0].inputs())
    }

    /// Threads meet here only where there is something to note.
    fn check(&self, source: &TensorSource, row: usize, numbers: &[f32]) {
        if !WeightCheck::is_finite(numbers) {
            self.check.lock().unwrap_or_else(PoisonError::into_inner).row(source, row, numbers);
        }
    }

    fn numbers(&self, pool: &Pool, format: WeightFormat) -> PackedMatrix {
        let (outputs, inputs) = self.shape();
        let fill = |output: usize, numbers: &mut [f32]| {
            let (source, row) = locate(self.sources, output);
            source.read_row(row, numbers);
            self.check(source, row, numbers);
        };
        pool.step(|step| PackedMatrix::pack_f32_with(step, format, outputs, inputs, &fill))
    }

    /// The scales of quantised files were looked at when they were read.
    fn integers(&self, pool: &Pool, format: WeightFormat) -> PackedMatrix {
        let (outputs, inputs) = self.shape();
        let fill = |output: usize, integers: &mut [i16]| {
            let (source, row) = locate(self.sources, output);
            source.read_integers(row, integers)
        };
        pool.step(|step| PackedMatrix::pack_integers_with(step, format, outputs, inputs, &fill))
    }

    fn groups(&self, pool: &Pool, format: WeightFormat) -> PackedMatrix {
        let (outputs, inputs) = self.shape();
        let fill = |output: usize, groups: &mut GroupRow<'_>| {
            let (source, row) = locate(self.sources, output);
            self.read_groups(source, row, groups);
        };
        pool.step(|step| PackedMatrix::pack_groups_with(step, format, outputs, inputs, &fill))
    }

    fn read_groups(&self, source: &TensorSource, row: usize, groups: &mut GroupRow<'_>) {
        let layout = source.groups().expect("the caller saw that there are groups");
        let factors = layout.super_block.map_or(0, |size| source.inputs() / size);
        // What a format does not store is read all the same: it is 0.
        let (mut no_offsets, mut no_factors) = match layout.has_offsets {
            true => (Vec::new(), Vec::new()),
            false => (vec![0.0; source.inputs().div_ceil(layout.size)], vec![0.0; factors]),
        };
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
            self.check(source, row, numbers);
        }
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
