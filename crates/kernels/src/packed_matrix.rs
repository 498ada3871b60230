//! Weights, rearranged once so that products read them from front to back.

use thiserror::Error;

use crate::aligned_bytes::AlignedBytes;
use crate::shared_bytes::SharedBytes;
use crate::weight_format::{PANEL, WeightFormat};

mod groups;
mod panel;
mod quantise;

pub use groups::GroupRow;

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
        if format.group_scales().is_some() {
            let mut weights = vec![0.0; inputs];
            return PackedMatrix::pack_groups(format, outputs, inputs, &mut |output, group_row| {
                row(output, &mut weights);
                quantise::groups(format, &weights, group_row);
            });
        }
        let mut weights = vec![0.0; inputs];
        PackedMatrix::pack_panels(format, outputs, inputs, &mut |output, column, panel| {
            row(output, &mut weights);
            panel::put_row(format, &weights, column, panel);
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
        let scales = format.group_scales().expect("the format has groups");
        let mut buffers = groups::RowBuffers::new(scales, inputs);
        PackedMatrix::pack_panels(format, outputs, inputs, &mut |output, column, panel| {
            let mut filled = buffers.cleared();
            row(output, &mut filled);
            groups::put_row(format, &filled, column, panel);
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

    /// Allocates, and lets `put` write each output's column of its panel.
    fn pack_panels(
        format: WeightFormat,
        outputs: usize,
        inputs: usize,
        put: &mut dyn FnMut(usize, usize, &mut [u8]),
    ) -> PackedMatrix {
        let mut bytes = AlignedBytes::zeroed(PackedMatrix::packed_len(format, outputs, inputs));
        let panel_bytes = format.layout().panel_bytes(inputs).unwrap_or(0).max(1);
        for (index, panel) in bytes.bytes_mut().chunks_exact_mut(panel_bytes).enumerate() {
            for output in index * PANEL..outputs.min((index + 1) * PANEL) {
                put(output, output % PANEL, panel);
            }
        }
        PackedMatrix { format, outputs, inputs, bytes: Bytes::Owned(bytes) }
    }
}

#[cfg(test)]
mod tests;
