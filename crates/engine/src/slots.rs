//! Which versions are loaded: one slot each, loaded once however many ask, within a budget of memory.
//!
//! ```text
//! lease ── loaded: counted as in use, and taken at once
//!       ── loading: waits for the one who loads
//!       ── cold: prepare -> wait for room (in turn) -> load -> everybody who waited has a lease
//! ```
//!
//! Room is made by unloading what nobody uses, the least recently used first. Where that is not enough, slots in use are closed:
//! those who have them go on, the next ones queue behind the load that waits. So whoever waits gets a turn, and a slot that was
//! loaded is left alone for about as long as loading took, so that turns do not become all there is.

mod admission;
mod flight;
mod lease;
mod report;
mod settings;
mod state;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seedhouse_core::{Digest, Error, Result};

use self::admission::Patience;
use self::flight::{End, Flight};
pub use self::lease::Lease;
pub use self::report::{MemoryReport, SlotReport, SlotState};
pub use self::settings::MemorySettings;
use self::state::{Load, Loaded, Measured, Place, State};
use crate::Slot;
use crate::statistics::VersionCounters;

/// How a version is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SlotOptions {
    /// When the asker gives up.
    pub deadline: Option<Instant>,
    /// Rather fails than unloads a version that is held.
    pub beside_held: bool,
}

/// What a loader hands over.
pub(crate) struct Prepared<L> {
    /// As errors and reports name it.
    pub(crate) model_id: String,
    /// What it will probably take.
    pub(crate) estimate: u64,
    /// Loads it.
    pub(crate) load: L,
}

/// Loaded versions by key.
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    state: Mutex<State>,
    /// Something may be possible that was not.
    changed: Condvar,
    settings: MemorySettings,
    /// Called when a slot's memory was freed.
    freed: Box<dyn Fn() + Send + Sync>,
}

impl Slots {
    pub(crate) fn new(settings: MemorySettings, freed: impl Fn() + Send + Sync + 'static) -> Slots {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Slots { shared: Arc::new(Shared { state, changed, settings, freed: Box::new(freed) }) }
    }

    /// Returns the slot of `key`, counted as in use, loading it if needed.
    pub(crate) fn lease<L: FnOnce() -> Result<Slot>>(
        &self,
        key: &Digest,
        options: SlotOptions,
        prepare: &dyn Fn() -> Result<Prepared<L>>,
    ) -> Result<Lease> {
        let shared = &self.shared;
        let mut turn = None;
        loop {
            let mut state = shared.lock();
            let flight = match state.places.get(key) {
                Some(Place::Loaded(id)) => {
                    let id = *id;
                    let loaded = state.take(id);
                    count(&loaded, VersionCounters::count_hit);
                    return Ok(Lease::new(shared, id, loaded));
                }
                Some(Place::Loading(flight)) => Arc::clone(flight),
                None => {
                    shared.check_crowd(&state)?;
                    let flight = Arc::new(Flight::new(turn.unwrap_or_else(|| state.next_turn())));
                    state.places.insert(*key, Place::Loading(Arc::clone(&flight)));
                    drop(state);
                    return self.load(key, &flight, options, prepare);
                }
            };
            shared.check_crowd(&state)?;
            match shared.wait_for(state, &flight, options.deadline)? {
                End::Made(id, loaded) => {
                    count(&loaded, VersionCounters::count_wait);
                    return Ok(Lease::new(shared, id, loaded));
                }
                End::Failed(error) => return Err(error),
                // Somebody else loads, in the same turn.
                End::GivenUp => turn = Some(flight.turn),
            }
        }
    }

    /// Loads as the only one of this key.
    fn load<L: FnOnce() -> Result<Slot>>(
        &self,
        key: &Digest,
        flight: &Arc<Flight>,
        options: SlotOptions,
        prepare: &dyn Fn() -> Result<Prepared<L>>,
    ) -> Result<Lease> {
        let mut attempt = Attempt { shared: &self.shared, key, flight, ended: false };
        let made = self.make(key, flight.turn, options, prepare);
        attempt.end(made)
    }

