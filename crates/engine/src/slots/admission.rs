//! Who gets room, and what is unloaded for it.
//!
//! Loads that wait have turns. The first one gets what is free, then what nobody uses, and at last has slots in use closed. A
//! later one goes before it only where what stays is enough for both.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use seedhouse_core::{Error, Result};

use super::state::{Load, Loaded, Resident, State};
use super::{Shared, overdue};

/// How somebody waits for room.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) deadline: Option<Instant>,
    /// Whether to fail where what is held leaves no room.
    pub(super) beside_held: bool,
}

/// What a load may do now.
enum Decision {
    Go,
    /// When these are gone; they are out of the state already.
    After(Vec<Arc<Loaded>>),
    /// Something has to change; until then at the latest look again.
    Wait(Option<Instant>),
}

impl Shared {
    /// Returns when the load of this turn has room, which stays its own until it is removed from the state.
    pub(super) fn wait_for_room(&self, turn: u64, load: Load, patience: Patience) -> Result<()> {
        let started = Instant::now();
        let deadline = patience.deadline.unwrap_or(started + self.settings.patience);
        let what = format!("waiting for memory for `{}`", load.model_id);
        let mut state = self.lock();
        state.loads.insert(turn, load);
        loop {
            let decision = match self.decide(&mut state, turn, patience.beside_held) {
                Ok(Decision::Wait(_)) if Instant::now() >= deadline => Err(overdue(&what, started)),
                decision => decision,
            };
            match decision {
                Ok(Decision::Go) => {
                    state.loads.get_mut(&turn).expect("inserted above").has_room = true;
                    drop(state);
                    self.changed.notify_all();
                    return Ok(());
                }
                Ok(Decision::After(slots)) => {
                    self.free(state, slots);
                    state = self.lock();
                }
                Ok(Decision::Wait(until)) => {
                    let end = until.map_or(deadline, |until| until.min(deadline));
                    let left = end.saturating_duration_since(Instant::now());
                    state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                }
                Err(error) => {
                    state.loads.remove(&turn);
                    drop(state);
                    self.changed.notify_all();
                    return Err(error);
                }
            }
        }
    }

    fn decide(&self, state: &mut State, turn: u64, beside_held: bool) -> Result<Decision> {
        let Some(budget) = self.settings.budget else { return Ok(Decision::Go) };
        let load = &state.loads[&turn];
        let is_kept = |resident: &&Resident| {
            !resident.closing && (state.is_pinned(resident) || (beside_held && state.is_held(resident)))
        };
        let kept: u64 = state.residents.values().filter(is_kept).map(Resident::bytes).sum();
        let most = budget.saturating_sub(kept);
        if load.least > most {
            return Err(Error::DoesNotFit { model_id: load.model_id.clone(), needed: load.least, budget, kept });
        }
        // Caches may have been larger than there is room for now; they grow as far as they do.
        let needed = load.needed.min(most);
        state.loads.get_mut(&turn).expect("the caller has inserted it").needed = needed;
        let before_it = state.loads.range(..turn).filter(|(_, load)| !load.has_room);
        let ahead: u64 = before_it.map(|(_, load)| load.needed).sum();
        let left = budget.saturating_sub(staying(state));
        if ahead + needed > left {
            return Ok(match ahead {
                0 => close_in_use(state, needed - left),
                _ => Decision::Wait(None),
            });
        }
        let Some(excess) = (state.used() + needed).checked_sub(budget).filter(|excess| *excess > 0) else {
            return Ok(Decision::Go);
        };
        let now = Instant::now();
        let spared = |resident: &Resident| resident.spared_until().filter(|until| *until > now);
        let evicted = evict_idle(state, excess, |_, resident| spared(resident).is_some());
        if !evicted.is_empty() {
            return Ok(Decision::After(evicted));
        }
        let idle = state.residents.values().filter(|resident| resident.in_use == 0 && state.may_go(resident));
        Ok(Decision::Wait(idle.filter_map(spared).min()))
    }

    /// Takes out what nobody uses as far as more is used than the budget allows: caches grow while they are used.
    pub(super) fn over_budget(&self, state: &mut State) -> Vec<Arc<Loaded>> {
        let Some(excess) = self.settings.budget.and_then(|budget| state.used().checked_sub(budget)) else {
            return Vec::new();
        };
        // The one that was used last stays, or a model whose cache alone is too much would be loaded for every request.
        let latest = state.residents.iter().max_by_key(|(_, resident)| resident.last_used).map(|(id, _)| *id);
        evict_idle(state, excess, |id, _| Some(id) == latest)
    }
}

/// Returns what cannot be counted on: pinned, held, in use, or promised to loads.
fn staying(state: &State) -> u64 {
    let stays = |resident: &&Resident| {
        !resident.closing && (resident.in_use > 0 || state.is_pinned(resident) || state.is_held(resident))
    };
    state.residents.values().filter(stays).map(Resident::bytes).sum::<u64>() + state.promised()
}

/// Takes out what nobody uses, the least recently used first, until that many bytes are; but not what stays.
fn evict_idle(state: &mut State, excess: u64, stays: impl Fn(u64, &Resident) -> bool) -> Vec<Arc<Loaded>> {
    let mut idle = state.ids_where(|resident| resident.in_use == 0 && state.may_go(resident));
    idle.retain(|id| !stays(*id, &state.residents[id]));
    idle.sort_by_key(|id| state.residents[id].last_used);
    let (mut evicted, mut bytes) = (Vec::new(), 0);
    for id in idle {
        if bytes >= excess {
            break;
        }
        bytes += state.residents[&id].bytes();
        evicted.extend(state.evict(id));
    }
    evicted
}

/// Closes slots in use, those first that were loaded first, until so many bytes more will be free. Those that were loaded a moment
/// ago are spared.
fn close_in_use(state: &mut State, excess: u64) -> Decision {
    let now = Instant::now();
    let used = state.ids_where(|resident| resident.in_use > 0 && state.may_go(resident));
    let mut spared: Option<Instant> = None;
    let mut bytes = 0;
    for id in used {
        if bytes >= excess {
            break;
        }
        let resident = &state.residents[&id];
        let ends = resident.loaded.tenure_ends();
        if ends > now {
            spared = Some(spared.map_or(ends, |earliest| earliest.min(ends)));
            continue;
        }
        bytes += resident.bytes();
        // In use, so it is freed later.
        state.evict(id);
    }
    Decision::Wait(if bytes >= excess { None } else { spared })
}
