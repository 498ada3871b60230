//! What a queue has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seedhouse_core::{Error, Result};

use super::Joinable;

/// Figures of the queue of a loaded model since it was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchStatistics {
    /// Requests that wait now.
    pub waiting: u64,
    /// Batches that were computed, those of one request among them.
    pub batches: u64,
    /// Batches by their rows: at most [`SIZE_BOUNDS`](BatchStatistics::SIZE_BOUNDS), each in the first one that is not smaller, and above
    /// the last one.
    pub sizes: [u64; BatchStatistics::SIZE_BOUNDS.len() + 1],
    /// Requests that were computed.
    pub items: u64,
    /// Their rows: images, rows of a table, sentences.
    pub rows: u64,
    /// The time from a request to the beginning of its batch, summed over requests.
    pub queue_micros: u64,
    /// The time for which batches were computed, summed over batches.
    pub compute_micros: u64,
    /// Requests that were computed and got an error.
    pub failed: u64,
    /// Batches of several requests that failed and were computed again one by one.
    pub repeated: u64,
    /// Requests that were refused because too many waited.
    pub refused: u64,
    /// Requests whose time was up before they were computed.
    pub expired: u64,
    /// Requests whose callers were gone before they were computed.
    pub cancelled: u64,
}

impl BatchStatistics {
    /// The bounds of [`sizes`](BatchStatistics::sizes).
    pub const SIZE_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];
}

/// The same, while it is counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    batches: AtomicU64,
    sizes: [AtomicU64; BatchStatistics::SIZE_BOUNDS.len() + 1],
    items: AtomicU64,
    rows: AtomicU64,
    queue_micros: AtomicU64,
    compute_micros: AtomicU64,
    failed: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    expired: AtomicU64,
    cancelled: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self, waiting: u64) -> BatchStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BatchStatistics {
            waiting,
            batches: read(&self.batches),
            sizes: std::array::from_fn(|index| read(&self.sizes[index])),
            items: read(&self.items),
            rows: read(&self.rows),
            queue_micros: read(&self.queue_micros),
            compute_micros: read(&self.compute_micros),
            failed: read(&self.failed),
            repeated: read(&self.repeated),
            refused: read(&self.refused),
            expired: read(&self.expired),
            cancelled: read(&self.cancelled),
        }
    }

    pub(super) fn began(&self, items: &[impl Joinable], waited: Duration) {
        let rows: u64 = items.iter().map(|item| item.rows() as u64).sum();
        let size = BatchStatistics::SIZE_BOUNDS.iter().position(|bound| rows <= *bound);
        add(&self.batches, 1);
        add(&self.sizes[size.unwrap_or(BatchStatistics::SIZE_BOUNDS.len())], 1);
        add(&self.items, items.len() as u64);
        add(&self.rows, rows);
        add(&self.queue_micros, waited.as_micros() as u64);
    }

    pub(super) fn ended(&self, time: Duration) {
        add(&self.compute_micros, time.as_micros() as u64);
    }

    pub(super) fn ended_with<O>(&self, result: &Result<O>) {
        if result.is_err() {
            add(&self.failed, 1);
        }
    }

    pub(super) fn repeated(&self) {
        add(&self.repeated, 1);
    }

    pub(super) fn refused(&self) {
        add(&self.refused, 1);
    }

    pub(super) fn left(&self, why: &Error) {
        match why {
            Error::Cancelled => add(&self.cancelled, 1),
            _ => add(&self.expired, 1),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