    fn make<L: FnOnce() -> Result<Slot>>(
        &self,
        key: &Digest,
        turn: u64,
        options: SlotOptions,
        prepare: &dyn Fn() -> Result<Prepared<L>>,
    ) -> Result<Slot> {
        let Prepared { model_id, estimate, load } = prepare()?;
        let measured = self.shared.lock().measured.get(key).copied();
        let Measured { loaded: least, in_use: needed } =
            measured.unwrap_or(Measured { loaded: estimate, in_use: estimate });
        let patience = Patience { deadline: options.deadline, beside_held: options.beside_held };
        self.shared.wait_for_room(turn, Load { model_id, needed, least, has_room: false }, patience)?;
        load()
    }

    /// Runs `load` when there is room for its result, which is dropped at its end.
    pub(crate) fn with_room<T>(&self, model_id: &str, needed: u64, load: impl FnOnce() -> Result<T>) -> Result<T> {
        let turn = self.shared.lock().next_turn();
        let load_of = Load { model_id: model_id.to_owned(), needed, least: needed, has_room: false };
        self.shared.wait_for_room(turn, load_of, Patience { deadline: None, beside_held: false })?;
        let room = Room { shared: &self.shared, turn };
        let result = load();
        drop(room);
        result
    }

    /// Lets nobody new into the slot of `key`, and frees it when nobody uses it any more. Returns how many use it now; nothing
    /// when it was not loaded.
    pub(crate) fn unload(&self, key: &Digest) -> Option<usize> {
        let mut state = self.shared.lock();
        let Some(Place::Loaded(id)) = state.places.get(key) else { return None };
        let id = *id;
        let in_use = state.residents[&id].in_use;
        let unused = state.close(id);
        self.shared.free(state, unused.into_iter().collect());
        Some(in_use)
    }

    /// Does the same with every slot that `chosen` says, and returns the ids of the versions, sorted.
    pub(crate) fn unload_where(&self, chosen: impl Fn(&Loaded, Option<Duration>) -> bool) -> Vec<String> {
        let mut state = self.shared.lock();
        let now = Instant::now();
        let ids = state.ids_where(|resident| {
            let idle = (resident.in_use == 0).then(|| now.saturating_duration_since(resident.last_used));
            !resident.closing && chosen(&resident.loaded, idle)
        });
        let mut names: Vec<String> =
            ids.iter().map(|id| state.residents[id].loaded.slot.model_id().to_owned()).collect();
        names.sort_unstable();
        let unused = ids.into_iter().filter_map(|id| state.close(id)).collect();
        self.shared.free(state, unused);
        names
    }

    /// Replaces the keys whose slots are never unloaded to make room.
    pub(crate) fn pin(&self, keys: HashSet<Digest>) {
        self.shared.lock().pinned = keys;
        self.shared.changed.notify_all();
    }

    /// Keeps the slot of `key` from being unloaded to make room while the guard lives.
    pub(crate) fn hold(&self, key: &Digest) -> Hold {
        *self.shared.lock().held.entry(*key).or_default() += 1;
        Hold { shared: Arc::clone(&self.shared), key: *key }
    }

    /// Returns whether `key` is loaded.
    pub(crate) fn is_loaded(&self, key: &Digest) -> bool {
        matches!(self.shared.lock().places.get(key), Some(Place::Loaded(_)))
    }

    /// Looks at every slot that takes requests.
    pub(crate) fn of_open<T>(&self, look: impl Fn(&Slot) -> T) -> Vec<T> {
        let state = self.shared.lock();
        state
            .residents
            .values()
            .filter(|resident| !resident.closing)
            .map(|resident| look(&resident.loaded.slot))
            .collect()
    }

    pub(crate) fn report(&self) -> MemoryReport {
        MemoryReport::new(&self.shared.lock(), self.shared.settings.budget)
    }
}

