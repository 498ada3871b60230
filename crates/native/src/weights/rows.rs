//! Loops over the rows of a matrix: decoding them, and multiplying each with a vector.

use std::ops::Range;

use super::Matrix;
use super::encoding::{BF16, BLOCK, Decode, Encoding, F16, F32, Q4_0, Q4_1, Q8_0};
use crate::simd::{self, Kernel, LANES, Lanes, sum_of_lanes};

/// Writes the weights of `rows` one row after the other.
pub(super) fn decode(matrix: &Matrix, rows: Range<usize>, output: &mut [f32]) {
    assert_eq!(output.len(), rows.len() * matrix.columns, "the caller has space for the rows");
    simd::run(DecodeRows { bytes: matrix.row_bytes(rows), matrix, output });
}

/// Writes the product of each of `rows` with `vector`.
pub(super) fn multiply(matrix: &Matrix, rows: Range<usize>, vector: &[f32], output: &mut [f32]) {
    assert_eq!((output.len(), vector.len()), (rows.len(), matrix.columns), "the caller checked the shapes");
    simd::run(MultiplyRows { bytes: matrix.row_bytes(rows), encoding: matrix.encoding, vector, output });
}

struct DecodeRows<'a> {
    bytes: &'a [u8],
    matrix: &'a Matrix,
    output: &'a mut [f32],
}

impl Kernel for DecodeRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.matrix.encoding {
            Encoding::F32 => self.rows::<L, F32, 128>(lanes),
            Encoding::F16 => self.rows::<L, F16, 64>(lanes),
            Encoding::BF16 => self.rows::<L, BF16, 64>(lanes),
            Encoding::Q8_0 => self.rows::<L, Q8_0, 34>(lanes),
            Encoding::Q4_0 => self.rows::<L, Q4_0, 18>(lanes),
            Encoding::Q4_1 => self.rows::<L, Q4_1, 20>(lanes),
        }
    }
}

impl DecodeRows<'_> {
    #[inline(always)]
    fn rows<L: Lanes, D: Decode<BYTES>, const BYTES: usize>(self, lanes: L) {
        let columns = self.matrix.columns;
        let row_bytes = self.bytes.len() / (self.output.len() / columns);
        for (row, output) in self.bytes.chunks_exact(row_bytes).zip(self.output.chunks_exact_mut(columns)) {
            let (blocks, rest) = row.as_chunks::<BYTES>();
            let (outputs, output_rest) = output.as_chunks_mut::<BLOCK>();
            for (block, output) in blocks.iter().zip(outputs) {
                let halves = D::decode(lanes, block).map(|half| lanes.store(half));
                output.copy_from_slice(halves.as_flattened());
            }
            if !rest.is_empty() {
                let last = D::decode(lanes, &padded(rest)).map(|half| lanes.store(half));
                output_rest.copy_from_slice(&last.as_flattened()[..output_rest.len()]);
            }
        }
    }
}

struct MultiplyRows<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
    vector: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for MultiplyRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        match self.encoding {
            Encoding::F32 => self.rows::<L, F32, 128>(lanes),
            Encoding::F16 => self.rows::<L, F16, 64>(lanes),
            Encoding::BF16 => self.rows::<L, BF16, 64>(lanes),
            Encoding::Q8_0 => self.rows::<L, Q8_0, 34>(lanes),
            Encoding::Q4_0 => self.rows::<L, Q4_0, 18>(lanes),
            Encoding::Q4_1 => self.rows::<L, Q4_1, 20>(lanes),
        }
    }
}

impl MultiplyRows<'_> {
    #[inline(always)]
    fn rows<L: Lanes, D: Decode<BYTES>, const BYTES: usize>(self, lanes: L) {
        let row_bytes = self.bytes.len() / self.output.len();
        for (row, output) in self.bytes.chunks_exact(row_bytes).zip(self.output) {
            *output = dot::<L, D, BYTES>(lanes, row, self.vector);
        }
    }
}

/// Two sets of lanes, because an addition that waits for the one before it leaves the multiplier idle.
#[inline(always)]
fn dot<L: Lanes, D: Decode<BYTES>, const BYTES: usize>(lanes: L, row: &[u8], vector: &[f32]) -> f32 {
    let (blocks, rest) = row.as_chunks::<BYTES>();
    let (halves, vector_rest) = vector.as_chunks::<LANES>();
    let (vectors, _) = halves.as_chunks::<2>();
    let mut sums = [lanes.splat(0.0); 2];
    for (block, vector) in blocks.iter().zip(vectors) {
        let weights = D::decode(lanes, block);
        sums[0] = lanes.multiply_add(weights[0], lanes.load(&vector[0]), sums[0]);
        sums[1] = lanes.multiply_add(weights[1], lanes.load(&vector[1]), sums[1]);
    }
    let [first, second] = sums.map(|sum| sum_of_lanes(lanes.store(sum)));
    if rest.is_empty() {
        return first + second;
    }
    let last = D::decode(lanes, &padded(rest)).map(|half| lanes.store(half));
    let last_of_vector = halves[vectors.len() * 2..].as_flattened().iter().chain(vector_rest);
    let products = last.as_flattened().iter().zip(last_of_vector).map(|(weight, value)| weight * value);
    first + second + products.sum::<f32>()
}

/// Fills the last block of a row of plain numbers with zeros.
#[inline(always)]
fn padded<const BYTES: usize>(rest: &[u8]) -> [u8; BYTES] {
    let mut block = [0; BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block
}
