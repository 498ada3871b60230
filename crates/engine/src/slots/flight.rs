//! One load that many may wait for.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use seedhouse_core::Error;

use super::state::Loaded;

/// A load from its beginning to its end. What it says changes only under the lock of the slots.
pub(super) struct Flight {
    /// Its place among the loads that wait for room.
    pub(super) turn: u64,
    waiters: AtomicUsize,
    end: OnceLock<End>,
}

/// How a load ended.
#[derive(Clone)]
pub(super) enum End {
    /// With a slot, which counts everybody who waited as its user already.
    Made(u64, Arc<Loaded>),
    /// With an error that everybody is told.
    Failed(Error),
    /// Its loader had no more time: somebody else may try.
    GivenUp,
}

impl Flight {
    pub(super) fn new(turn: u64) -> Flight {
        Flight { turn, waiters: AtomicUsize::new(0), end: OnceLock::new() }
    }

    pub(super) fn join(&self) {
        self.waiters.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn waiters(&self) -> usize {
        self.waiters.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, end: End) {
        // A flight ends once.
        let _first = self.end.set(end);
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end.get().cloned()
    }
}
