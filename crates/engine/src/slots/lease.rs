//! The right to use a slot.

use std::ops::Deref;
use std::sync::Arc;

use super::Shared;
use super::state::Loaded;
use crate::Slot;

/// A slot in use. It is not unloaded before the last lease is gone.
pub struct Lease {
    shared: Arc<Shared>,
    id: u64,
    /// There until the lease is dropped.
    loaded: Option<Arc<Loaded>>,
}

impl Lease {
    /// The caller has counted it.
    pub(super) fn new(shared: &Arc<Shared>, id: u64, loaded: Arc<Loaded>) -> Lease {
        Lease { shared: Arc::clone(shared), id, loaded: Some(loaded) }
    }
}

impl Deref for Lease {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.loaded.as_ref().expect("it is there until the lease is dropped").slot
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The last one to hold the slot frees it, and that shall not be this one, under no lock and uncounted.
        self.loaded = None;
        let mut state = self.shared.lock();
        let unused = state.give_back(self.id);
        let evicted = self.shared.over_budget(&mut state);
        let slots: Vec<Arc<Loaded>> = unused.into_iter().chain(evicted).collect();
        if slots.is_empty() && state.loads.is_empty() {
            return;
        }
        self.shared.free(state, slots);
    }
}
