//! Matrix products over all cores.

use std::cell::RefCell;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

use super::{Matrix, rows};

/// Fewer weights than this are multiplied in less time than handing them to another core takes.
const LEAST_WEIGHTS_PER_TASK: usize = 1 << 15;
/// Rows decoded at once for several vectors: small enough for the second-level cache, large enough for a good product.
const PANEL_ROWS: usize = 64;

thread_local! {
    /// The decoded panel of a worker, kept from product to product.
    static PANEL: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Writes `matrix * vector`.
pub(crate) fn matrix_times_vector(matrix: &Matrix, vector: &[f32], output: &mut [f32]) {
    assert_eq!(output.len(), matrix.rows(), "one output per row");
    let rows_per_core = matrix.rows().div_ceil(rayon::current_num_threads());
    let rows_per_task = (LEAST_WEIGHTS_PER_TASK / matrix.columns()).clamp(1, rows_per_core.max(1));
    output.par_chunks_mut(rows_per_task).enumerate().for_each(|(task, output)| {
        let first = task * rows_per_task;
        rows::multiply(matrix, first..first + output.len(), vector, output);
    });
}

/// Writes `matrix * vector` for `count` vectors that lie one after the other, as do the outputs.
pub(crate) fn matrix_times_vectors(matrix: &Matrix, vectors: &[f32], count: usize, output: &mut [f32]) {
    if count == 1 {
        return matrix_times_vector(matrix, vectors, output);
    }
    let vectors = ArrayView2::from_shape((count, matrix.columns()), vectors).expect("one vector per token");
    let mut output = ArrayViewMut2::from_shape((count, matrix.rows()), output).expect("one output per token");
    let panels: Vec<ArrayViewMut2<'_, f32>> = output.axis_chunks_iter_mut(Axis(1), PANEL_ROWS).collect();
    panels.into_par_iter().enumerate().for_each(|(panel, mut output)| {
        let first = panel * PANEL_ROWS;
        let rows = first..first + output.ncols();
        PANEL.with_borrow_mut(|scratch| {
            scratch.resize(rows.len() * matrix.columns(), 0.0);
            rows::decode(matrix, rows.clone(), scratch);
            let weights = ArrayView2::from_shape((rows.len(), matrix.columns()), scratch.as_slice())
                .expect("resized to this shape");
            general_mat_mul(1.0, &vectors, &weights.t(), 0.0, &mut output);
        });
    });
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use super::*;
    use crate::mapped_file::MappedFile;
    use crate::weights::Encoding;

    /// Writes blocks of pseudo-random weights of moderate size and returns them as a matrix.
    fn matrix(encoding: Encoding, rows: usize, columns: usize) -> Matrix {
        let mut state = 7u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u8
        };
        let scale = half::f16::from_f32(0.037).to_le_bytes();
        let mut bytes = Vec::new();
        for _ in 0..rows * columns / 32 {
            match encoding {
                Encoding::F32 => (0..32).for_each(|_| bytes.extend((f32::from(random()) / 99.0 - 1.3).to_le_bytes())),
                Encoding::F16 => (0..32).for_each(|_| {
                    bytes.extend(half::f16::from_f32(f32::from(random()) / 99.0 - 1.3).to_le_bytes());
                }),
                Encoding::BF16 => (0..32).for_each(|_| {
                    bytes.extend(half::bf16::from_f32(f32::from(random()) / 99.0 - 1.3).to_le_bytes());
                }),
                Encoding::Q8_0 => {
                    bytes.extend(scale);
                    bytes.extend((0..32).map(|_| random()));
                }
                Encoding::Q4_0 => {
                    bytes.extend(scale);
                    bytes.extend((0..16).map(|_| random()));
                }
                Encoding::Q4_1 => {
                    bytes.extend(scale);
                    bytes.extend(half::f16::from_f32(-0.3).to_le_bytes());
                    bytes.extend((0..16).map(|_| random()));
                }
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let mapped = Arc::new(MappedFile::open(file.path()).unwrap());
        Matrix { file: mapped, range: 0..bytes.len(), encoding, rows, columns }
    }

    /// Decodes a weight as ggml's documentation defines it, in f64.
    fn reference_weight(matrix: &Matrix, row: usize, column: usize) -> f64 {
        let bytes = matrix.row_bytes(row..row + 1);
        let f16 = |at: usize| half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f64();
        let (block, index) = (column / 32, column % 32);
        let half_byte = |start: usize| {
            let pair = bytes[start + index % 16];
            f64::from(if index < 16 { pair & 15 } else { pair >> 4 })
        };
        match matrix.encoding {
            Encoding::F32 => f32::from_le_bytes(bytes[column * 4..][..4].try_into().unwrap()).into(),
            Encoding::F16 => f16(column * 2),
            Encoding::BF16 => half::bf16::from_le_bytes([bytes[column * 2], bytes[column * 2 + 1]]).to_f64(),
            Encoding::Q8_0 => f16(block * 34) * f64::from(bytes[block * 34 + 2 + index].cast_signed()),
            Encoding::Q4_0 => f16(block * 18) * (half_byte(block * 18 + 2) - 8.0),
            Encoding::Q4_1 => f16(block * 20) * half_byte(block * 20 + 4) + f16(block * 20 + 2),
        }
    }

    fn vectors(length: usize, count: usize) -> Vec<f32> {
        (0..length * count).map(|index| ((index * 37 % 101) as f32 - 50.0) / 40.0).collect()
    }

    /// f32 sums of some hundred products of size one differ from exact ones in the sixth digit.
    const TOLERANCE: f64 = 2e-4;

    fn assert_products(matrix: &Matrix, vectors: &[f32], outputs: &[f32]) {
        for (vector, output) in vectors.chunks(matrix.columns()).zip(outputs.chunks(matrix.rows())) {
            for (row, &actual) in output.iter().enumerate() {
                let expected: f64 = (0..matrix.columns())
                    .map(|column| reference_weight(matrix, row, column) * f64::from(vector[column]))
                    .sum();
                let difference = (expected - f64::from(actual)).abs();
                assert!(difference < TOLERANCE, "{:?} row {row}: {actual}, but exactly {expected}", matrix.encoding);
            }
        }
    }

    #[test]
    fn product_with_a_vector_is_that_of_the_dequantised_weights() {
        for encoding in Encoding::ALL {
            let matrix = matrix(encoding, 150, 288);
            let vector = vectors(288, 1);
            let mut output = vec![0.0; 150];
            matrix_times_vector(&matrix, &vector, &mut output);
            assert_products(&matrix, &vector, &output);
        }
    }

    #[test]
    fn product_with_several_vectors_is_that_of_the_dequantised_weights() {
        for encoding in Encoding::ALL {
            let matrix = matrix(encoding, 150, 96);
            let vectors = vectors(96, 5);
            let mut output = vec![f32::NAN; 150 * 5];
            matrix_times_vectors(&matrix, &vectors, 5, &mut output);
            assert_products(&matrix, &vectors, &output);
        }
    }

    #[test]
    fn rows_of_plain_numbers_need_not_fill_blocks() {
        for encoding in [Encoding::F32, Encoding::F16, Encoding::BF16] {
            let matrix = matrix(encoding, 16, 42);
            let vectors = vectors(42, 3);
            let mut output = vec![0.0; 16 * 3];
            matrix_times_vectors(&matrix, &vectors, 3, &mut output);
            assert_products(&matrix, &vectors, &output);
            matrix_times_vector(&matrix, &vectors[..42], &mut output[..16]);
            assert_products(&matrix, &vectors[..42], &output[..16]);
        }
    }

    #[test]
    fn one_row_is_decoded_exactly() {
        for encoding in Encoding::ALL {
            let matrix = matrix(encoding, 4, 64);
            let mut row = vec![0.0; 64];
            matrix.read_row(2, &mut row);
            for (column, &weight) in row.iter().enumerate() {
                let expected = reference_weight(&matrix, 2, column);
                assert!((expected - f64::from(weight)).abs() < 1e-6, "{encoding:?} {column}: {weight} {expected}");
            }
        }
    }
}
