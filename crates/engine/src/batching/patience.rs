//! How long a caller waits for an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seedhouse_core::{Error, Result};

/// Says that a caller is gone. Clones say the same.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Nobody waits for the answer any more.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the caller is gone.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Until when a caller waits, and whether it still does.
#[derive(Debug, Clone)]
pub struct Patience {
    /// When it began to wait.
    since: Instant,
    /// How long it waits; for ever without it.
    timeout: Option<Duration>,
    cancel: Cancel,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience::new(None, Cancel::default())
    }
}

impl Patience {
    /// Returns the patience of somebody who waits from now on.
    pub fn new(timeout: Option<Duration>, cancel: Cancel) -> Patience {
        Patience { since: Instant::now(), timeout, cancel }
    }

    /// Returns when the time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| self.since.checked_add(timeout))
    }

    /// Checks that an answer is still wanted.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::DeadlineExceeded`].
    pub fn check(&self, model_id: &str) -> Result<()> {
        if self.cancel.is_set() {
            return Err(Error::Cancelled);
        }
        match self.deadline() {
            Some(deadline) if Instant::now() >= deadline => Err(self.overdue(model_id)),
            _ => Ok(()),
        }
    }

    fn overdue(&self, model_id: &str) -> Error {
        let seconds = self.timeout.unwrap_or_default().as_secs_f64();
        Error::DeadlineExceeded { what: format!("waiting for `{model_id}`"), seconds }
    }
}
