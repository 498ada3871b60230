//! Which versions stay in memory: pins, those that are loaded at the start, and when idle ones go.

use std::collections::HashSet;
use std::time::Duration;

use seedhouse_core::{Digest, Reference};

use crate::Service;
use crate::infer::slot_key;

/// What whoever runs the server wants to have in memory.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Versions that are never unloaded to make room. An alias pins what it points at now.
    pub pinned: Vec<Reference>,
    /// Versions that are loaded at the start.
    pub preloaded: Vec<Reference>,
    /// How long a version may be without a request before it is unloaded; for ever without it.
    pub unload_after: Option<Duration>,
}

impl Service {
    /// Loads what is to be loaded at the start. What cannot be loaded is logged: the server is there for everything else.
    pub fn preload(&self) {
        self.tend_slots();
        self.load_preloaded();
        self.health.preload_is_over();
    }

    fn load_preloaded(&self) {
        for reference in &self.kept.preloaded {
            if self.stop.is_set() {
                return;
            }
            if let Err(error) = self.load(reference) {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%reference, error, "cannot load what is to be loaded at the start");
            }
        }
    }

    /// Brings the pins up to date, since aliases move, unloads what was idle for too long, and forgets what was counted of versions
    /// that are gone.
    pub fn tend_slots(&self) {
        let pinned = self.pinned_keys();
        self.engine.pin(pinned.clone());
        if let Some(idle) = self.kept.unload_after {
            self.engine.unload_idle(idle, &pinned);
        }
        if let Err(error) = self.forget_deleted() {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot see which versions were deleted");
        }
    }

    /// Returns how long to wait between two times of tending slots.
    pub fn tending_pause(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(10);
        const SHORTEST: Duration = Duration::from_millis(100);
        self.kept.unload_after.map_or(LONGEST, |idle| (idle / 4).clamp(SHORTEST, LONGEST))
    }

    /// Returns the slots of the pinned versions.
    pub(crate) fn pinned_keys(&self) -> HashSet<Digest> {
        let key = |reference: &Reference| match self.store.version(reference) {
            Ok(entry) => Some(slot_key(&entry)),
            Err(error) => {
                tracing::warn!(%reference, error = &error as &dyn std::error::Error, "cannot pin");
                None
            }
        };
        self.kept.pinned.iter().filter_map(key).collect()
    }
}
