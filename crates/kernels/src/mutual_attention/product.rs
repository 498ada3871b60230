//! A small product that stays in the cache: tiles of a few rows and vectors, summed in registers.

use crate::lanes::{Kernel, LANES, Lanes};

/// Writes `left` times `right`: rows of `depth` numbers times `depth` rows of whole vectors.
pub(super) struct Product<'a> {
    pub(super) left: &'a [f32],
    /// From one row of `left` to the next.
    pub(super) left_stride: usize,
    pub(super) depth: usize,
    pub(super) right: &'a [f32],
    /// Numbers of a row of `right` and of the output; whole vectors.
    pub(super) right_stride: usize,
    pub(super) output: &'a mut [f32],
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        let rows = self.output.len() / self.right_stride.max(1);
        assert!(self.left.len() >= rows * self.left_stride && self.left_stride >= self.depth, "rows are there");
        assert!(self.right.len() >= self.depth * self.right_stride, "so many rows are on the right");
        let mut row = 0;
        while row < rows {
            let left = rows - row;
            row += match L::REGISTERS {
                32.. if left >= 6 => self.rows::<L, 6, 4>(lanes, row),
                32.. if left >= 4 => self.rows::<L, 4, 4>(lanes, row),
                _ if left >= 2 => self.rows::<L, 2, 2>(lanes, row),
                _ => self.rows::<L, 1, 2>(lanes, row),
            };
        }
    }
}

impl Product<'_> {
    /// Computes all vectors of some rows, and returns how many rows those are.
    #[inline(always)]
    fn rows<L: Lanes, const ROWS: usize, const VECTORS: usize>(&mut self, lanes: L, row: usize) -> usize {
        let mut column = 0;
        while column + VECTORS * LANES <= self.right_stride {
            self.tile::<L, ROWS, VECTORS>(lanes, row, column);
            column += VECTORS * LANES;
        }
        while column < self.right_stride {
            self.tile::<L, ROWS, 1>(lanes, row, column);
            column += LANES;
        }
        ROWS
    }

    #[inline(always)]
    fn tile<L: Lanes, const ROWS: usize, const VECTORS: usize>(&mut self, lanes: L, row: usize, column: usize) {
        let mut sums = [[lanes.splat(0.0); VECTORS]; ROWS];
        let left: [&[f32]; ROWS] =
            std::array::from_fn(|index| &self.left[(row + index) * self.left_stride..][..self.depth]);
        for (depth, right) in self.right.chunks_exact(self.right_stride).take(self.depth).enumerate() {
            let (vectors, _) = right[column..][..VECTORS * LANES].as_chunks::<LANES>();
            for index in 0..ROWS {
                let number = lanes.splat(left[index][depth]);
                for vector in 0..VECTORS {
                    sums[index][vector] = lanes.multiply_add(lanes.load(&vectors[vector]), number, sums[index][vector]);
                }
            }
        }
        for (index, sums) in sums.into_iter().enumerate() {
            let target = &mut self.output[(row + index) * self.right_stride + column..][..VECTORS * LANES];
            let (target, _) = target.as_chunks_mut::<LANES>();
            for (sum, target) in sums.into_iter().zip(target) {
                lanes.store(sum, target);
            }
        }
    }
}
