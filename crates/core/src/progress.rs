//! How long work says how far it is, and hears that it should stop.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// What long work tells the one who waits for it. Whoever starts the work hands it in; shared between threads.
///
/// Work is a row of stages. Within a stage, `advance` counts towards `total` in the unit of the stage.
pub trait Progress: Send + Sync {
    /// Begins a stage: what is being done, e.g. `copying files`, and how much of it there is, where that is known.
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit);

    /// Says that so much more of the stage is done.
    fn advance(&self, amount: u64);

    /// Keeps a line about something worth knowing afterwards; nothing that comes once per item.
    fn note(&self, _text: &str) {}

    /// Keeps what was measured so far, in place of what was told before; nothing that comes more often than people look.
    fn figures(&self, _figures: &Value) {}

    /// Says that what was done so far is kept: if it has to be begun again, it goes on from here.
    fn milestone(&self) {}

    /// Returns whether the work should stop. Asked often: between files, and between blocks of a large one.
    fn is_cancelled(&self) -> bool;

    /// Ends the work where it should stop.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    fn check(&self) -> Result<()> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}

/// What a stage counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressUnit {
    /// Bytes.
    Bytes,
    /// Versions, events, files: whatever the stage is about, one by one.
    Items,
}

/// For work that nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Progress for Unwatched {
    fn stage(&self, _name: &str, _total: Option<u64>, _unit: ProgressUnit) {}

    fn advance(&self, _amount: u64) {}

    fn is_cancelled(&self) -> bool {
        false
    }
}
