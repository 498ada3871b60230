//! Products of matrices of f32 that lie anywhere in memory, for training: nothing is packed ahead, because weights change with each step.
//!
//! The arithmetic is that of the crate `gemm`. Its functions take pointers; here lengths are checked first.

use gemm::Parallelism;

/// A matrix in a slice. Elements of a row and of a column may be any distance apart, so that a transposed matrix is no copy.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'m> {
    numbers: &'m [f32],
    layout: Layout,
}

/// A matrix in a slice that is written to. Its rows do not overlap.
#[derive(Debug)]
pub struct MatrixViewMut<'m> {
    numbers: &'m mut [f32],
    layout: Layout,
}

/// What becomes of the numbers that are where a product is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accumulation {
    /// They are not looked at.
    Replace,
    /// The product is added to them.
    Add,
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl Layout {
    /// Returns how many numbers a slice must have.
    fn length(self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        let last = (self.rows - 1).checked_mul(self.row_stride).zip((self.columns - 1).checked_mul(self.column_stride));
        let length = last.and_then(|(row, column)| row.checked_add(column)?.checked_add(1));
        length.unwrap_or(usize::MAX)
    }

    #[track_caller]
    fn check(self, length: usize) -> Layout {
        assert!(self.length() <= length, "{self:?} does not fit into {length} numbers");
        self
    }
}

impl<'m> MatrixView<'m> {
    /// Returns a matrix of so many rows and columns; a row begins `row_stride` numbers after the one before.
    ///
    /// # Panics
    /// When the slice is too short.
    #[track_caller]
    pub fn new(numbers: &'m [f32], rows: usize, columns: usize, row_stride: usize) -> MatrixView<'m> {
        let layout = Layout { rows, columns, row_stride, column_stride: 1 }.check(numbers.len());
        MatrixView { numbers, layout }
    }

    /// Returns it with rows and columns exchanged.
    pub fn transposed(self) -> MatrixView<'m> {
        let Layout { rows, columns, row_stride, column_stride } = self.layout;
        let layout = Layout { rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride };
        MatrixView { numbers: self.numbers, layout }
    }
}

impl<'m> MatrixViewMut<'m> {
    /// Returns a matrix of so many rows and columns; a row begins `row_stride` numbers after the one before.
    ///
    /// # Panics
    /// When the slice is too short, or rows overlap.
    #[track_caller]
    pub fn new(numbers: &'m mut [f32], rows: usize, columns: usize, row_stride: usize) -> MatrixViewMut<'m> {
        assert!(rows < 2 || row_stride >= columns, "rows of {columns} numbers overlap, {row_stride} apart");
        let layout = Layout { rows, columns, row_stride, column_stride: 1 }.check(numbers.len());
        MatrixViewMut { numbers, layout }
    }
}

/// Writes `scale * left * right`, computed by so many threads of the current rayon pool.
///
/// # Panics
/// When the sizes do not fit each other.
#[track_caller]
pub fn product(
    left: MatrixView<'_>,
    right: MatrixView<'_>,
    scale: f32,
    output: MatrixViewMut<'_>,
    accumulation: Accumulation,
    threads: usize,
) {
    let (rows, inner, columns) = (left.layout.rows, left.layout.columns, right.layout.columns);
    assert!(
        right.layout.rows == inner && output.layout.rows == rows && output.layout.columns == columns,
        "{rows} x {inner} times {} x {columns} is not {} x {}",
        right.layout.rows,
        output.layout.rows,
        output.layout.columns
    );
    if rows == 0 || columns == 0 {
        return;
    }
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    // A slice has at most isize::MAX bytes, and each stride that is used stays within its slice; one that is not used may be anything.
    let stride = |stride: usize| isize::try_from(stride).unwrap_or(isize::MAX);
    // SAFETY: `Layout::check` held all three matrices against their slices, the output is borrowed alone and its rows do not overlap,
    // and with `Replace` it is not read. f32 is a type that `gemm` knows.
    unsafe {
        gemm::gemm::<f32>(
            rows,
            columns,
            inner,
            output.numbers.as_mut_ptr(),
            stride(output.layout.column_stride),
            stride(output.layout.row_stride),
            accumulation == Accumulation::Add,
            left.numbers.as_ptr(),
            stride(left.layout.column_stride),
            stride(left.layout.row_stride),
            right.numbers.as_ptr(),
            stride(right.layout.column_stride),
            stride(right.layout.row_stride),
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|place| ((place * 7 + seed * 13) % 23) as f32 / 23.0 - 0.5).collect()
    }

    #[test]
    fn products_are_those_of_three_loops_whatever_is_transposed_or_added() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 7), (33, 17, 65), (128, 64, 96), (2, 0, 3)] {
            for transposed in 0..8 {
                let [left_is, right_is, adds] = [transposed & 1 == 1, transposed & 2 == 2, transposed & 4 == 4];
                let (left, right) = (numbers(rows * inner, 1), numbers(inner * columns, 2));
                let view = |numbers, rows, columns, is_transposed| match is_transposed {
                    true => MatrixView::new(numbers, columns, rows, rows).transposed(),
                    false => MatrixView::new(numbers, rows, columns, columns),
                };
                let element =
                    |numbers: &[f32], (rows, columns): (usize, usize), row: usize, column: usize, is: bool| {
                        f64::from(if is { numbers[column * rows + row] } else { numbers[row * columns + column] })
                    };
                let stride = columns + 3;
                let mut output = vec![0.25; rows * stride];
                let accumulation = if adds { Accumulation::Add } else { Accumulation::Replace };
                product(
                    view(&left, rows, inner, left_is),
                    view(&right, inner, columns, right_is),
                    2.0,
                    MatrixViewMut::new(&mut output, rows, columns, stride),
                    accumulation,
                    2,
                );
                for row in 0..rows {
                    for column in 0..columns {
                        let sum: f64 = (0..inner)
                            .map(|place| {
                                element(&left, (rows, inner), row, place, left_is)
                                    * element(&right, (inner, columns), place, column, right_is)
                            })
                            .sum();
                        let expected = 2.0 * sum + if adds { 0.25 } else { 0.0 };
                        let found = f64::from(output[row * stride + column]);
                        assert!(
                            (found - expected).abs() < 1e-4,
                            "{rows} x {inner} x {columns}: {found} is not {expected}"
                        );
                    }
                    assert_eq!(output[row * stride + columns..][..3], [0.25; 3], "beside the matrix");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_matrix_beyond_its_slice_is_refused() {
        let _ = MatrixView::new(&[0.0; 11], 3, 4, 4);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_rows_are_refused() {
        let _ = MatrixViewMut::new(&mut [0.0; 11], 3, 4, 3);
    }

    #[test]
    #[should_panic(expected = "2 x 3 times 4 x 1")]
    fn sizes_that_do_not_fit_are_refused() {
        let (left, right) = ([0.0; 6], [0.0; 4]);
        let output = &mut [0.0; 2];
        let output = MatrixViewMut::new(output, 2, 1, 1);
        product(MatrixView::new(&left, 2, 3, 3), MatrixView::new(&right, 4, 1, 1), 1.0, output, Accumulation::Add, 1);
    }
}
