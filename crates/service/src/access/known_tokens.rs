//! The tokens as this process last read them, so that a request costs no look into the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use seedhouse_core::{Digest, Result, Token, TokenStore};

use super::Secret;

/// How old the knowledge may be. Revoking by another process must hold within a second; this leaves time for the reading.
const FRESH: Duration = Duration::from_millis(500);

/// The store, and what was read from it last.
pub(super) struct KnownTokens {
    store: Arc<dyn TokenStore>,
    latest: Mutex<Option<Arc<Snapshot>>>,
    /// Held while the store is read for the snapshot or changed: one reads for all who wait, and what was read before a
    /// change of our own is never kept after it.
    at_work: Mutex<()>,
}

/// All tokens at one moment.
pub(super) struct Snapshot {
    read_at: Instant,
    by_digest: HashMap<Digest, Token>,
}

impl Snapshot {
    /// Returns whether there is no token that anybody would have to show.
    pub(super) fn is_without_tokens(&self) -> bool {
        self.by_digest.values().all(|token| token.revoked_at.is_some())
    }

    /// Returns the token with this secret. Digests are looked up, secrets are never compared, so the time it takes tells
    /// nothing about them.
    pub(super) fn of_secret(&self, secret: &Secret) -> Option<&Token> {
        if !secret.has_our_shape() {
            return None;
        }
        self.by_digest.get(&secret.digest())
    }
}

impl KnownTokens {
    /// Knows nothing yet.
    pub(super) fn new(store: Arc<dyn TokenStore>) -> KnownTokens {
        KnownTokens { store, latest: Mutex::new(None), at_work: Mutex::new(()) }
    }

    /// Returns all tokens as they are.
    pub(super) fn read(&self) -> Result<Vec<Token>> {
        self.store.tokens()
    }

    /// Changes the tokens; what was known before is forgotten.
    pub(super) fn change<T>(&self, change: impl FnOnce(&dyn TokenStore) -> Result<T>) -> Result<T> {
        let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&*self.store);
        self.keep(None);
        outcome
    }

    /// Returns what is known, unless it is too old.
    pub(super) fn fresh_snapshot(&self) -> Option<Arc<Snapshot>> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.as_ref().filter(|snapshot| snapshot.read_at.elapsed() < FRESH).cloned()
    }

    /// Returns what is known, after reading it again if it is too old.
    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>> {
        if let Some(snapshot) = self.fresh_snapshot() {
            return Ok(snapshot);
        }
        let _at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have read it while this one waited.
        if let Some(snapshot) = self.fresh_snapshot() {
            return Ok(snapshot);
        }
        let read_at = Instant::now();
        let by_digest = self.store.tokens()?.into_iter().map(|token| (token.digest, token)).collect();
        let snapshot = Arc::new(Snapshot { read_at, by_digest });
        self.keep(Some(snapshot.clone()));
        Ok(snapshot)
    }

    fn keep(&self, snapshot: Option<Arc<Snapshot>>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}