/// Keeps a slot while it lives. See [`Engine::hold`](crate::Engine::hold).
pub struct Hold {
    shared: Arc<Shared>,
    key: Digest,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(holds) = state.held.get_mut(&self.key) {
            *holds -= 1;
            if *holds == 0 {
                state.held.remove(&self.key);
            }
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Room that is taken for a moment.
struct Room<'s> {
    shared: &'s Shared,
    turn: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        (self.shared.freed)();
        self.shared.lock().loads.remove(&self.turn);
        self.shared.changed.notify_all();
    }
}

/// The loader's duty to end the flight, kept even when it panics: nobody may wait for ever.
struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    key: &'a Digest,
    flight: &'a Flight,
    ended: bool,
}

impl Attempt<'_> {
    fn end(&mut self, made: Result<Slot>) -> Result<Lease> {
        self.ended = true;
        let mut state = self.shared.lock();
        state.loads.remove(&self.flight.turn);
        let slot = match made {
            Ok(slot) => slot,
            Err(error) => {
                state.places.remove(self.key);
                state.failed_loads += 1;
                let end = match &error {
                    // Its asker was in a hurry; the others need not be.
                    Error::DeadlineExceeded { .. } => End::GivenUp,
                    error => End::Failed(error.clone()),
                };
                self.flight.set(end);
                drop(state);
                self.shared.changed.notify_all();
                return Err(error);
            }
        };
        let (id, loaded) = state.insert(*self.key, slot, 1 + self.flight.waiters());
        count(&loaded, |counters| counters.count_load(loaded.slot.load_seconds()));
        self.flight.set(End::Made(id, Arc::clone(&loaded)));
        let replaced = state.close_earlier(id);
        let evicted = self.shared.over_budget(&mut state);
        self.shared.free(state, replaced.into_iter().chain(evicted).collect());
        Ok(Lease::new(self.shared, id, loaded))
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let panicked = Error::Internal("the thread that was loading the version panicked".into());
            // The panic itself goes on; this tells the others.
            let _told = self.end(Err(panicked));
        }
    }
}

impl Shared {
    /// Nothing that can panic runs under this lock, so a poisoned one still holds a whole value.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses one more to wait where too many do.
    fn check_crowd(&self, state: &State) -> Result<()> {
        let limit = self.settings.waiting;
        match state.waiting + state.loads.len() < limit {
            true => Ok(()),
            false => Err(Error::Exhausted { what: "requests that wait for a version to load".into(), limit }),
        }
    }

    /// Waits for the end of somebody else's load.
    fn wait_for(&self, mut state: MutexGuard<'_, State>, flight: &Flight, deadline: Option<Instant>) -> Result<End> {
        let started = Instant::now();
        let deadline = deadline.unwrap_or(started + self.settings.patience);
        flight.join();
        state.waiting += 1;
        let end = loop {
            if let Some(end) = flight.end() {
                break Ok(end);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                flight.leave();
                break Err(overdue("loading the version", started));
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        state.waiting -= 1;
        end
    }

    /// Drops slots that were taken out of the state, outside its lock, and counts their memory as used until then.
    fn free(&self, mut state: MutexGuard<'_, State>, slots: Vec<Arc<Loaded>>) {
        let bytes: u64 = slots.iter().map(|loaded| loaded.slot.memory_bytes()).sum();
        state.freeing += bytes;
        drop(state);
        if slots.is_empty() {
            return self.changed.notify_all();
        }
        for loaded in slots {
            tracing::info!(model.id = loaded.slot.model_id(), bytes = loaded.slot.memory_bytes(), "unloaded a version");
            drop(loaded);
        }
        (self.freed)();
        self.lock().freeing -= bytes;
        self.changed.notify_all();
    }
}

fn count(loaded: &Loaded, count: impl FnOnce(&VersionCounters)) {
    if let Some(counters) = loaded.slot.counters() {
        count(counters);
    }
}

fn overdue(what: &str, since: Instant) -> Error {
    Error::DeadlineExceeded { what: what.to_owned(), seconds: since.elapsed().as_secs_f64() }
}
