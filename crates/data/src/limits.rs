//! What is too much. Datasets are read into memory as a whole, so these are bounds of memory, and all files of a dataset share them.

use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::{Error, Result};

/// Bytes of all files of a dataset, unpacked.
pub const MOST_BYTES: u64 = 2 << 30;
/// Bytes of the values in the dictionaries of a Parquet file that are in memory at a time.
pub const MOST_DICTIONARY_BYTES: u64 = 2 << 30;
/// Rows of a table, or texts.
pub const MOST_ROWS: usize = 50_000_000;
/// Columns of a table.
pub const MOST_COLUMNS: usize = 4096;
/// Rows times columns of a table; each takes 8 bytes, beside its text.
pub const MOST_CELLS: usize = 200_000_000;
/// Bytes of the texts of a table, those that a column repeats counted once; or of the texts that are the examples.
pub const MOST_TEXT_BYTES: u64 = 2 << 30;
/// Pictures of a dataset.
pub const MOST_IMAGES: usize = 2_000_000;
/// Rows of pixels, or pixels of a row, of one picture.
pub const MOST_SIDE: u32 = 8192;
/// Numbers of all pictures of a dataset, one byte each.
pub const MOST_PIXEL_BYTES: u64 = 2 << 30;
/// Names of a column's categories, or of the classes, that a description lists.
pub const MOST_NAMES_DESCRIBED: usize = 200;
/// Categories of a column whose counts a description gives, the most frequent ones.
pub const MOST_COUNTS_DESCRIBED: usize = 30;

/// Refuses a count beyond its limit.
pub(crate) fn within(what: impl Into<String>, count: u64, limit: u64, unit: &str) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    Err(Error::TooLarge { what: what.into(), size: format!("{count} {unit}"), limit: format!("{limit} {unit}") })
}

/// A limit that everything of one dataset or file shares.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    unit: &'static str,
    taken: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: u64, unit: &'static str) -> Budget {
        Budget { limit, unit, taken: AtomicU64::new(0) }
    }

    /// Returns how much may still be taken.
    pub(crate) fn left(&self) -> u64 {
        self.limit.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    /// Counts what is taken. Refuses what is more than is left; `what` names all that was taken, this included.
    pub(crate) fn take(&self, what: impl Into<String>, count: u64) -> Result<()> {
        let before = self.taken.fetch_add(count, Ordering::Relaxed);
        within(what, before.saturating_add(count), self.limit, self.unit)
    }
}
