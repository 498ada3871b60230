//! How much is computed together, and how much may wait.

use std::time::Duration;

/// Settings of the queue in front of every loaded model that is no language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSettings {
    /// The most rows (images, rows of a table, sentences) of a batch of several requests; 1 joins nothing. A request that has more by
    /// itself is computed alone.
    pub size: usize,
    /// How long a request waits for others that could be joined with it. Without a delay it is computed as soon as the model is free,
    /// together with what waits by then.
    pub delay: Duration,
    /// The most requests that wait; the next one is refused.
    pub queued: usize,
}

impl Default for BatchSettings {
    fn default() -> BatchSettings {
        BatchSettings { size: 16, delay: Duration::ZERO, queued: 256 }
    }
}

impl BatchSettings {
    /// Returns the settings of a model whose inputs cannot be joined: one at a time, behind the same queue.
    pub(crate) fn one_by_one(self) -> BatchSettings {
        BatchSettings { size: 1, delay: Duration::ZERO, ..self }
    }
}
