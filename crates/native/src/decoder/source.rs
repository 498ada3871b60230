//! One tensor as rows: decoded from the mapped file into f32, or taken apart into the groups of its type.

use std::ops::Range;
use std::sync::Arc;

use half::{bf16, f16};
use seedhouse_core::QuantizationType;

use super::blocks::{self, GroupRow};
use super::storage::{GroupLayout, Storage};
use crate::mapped_file::MappedFile;
use crate::quantization::{Layout, QuantizedEntry};

/// The largest block, and the most groups of one.
const MOST_NUMBERS: usize = 256;
const MOST_GROUPS: usize = 16;

/// A matrix `[outputs, inputs]`; a vector is a matrix of one row. It may be some rows of a tensor, or a tensor read along its
/// columns. Every number lies within the file: [`StoredTensor`](super::stored_tensor::StoredTensor) has checked it.
#[derive(Debug, Clone)]
pub(crate) struct TensorSource {
    pub(super) name: Arc<str>,
    /// What errors call the file.
    pub(super) subject: Arc<str>,
    pub(super) file: Arc<MappedFile>,
    pub(super) storage: Storage,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Where the first number, or the first block, stands in the file.
    pub(super) start: usize,
    pub(super) steps: Steps,
    /// Whether it is written `[inputs, outputs]`.
    pub(super) is_transposed: bool,
    /// Integers whose scales stand in another tensor.
    pub(super) quantized: Option<QuantizedRows>,
}

/// Outputs of a quantised tensor.
#[derive(Debug, Clone)]
pub(super) struct QuantizedRows {
    pub(super) entry: Arc<QuantizedEntry>,
    /// Which output of the tensor is the first.
    pub(super) first: usize,
}

impl QuantizedRows {
    /// Returns the type of a layout.
    pub(super) fn storage(layout: &Layout) -> Storage {
        match layout.kind() {
            QuantizationType::Int16 => Storage::I16,
            QuantizationType::Int8Groups => Storage::I8Groups,
            QuantizationType::Int4 => Storage::I4Groups,
            QuantizationType::Int8 | QuantizationType::Float16 | QuantizationType::Bfloat16 => Storage::I8,
        }
    }
}

/// How far apart neighbours stand, in numbers of the tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Steps {
    /// From one output to the next.
    pub(super) output: usize,
    /// From one input to the next; 1 for quantised types.
    pub(super) input: usize,
}

impl TensorSource {
    /// Returns the name in the file.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns what errors call the file.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns the number of rows.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the length of a row.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the type of the numbers.
    pub(crate) fn storage(&self) -> Storage {
        self.storage
    }

    /// Returns whether it is written `[inputs, outputs]`.
    pub(crate) fn is_transposed(&self) -> bool {
        self.is_transposed
    }

    /// Returns whether it is integers whose scales stand in another tensor.
    pub(crate) fn is_quantized(&self) -> bool {
        self.quantized.is_some()
    }

    /// Returns how many bytes its numbers take in the file.
    pub(crate) fn stored_bytes(&self) -> usize {
        if let Some(QuantizedRows { entry, .. }) = &self.quantized {
            let whole = entry.integers.len() + entry.scales.len();
            return whole / entry.layout.outputs() * self.outputs;
        }
        (self.outputs * self.inputs).div_ceil(self.storage.block_numbers()) * self.storage.block_bytes()
    }

    /// Forgets the pages of its file that were read.
    pub(crate) fn forget_pages(&self) {
        self.file.forget_pages();
    }

    /// Returns the groups of a quantised type.
    pub(crate) fn groups(&self) -> Option<GroupLayout> {
        self.storage.groups()
    }

    /// Decodes row `output`.
    ///
    /// # Panics
    /// When there is no such row, or `values` is not as long as one.
    pub(crate) fn read_row(&self, output: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.inputs, "the caller has space for a row");
        if let Some(QuantizedRows { entry, first }) = &self.quantized {
            assert!(output < self.outputs, "the caller asks for a row that is there");
            let bytes = (&self.file[entry.integers.clone()], &self.file[entry.scales.clone()]);
            return entry.layout.read_weights(bytes, first + output, values);
        }
        match self.storage {
            Storage::F32 => self.read_plain(output, values, f32::from_le_bytes),
            Storage::F16 => self.read_plain(output, values, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Storage::BF16 => self.read_plain(output, values, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Storage::Q8_0
            | Storage::Q4_0
            | Storage::Q4_1
            | Storage::Q5_0
            | Storage::Q5_1
            | Storage::Q4K
            | Storage::Q5K
            | Storage::Q6K => self.read_quantised(output, values),
            Storage::I8 | Storage::I16 | Storage::I8Groups | Storage::I4Groups => {
                unreachable!("integers have their place in `quantized`")
            }
        }
    }

    /// Decodes everything; for vectors.
    pub(crate) fn to_vec(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.outputs * self.inputs];
        for (output, row) in values.chunks_exact_mut(self.inputs).enumerate() {
            self.read_row(output, row);
        }
        values
    }

