//! The whole state of a metadata store at one revision, read piece by piece: what a backup is made of.

use serde::{Deserialize, Serialize};

use crate::{Digest, Entry, Event, ModelId, Result};

/// A consistent view while writes go on. Each of the three sequences is read once, in any order to each other; an empty
/// answer is its end.
pub trait Snapshot: Send {
    /// Returns the revision that is shown, which is the number of the last event.
    fn revision(&self) -> u64;

    /// Returns at most `limit` further events, oldest first.
    fn next_events(&mut self, limit: usize) -> Result<Vec<Event>>;

    /// Returns at most `limit` further versions, deleted ones too, oldest registration first.
    fn next_entries(&mut self, limit: usize) -> Result<Vec<Entry>>;

    /// Returns at most `limit` further idempotency keys, in their order as text.
    fn next_keys(&mut self, limit: usize) -> Result<Vec<RememberedKey>>;
}

/// What was registered with an idempotency key, so that the same request is answered with the same version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedKey {
    /// The key.
    pub key: String,
    /// The version that it made.
    pub model_id: ModelId,
    /// What was asked for: [`Registration::fingerprint`](crate::Registration::fingerprint).
    pub fingerprint: Digest,
}
