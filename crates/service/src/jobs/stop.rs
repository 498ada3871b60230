//! Tells the workers of a process to leave.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Set once, heard by all.
#[derive(Debug, Default)]
pub struct Stop {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Tells everybody to leave.
    pub fn set(&self) {
        *self.lock() = true;
        self.changed.notify_all();
    }

    /// Returns whether everybody should leave.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits for this long, or until it is set.
    pub fn wait(&self, longest: Duration) {
        // Whichever came first, the caller looks again.
        let _woken = self.changed.wait_timeout_while(self.lock(), longest, |is_set| !*is_set);
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