    /// Takes row `output` of a quantised tensor apart, without loss.
    ///
    /// # Panics
    /// When the type has no groups, there is no such row, or `into` does not fit one.
    pub(crate) fn read_groups(&self, output: usize, into: GroupRow<'_>) {
        let layout = self.groups().expect("the caller asks for groups of quantised types only");
        let groups = self.inputs.div_ceil(layout.size);
        let super_blocks = layout.super_block.map_or(0, |size| self.inputs / size);
        let lengths = (into.quants.len(), into.scales.len(), into.offsets.len());
        assert_eq!(lengths, (self.inputs, groups, groups), "the caller has space for a row");
        let lengths = (into.scale_factors.len(), into.offset_factors.len());
        assert_eq!(lengths, (super_blocks, super_blocks), "the caller has space for the factors of a row");
        if let Some(QuantizedRows { entry, first }) = &self.quantized {
            let mut integers = vec![0; self.inputs];
            entry.layout.read_integers(&self.file[entry.integers.clone()], first + output, &mut integers);
            into.quants.iter_mut().zip(integers).for_each(|(quant, integer)| *quant = integer as i8);
            entry.layout.read_scales(&self.file[entry.scales.clone()], first + output, into.scales);
            into.offsets.fill(0.0);
            return;
        }
        blocks::read_groups(self.storage, self.row_of_blocks(output), into);
    }

    /// Reads the integers of row `output` of a tensor with a scale per output, and returns the scale.
    ///
    /// # Panics
    /// When the type is another, there is no such row, or `integers` is not as long as one.
    pub(crate) fn read_integers(&self, output: usize, integers: &mut [i16]) -> f32 {
        let QuantizedRows { entry, first } = self.quantized.as_ref().expect("the caller saw that it is quantised");
        assert!(output < self.outputs, "the caller asks for a row that is there");
        entry.layout.read_integers(&self.file[entry.integers.clone()], first + output, integers);
        entry.layout.scale(&self.file[entry.scales.clone()], first + output)
    }

    /// Returns whether two tensors have the same numbers in the same type.
    pub(super) fn has_the_bytes_of(&self, other: &TensorSource) -> bool {
        if let (Some(one), Some(two)) = (&self.quantized, &other.quantized) {
            let (one, two) = (&*one.entry, &*two.entry);
            let have_the_same = |place: fn(&QuantizedEntry) -> &Range<usize>| {
                self.file[place(one).clone()] == other.file[place(two).clone()]
            };
            let same_numbers = have_the_same(|entry| &entry.integers) && have_the_same(|entry| &entry.scales);
            return one.layout == two.layout && same_numbers;
        }
        let shape = |source: &TensorSource| (source.storage, source.outputs, source.inputs, source.steps);
        if self.is_quantized() != other.is_quantized()
            || shape(self) != shape(other)
            || self.steps != (Steps { output: self.inputs, input: 1 })
        {
            return false;
        }
        let bytes = self.outputs * self.row_bytes();
        self.file[self.start..][..bytes] == other.file[other.start..][..bytes]
    }

    fn read_plain<const BYTES: usize>(&self, output: usize, values: &mut [f32], widen: impl Fn([u8; BYTES]) -> f32) {
        assert!(output < self.outputs, "the caller asks for a row that is there");
        let first = self.start + output * self.steps.output * BYTES;
        let (numbers, _) = self.file[first..].as_chunks::<BYTES>();
        if self.steps.input == 1 {
            for (value, bytes) in values.iter_mut().zip(&numbers[..self.inputs]) {
                *value = widen(*bytes);
            }
        } else {
            // A checkpoint may repeat a number along a dimension: its step is 0.
            for (input, value) in values.iter_mut().enumerate() {
                *value = widen(numbers[input * self.steps.input]);
            }
        }
    }

    /// Decodes as ggml does: scale times quant is rounded to f32, then the sum; the product of a factor and a scale is exact.
    fn read_quantised(&self, output: usize, values: &mut [f32]) {
        let layout = self.groups().expect("the types without groups are plain");
        let numbers = self.storage.block_numbers();
        let (groups, factors) = (numbers / layout.size, usize::from(layout.super_block.is_some()));
        let (mut quants, mut scales, mut offsets) = ([0; MOST_NUMBERS], [0.0; MOST_GROUPS], [0.0; MOST_GROUPS]);
        let (mut scale_factor, mut offset_factor) = ([1.0], [1.0]);
        let blocks = self.row_of_blocks(output).chunks_exact(self.storage.block_bytes());
        for (block, values) in blocks.zip(values.chunks_exact_mut(numbers)) {
            let into = GroupRow {
                quants: &mut quants[..numbers],
                scales: &mut scales[..groups],
                offsets: &mut offsets[..groups],
                scale_factors: &mut scale_factor[..factors],
                offset_factors: &mut offset_factor[..factors],
            };
            blocks::read_groups(self.storage, block, into);
            let groups = values.chunks_exact_mut(layout.size).zip(quants.chunks_exact(layout.size));
            for ((values, quants), (scale, offset)) in groups.zip(scales.iter().zip(&offsets)) {
                let (scale, offset) = (scale_factor[0] * scale, offset_factor[0] * offset);
                for (value, quant) in values.iter_mut().zip(quants) {
                    *value = scale * f32::from(*quant) + offset;
                }
            }
        }
    }

    fn row_bytes(&self) -> usize {
        self.inputs / self.storage.block_numbers() * self.storage.block_bytes()
    }

    fn row_of_blocks(&self, output: usize) -> &[u8] {
        assert!(output < self.outputs, "the caller asks for a row that is there");
        &self.file[self.start + output * self.row_bytes()..][..self.row_bytes()]
    }
}
