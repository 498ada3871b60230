//! Rows that may lie inside wider ones.

/// Rows of f32 in memory, as queries, keys and values lie side by side in the result of one product.
#[derive(Debug, Clone, Copy)]
pub struct RowView<'a> {
    values: &'a [f32],
    stride: Option<usize>,
}

impl<'a> RowView<'a> {
    /// Views rows that begin every `stride` numbers; the first begins with `values`.
    pub fn new(values: &'a [f32], stride: usize) -> RowView<'a> {
        RowView { values, stride: Some(stride) }
    }

    /// Returns the first `width` numbers of a row.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize, width: usize) -> &'a [f32] {
        &self.values[row * self.stride.unwrap_or(width)..][..width]
    }

    /// Panics unless there are `rows` of `width` numbers.
    #[track_caller]
    pub(crate) fn check(&self, what: &str, rows: usize, width: usize) {
        let stride = self.stride.unwrap_or(width);
        assert!(stride >= width, "{what} of {width} numbers do not fit rows that begin every {stride}");
        let needed = rows.checked_sub(1).map_or(0, |last| last * stride + width);
        let found = self.values.len();
        assert!(found >= needed, "{rows} rows of {what} need {needed} numbers, but there are {found}");
    }
}

/// Rows that follow each other without a gap.
impl<'a> From<&'a [f32]> for RowView<'a> {
    fn from(values: &'a [f32]) -> RowView<'a> {
        RowView { values, stride: None }
    }
}
