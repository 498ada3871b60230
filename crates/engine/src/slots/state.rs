//! What is loaded, being loaded and being freed, and the rules of counting it. Everything here happens under one lock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seedhouse_core::{Digest, Timestamp};

use super::flight::Flight;
use crate::Slot;

/// A version that was loaded.
pub(crate) struct Loaded {
    pub(super) key: Digest,
    pub(super) slot: Slot,
    pub(super) since: Instant,
    pub(super) loaded_at: Timestamp,
}

impl Loaded {
    /// Returns what it was asked for by.
    pub(crate) fn key(&self) -> &Digest {
        &self.key
    }

    /// Returns until when it is left alone where others wait for its memory.
    pub(super) fn tenure_ends(&self) -> Instant {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(10);
        self.since + Duration::from_secs_f64(self.slot.load_seconds().clamp(0.0, 10.0)).clamp(SHORTEST, LONGEST)
    }
}

/// Where a key is.
pub(super) enum Place {
    Loading(Arc<Flight>),
    /// By the number of the resident.
    Loaded(u64),
}

/// A loaded version and who uses it.
pub(super) struct Resident {
    pub(super) loaded: Arc<Loaded>,
    pub(super) in_use: usize,
    pub(super) last_used: Instant,
    pub(super) last_used_at: Timestamp,
    /// How often it was taken.
    pub(super) requests: u64,
    /// Nobody new is let in; it is freed when the last one leaves.
    pub(super) closing: bool,
}

impl Resident {
    pub(super) fn bytes(&self) -> u64 {
        self.loaded.slot.memory_bytes()
    }

    /// Returns until when it is not unloaded although nobody uses it: between two requests of a busy client it is idle for a
    /// moment, and that must not end its tenure. Nothing for one that is in use.
    pub(super) fn spared_until(&self) -> Option<Instant> {
        const MOMENT: Duration = Duration::from_millis(20);
        (self.in_use == 0).then(|| self.loaded.tenure_ends().min(self.last_used + MOMENT))
    }
}

/// A load that waits for room or has it.
pub(super) struct Load {
    pub(super) model_id: String,
    /// With caches as they were when it was last used.
    pub(super) needed: u64,
    /// Without them.
    pub(super) least: u64,
    pub(super) has_room: bool,
}

/// What a version took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Right after it was loaded.
    pub(super) loaded: u64,
    /// With its caches, when a request last ended.
    pub(super) in_use: u64,
}

/// Everything about slots that changes.
#[derive(Default)]
pub(super) struct State {
    pub(super) places: HashMap<Digest, Place>,
    pub(super) residents: BTreeMap<u64, Resident>,
    /// By turn.
    pub(super) loads: BTreeMap<u64, Load>,
    /// What was taken out and is not freed yet.
    pub(super) freeing: u64,
    pub(super) waiting: usize,
    pub(super) pinned: HashSet<Digest>,
    pub(super) held: HashMap<Digest, usize>,
    /// What versions took: better than an estimate the next time.
    pub(super) measured: HashMap<Digest, Measured>,
    pub(super) loaded_count: u64,
    pub(super) failed_loads: u64,
    pub(super) evictions: u64,
    last_number: u64,
}

impl State {
    /// Returns a number that was never given out; turns and residents share them.
    pub(super) fn next_turn(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Adds a loaded version.
    pub(super) fn insert(&mut self, key: Digest, slot: Slot, in_use: usize) -> (u64, Arc<Loaded>) {
        let id = self.next_turn();
        let (since, loaded_at) = (Instant::now(), Timestamp::now());
        let bytes = slot.memory_bytes();
        let in_use_bytes = self.measured.get(&key).map_or(bytes, |before| before.in_use.max(bytes));
        self.measured.insert(key, Measured { loaded: bytes, in_use: in_use_bytes });
        self.loaded_count += 1;
        let loaded = Arc::new(Loaded { key, slot, since, loaded_at });
        let resident = Resident {
            loaded: Arc::clone(&loaded),
            in_use,
            last_used: since,
            last_used_at: loaded_at,
            requests: in_use as u64,
            closing: false,
        };
        self.residents.insert(id, resident);
        self.places.insert(key, Place::Loaded(id));
        (id, loaded)
    }

    /// Counts one more user.
    pub(super) fn take(&mut self, id: u64) -> Arc<Loaded> {
        let resident = self.residents.get_mut(&id).expect("a place names a resident");
        resident.in_use += 1;
        resident.requests += 1;
        Arc::clone(&resident.loaded)
    }

    /// Counts one user less. Returns the slot when it shall be freed now.
    pub(super) fn give_back(&mut self, id: u64) -> Option<Arc<Loaded>> {
        let resident = self.residents.get_mut(&id)?;
        resident.in_use -= 1;
        resident.last_used = Instant::now();
        resident.last_used_at = Timestamp::now();
        if let Some(measured) = self.measured.get_mut(&resident.loaded.key) {
            measured.in_use = resident.loaded.slot.memory_bytes();
        }
        if !resident.closing || resident.in_use > 0 {
            return None;
        }
        self.residents.remove(&id).map(|resident| resident.loaded)
    }

    /// Lets nobody new in, to make room. Returns the slot when nobody is in.
    pub(super) fn evict(&mut self, id: u64) -> Option<Arc<Loaded>> {
        self.evictions += 1;
        if let Some(counters) = self.residents[&id].loaded.slot.counters() {
            counters.count_eviction();
        }
        self.close(id)
    }

    /// Lets nobody new in. Returns the slot when nobody is in.
    pub(super) fn close(&mut self, id: u64) -> Option<Arc<Loaded>> {
        let resident = self.residents.get_mut(&id)?;
        if !resident.closing {
            resident.closing = true;
            let key = resident.loaded.key;
            if matches!(self.places.get(&key), Some(Place::Loaded(open)) if *open == id) {
                self.places.remove(&key);
            }
        }
        if self.residents[&id].in_use > 0 {
            return None;
        }
        self.residents.remove(&id).map(|resident| resident.loaded)
    }

    /// Closes what the resident replaces: the same version as its record was before it was edited or mended.
    pub(super) fn close_earlier(&mut self, id: u64) -> Vec<Arc<Loaded>> {
        let model_id = self.residents[&id].loaded.slot.model_id().to_owned();
        let earlier = self.ids_where(|resident| !resident.closing && resident.loaded.slot.model_id() == model_id);
        earlier.into_iter().filter(|other| *other != id).filter_map(|other| self.close(other)).collect()
    }

    pub(super) fn ids_where(&self, chosen: impl Fn(&Resident) -> bool) -> Vec<u64> {
        self.residents.iter().filter(|(_, resident)| chosen(resident)).map(|(id, _)| *id).collect()
    }

    /// Returns all bytes that are taken or promised.
    pub(super) fn used(&self) -> u64 {
        let residents: u64 = self.residents.values().map(Resident::bytes).sum();
        residents + self.promised() + self.freeing
    }

    /// Returns what loads have room for.
    pub(super) fn promised(&self) -> u64 {
        self.loads.values().filter(|load| load.has_room).map(|load| load.needed).sum()
    }

    pub(super) fn is_pinned(&self, resident: &Resident) -> bool {
        self.pinned.contains(&resident.loaded.key)
    }

    pub(super) fn is_held(&self, resident: &Resident) -> bool {
        self.held.contains_key(&resident.loaded.key)
    }

    /// Returns whether a resident may be unloaded to make room, whoever uses it.
    pub(super) fn may_go(&self, resident: &Resident) -> bool {
        !resident.closing && !self.is_pinned(resident) && !self.is_held(resident)
    }
}
