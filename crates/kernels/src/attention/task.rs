//! How the work is cut.

use std::ops::Range;

use super::PIECE;
use crate::key_value_store::Span;

/// About so many queries go through a piece together, so that they share what it loads into the cache.
const QUERIES: usize = 48;

/// Returns how many rows a task has at most.
pub(super) fn rows_of_task(group: usize) -> usize {
    (QUERIES / group).max(1)
}

/// Some rows of a span with the query heads of one key head.
#[derive(Clone, Copy)]
pub(super) struct Task<'a> {
    pub(super) span: &'a Span<'a>,
    pub(super) head: usize,
    /// The first row, counted in the span.
    pub(super) first_row: usize,
    pub(super) rows: usize,
}

impl Task<'_> {
    /// Returns how many queries there are.
    pub(super) fn queries(&self, group: usize) -> usize {
        self.rows * group
    }

    /// Returns the position of a row of this task.
    #[inline(always)]
    pub(super) fn position(&self, row: usize) -> usize {
        self.span.first_position + self.first_row + row
    }

    /// Returns the pieces that at least one row sees.
    pub(super) fn pieces(&self, window: Option<usize>) -> Range<usize> {
        visible(self.position(0), window).start / PIECE..self.position(self.rows - 1) / PIECE + 1
    }
}

/// Returns the positions that a row at this position sees.
#[inline(always)]
pub(super) fn visible(position: usize, window: Option<usize>) -> Range<usize> {
    let end = position + 1;
    window.map_or(0, |window| end.saturating_sub(window))..end
}

/// All tasks of a call, found by number.
#[derive(Clone, Copy)]
pub(super) struct Tasks<'a> {
    spans: &'a [Span<'a>],
    heads: usize,
    rows: usize,
    window: Option<usize>,
}

impl<'a> Tasks<'a> {
    pub(super) fn new(spans: &'a [Span<'a>], heads: usize, group: usize, window: Option<usize>) -> Tasks<'a> {
        Tasks { spans, heads, rows: rows_of_task(group), window }
    }

    fn of_span(&self, span: &Span<'_>) -> usize {
        span.rows.len().div_ceil(self.rows) * self.heads
    }

    pub(super) fn count(&self) -> usize {
        self.spans.iter().map(|span| self.of_span(span)).sum()
    }

    /// Returns a task. The last rows of a span come first, because they see most and should not be waited for alone.
    pub(super) fn get(&self, mut index: usize) -> Task<'a> {
        for span in self.spans {
            let tasks = self.of_span(span);
            if index < tasks {
                let first_row = (tasks - 1 - index) / self.heads * self.rows;
                let rows = self.rows.min(span.rows.len() - first_row);
                return Task { span, head: index % self.heads, first_row, rows };
            }
            index -= tasks;
        }
        panic!("the caller asks for tasks below `count`");
    }

    /// Returns how many pieces all tasks have together.
    pub(super) fn pieces(&self) -> usize {
        self.first_piece(self.count())
    }

    /// Returns how many pieces the tasks before this one have.
    pub(super) fn first_piece(&self, task: usize) -> usize {
        (0..task).map(|task| self.get(task).pieces(self.window).len()).sum()
    }

    /// Returns a piece, counted over all tasks, and its task.
    pub(super) fn piece(&self, mut index: usize) -> (Task<'a>, usize) {
        for task in (0..self.count()).map(|task| self.get(task)) {
            let pieces = task.pieces(self.window);
            if index < pieces.len() {
                return (task, pieces.start + index);
            }
            index -= pieces.len();
        }
        panic!("the caller asks for pieces below `pieces`");
    }
}
