//! Weights, rearranged once so that products read them from front to back.

use thiserror::Error;

use crate::Step;
use crate::aligned_bytes::AlignedBytes;
use crate::shared_bytes::SharedBytes;
use crate::weight_format::{PANEL, WeightFormat};

mod groups;
mod pack;
mod panel;
mod quantise;

pub use groups::GroupRow;
use pack::PanelPacker;

/// Panels that a thread packs before it takes the next ones: enough that the buffers for a row are not what takes the time.
const PANELS_PER_PART: usize = 2;

/// Bytes that [`PackedMatrix::from_bytes`] cannot take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// They are too few or too many.
    #[error("packed weights of {outputs} x {inputs} in {format:?} take {expected} bytes, not {found}")]
    Length {
        /// How the weights are stored.
        format: WeightFormat,
        /// Rows of the matrix.
        outputs: usize,
        /// Columns of the matrix.
        inputs: usize,
        /// What they take.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// They do not begin on a cache line.
    #[error("packed weights begin at an address that is a multiple of {alignment}, not {remainder} bytes after one")]
    Alignment {
        /// What the address must be a multiple of.
        alignment: usize,
        /// How far it lies after the last multiple.
        remainder: usize,
    },
}

/// A matrix of weights (`outputs` rows, `inputs` columns) in the order in which products read it. The bytes are the same for all
/// levels, so they can be kept in a file.
#[derive(Debug)]
pub struct PackedMatrix {
    format: WeightFormat,
    outputs: usize,
    inputs: usize,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Owned(AlignedBytes),
    Shared(SharedBytes),
}

impl PackedMatrix {
    /// What the address of packed bytes must be a multiple of.
    pub const ALIGNMENT: usize = 64;

    /// Returns how many bytes a matrix takes; `usize::MAX` stands for more than can be counted.
    pub fn packed_len(format: WeightFormat, outputs: usize, inputs: usize) -> usize {
        let panel = format.layout().panel_bytes(inputs);
        panel.and_then(|bytes| bytes.checked_mul(outputs.div_ceil(PANEL))).unwrap_or(usize::MAX)
    }

    /// Packs a matrix. `row` writes the weights of one output; it is called for each output in order. What does not fit the format
    /// is rounded to nearest; integers are scaled by the largest magnitude of their output or group.
    pub fn pack_f32(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &mut dyn FnMut(usize, &mut [f32]),
    ) -> PackedMatrix {
        PackedMatrix::pack_panels(format, outputs, inputs, &mut |packer, index, panel| {
            packer.pack_f32(index, panel, row);
        })
    }

    /// Does the same with the threads of a step. `row` is called for each output once, in no order.
    pub fn pack_f32_with(
        step: &mut Step<'_>,
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) -> PackedMatrix {
        PackedMatrix::pack_panels_with(step, format, outputs, inputs, &|packer, index, panel| {
            packer.pack_f32(index, panel, &mut |output, weights| row(output, weights));
        })
    }

