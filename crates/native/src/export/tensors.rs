//! Tensors of a decoder as they are written: row by row, in the order and under the names of the other format.

use half::{bf16, f16};
use seedhouse_core::Result;

use super::files::Output;
use crate::decoder::{Storage, TensorSource};

/// Bytes that are put together before they are written.
const PIECE_BYTES: usize = 1 << 20;

/// A tensor in the making.
pub(super) struct OutTensor<'m> {
    pub(super) name: String,
    /// Whether it has one dimension.
    pub(super) is_vector: bool,
    pub(super) storage: Storage,
    /// Matrices of equally long rows, one under the other.
    pub(super) sources: Vec<&'m TensorSource>,
    pub(super) order: Order,
}

/// Where the rows of the first source stand in the new tensor.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Same,
    /// Row `n` is row `from(n, head_width, dimensions)` of the source.
    Heads {
        from: fn(usize, usize, usize) -> usize,
        head_width: usize,
        dimensions: usize,
    },
}

impl Order {
    fn source_of(self, row: usize) -> usize {
        match self {
            Order::Same => row,
            Order::Heads { from, head_width, dimensions } => from(row, head_width, dimensions),
        }
    }
}

impl OutTensor<'_> {
    /// Returns the dimensions, outermost first.
    pub(super) fn shape(&self) -> Vec<usize> {
        let inputs = self.sources.first().map_or(0, |source| source.inputs());
        let outputs = self.sources.iter().map(|source| source.outputs()).sum::<usize>();
        if self.is_vector { vec![inputs * outputs] } else { vec![outputs, inputs] }
    }

    pub(super) fn bytes(&self) -> u64 {
        let size = if self.storage == Storage::F32 { 4 } else { 2 };
        self.shape().iter().product::<usize>() as u64 * size
    }

    /// Writes the numbers.
    pub(super) fn write(&self, output: &mut Output<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        for source in &self.sources {
            // The numbers of a vector are ordered, the rows of a matrix.
            if self.is_vector {
                let values = source.to_vec();
                let ordered: Vec<f32> = (0..values.len()).map(|row| values[self.order.source_of(row)]).collect();
                self.narrow(&ordered, &mut bytes);
                continue;
            }
            let mut row = vec![0.0; source.inputs()];
            for index in 0..source.outputs() {
                source.read_row(self.order.source_of(index), &mut row);
                self.narrow(&row, &mut bytes);
                if bytes.len() >= PIECE_BYTES {
                    output.write_counted(&bytes)?;
                    bytes.clear();
                }
            }
            source.forget_pages();
        }
        output.write_counted(&bytes)
    }

    fn narrow(&self, numbers: &[f32], bytes: &mut Vec<u8>) {
        match self.storage {
            Storage::F16 => bytes.extend(numbers.iter().flat_map(|number| f16::from_f32(*number).to_le_bytes())),
            Storage::BF16 => bytes.extend(numbers.iter().flat_map(|number| bf16::from_f32(*number).to_le_bytes())),
            _ => bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
        }
    }
}

/// Returns the plain type that holds every number of a tensor without loss.
pub(super) fn lossless(source: &TensorSource) -> Storage {
    match source.storage() {
        plain @ (Storage::F32 | Storage::F16 | Storage::BF16) => plain,
        _ => Storage::F32,
    }
}
