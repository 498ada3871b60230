//! How much memory loaded versions may take, and how long anybody waits for it.

use std::time::Duration;

/// Settings of what is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySettings {
    /// The bytes of all loaded versions together; no limit without it.
    pub budget: Option<u64>,
    /// How long somebody without a deadline waits for a version.
    pub patience: Duration,
    /// The most who wait for versions; the next one is refused.
    pub waiting: usize,
}

impl Default for MemorySettings {
    fn default() -> MemorySettings {
        MemorySettings { budget: None, patience: Duration::from_secs(120), waiting: 256 }
    }
}