    /// Packs a matrix of integers with scales, without rounding what the format can hold. `row` fills one output; it is called for
    /// each output in order.
    ///
    /// # Panics
    /// When the format has no groups.
    pub fn pack_groups(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &mut dyn FnMut(usize, &mut GroupRow<'_>),
    ) -> PackedMatrix {
        PackedMatrix::pack_panels(format, outputs, inputs, &mut |packer, index, panel| {
            packer.pack_groups(index, panel, row);
        })
    }

    /// Does the same with the threads of a step. `row` is called for each output once, in no order.
    ///
    /// # Panics
    /// When the format has no groups.
    pub fn pack_groups_with(
        step: &mut Step<'_>,
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &(dyn Fn(usize, &mut GroupRow<'_>) + Sync),
    ) -> PackedMatrix {
        PackedMatrix::pack_panels_with(step, format, outputs, inputs, &|packer, index, panel| {
            packer.pack_groups(index, panel, &mut |output, weights| row(output, weights));
        })
    }

    /// Packs a matrix of integers with a scale per output, without rounding. `row` fills the integers of one output, which are 0 before,
    /// and returns its scale; it is called for each output in order. What 8 bits do not hold is clamped.
    ///
    /// # Panics
    /// When the format is neither [`WeightFormat::Int8`] nor [`WeightFormat::Int16`].
    pub fn pack_integers(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &mut dyn FnMut(usize, &mut [i16]) -> f32,
    ) -> PackedMatrix {
        PackedMatrix::pack_panels(format, outputs, inputs, &mut |packer, index, panel| {
            packer.pack_integers(index, panel, row);
        })
    }

    /// Does the same with the threads of a step. `row` is called for each output once, in no order.
    ///
    /// # Panics
    /// When the format is neither [`WeightFormat::Int8`] nor [`WeightFormat::Int16`].
    pub fn pack_integers_with(
        step: &mut Step<'_>,
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        row: &(dyn Fn(usize, &mut [i16]) -> f32 + Sync),
    ) -> PackedMatrix {
        PackedMatrix::pack_panels_with(step, format, outputs, inputs, &|packer, index, panel| {
            packer.pack_integers(index, panel, &mut |output, integers| row(output, integers));
        })
    }

    /// Takes bytes that [`PackedMatrix::bytes`] once gave.
    ///
    /// # Errors
    /// When their number or their address is wrong. What they say is not looked at: any bytes are weights.
    pub fn from_bytes(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        bytes: SharedBytes,
    ) -> Result<PackedMatrix, PackError> {
        let expected = PackedMatrix::packed_len(format, outputs, inputs);
        let found = bytes.bytes().len();
        if found != expected {
            return Err(PackError::Length { format, outputs, inputs, expected, found });
        }
        let remainder = bytes.bytes().as_ptr().addr() % PackedMatrix::ALIGNMENT;
        if remainder != 0 {
            return Err(PackError::Alignment { alignment: PackedMatrix::ALIGNMENT, remainder });
        }
        Ok(PackedMatrix { format, outputs, inputs, bytes: Bytes::Shared(bytes) })
    }

    /// Returns how the weights are stored.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Returns the rows of the matrix: what a product has.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the columns of the matrix: what a product takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the packed bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Owned(bytes) => bytes.bytes(),
            Bytes::Shared(bytes) => bytes.bytes(),
        }
    }

    /// Writes the weights of one output: a row of an embedding that is tied to the output.
    ///
    /// # Panics
    /// When the output does not exist, or `row` has another length than the matrix has inputs.
    pub fn read_row(&self, output: usize, row: &mut [f32]) {
        assert!(output < self.outputs, "output {output} of {}", self.outputs);
        assert_eq!(row.len(), self.inputs, "a row has as many weights as inputs");
        if row.is_empty() {
            return;
        }
        let panel_bytes = self.panel_bytes();
        let start = output / PANEL * panel_bytes;
        panel::read_row(self.format, &self.bytes()[start..start + panel_bytes], output % PANEL, row);
    }

    pub(crate) fn panel_bytes(&self) -> usize {
        self.format.layout().panel_bytes(self.inputs).expect("counted when it was packed")
    }

    /// Allocates, and has each panel packed in order.
    fn pack_panels(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        pack: &mut dyn FnMut(&mut PanelPacker, usize, &mut [u8]),
    ) -> PackedMatrix {
        let mut bytes = AlignedBytes::zeroed(PackedMatrix::packed_len(format, outputs, inputs));
        let panel_bytes = format.layout().panel_bytes(inputs).unwrap_or(0).max(1);
        let mut packer = PanelPacker::new(format, outputs, inputs);
        for (index, panel) in bytes.bytes_mut().chunks_exact_mut(panel_bytes).enumerate() {
            pack(&mut packer, index, panel);
        }
        PackedMatrix { format, outputs, inputs, bytes: Bytes::Owned(bytes) }
    }

    /// Allocates, and lets the threads of a step pack panels, each of which is written by one of them.
    fn pack_panels_with(
        step: &mut Step<'_>,
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        pack: &(dyn Fn(&mut PanelPacker, usize, &mut [u8]) + Sync),
    ) -> PackedMatrix {
        let mut bytes = AlignedBytes::zeroed_with(step, PackedMatrix::packed_len(format, outputs, inputs));
        let panel_bytes = format.layout().panel_bytes(inputs).unwrap_or(0).max(1);
        step.for_each_piece(bytes.bytes_mut(), panel_bytes * PANELS_PER_PART, &|part, panels| {
            let mut packer = PanelPacker::new(format, outputs, inputs);
            for (panel, index) in panels.chunks_exact_mut(panel_bytes).zip(part * PANELS_PER_PART..) {
                pack(&mut packer, index, panel);
            }
        });
        PackedMatrix { format, outputs, inputs, bytes: Bytes::Owned(bytes) }
    }
}

#[cfg(test)]
mod tests;
