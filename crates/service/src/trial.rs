//! Trials of aliases: canaries, which answer a share of the requests, and shadows, which compute copies of them.
//!
//! What is tried stands in the record of the version that the alias points at, so that it is read with it. Who draws is the process: the
//! n-th request by an alias goes to the canary where the fractional part of n times the golden ratio is below its weight. That spreads them
//! evenly, is the same after every start, and never falls in step with clients that take turns.
//!
//! A canary that gives no answer does not fail the request: the alias's own version answers it, the answer says so, and it is counted. Where
//! the own version gives none either, the request was at fault, and not the canary.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seedhouse_core::{
    Action, Alias, Code, Entry, Error, Kind, ModelId, ModelName, Reference, Result, Selector, Share, Trial, TrialKind,
    TrialSetting,
};
use serde::Serialize;

use crate::deploy::lock;
use crate::infer::slot_key;
use crate::{Origin, Service, Warming};

/// What a canary had to do with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanaryPart {
    /// It gave the answer.
    Answered,
    /// It should have, and could not; the alias's own version did.
    Failed {
        /// The canary.
        model_id: ModelId,
        /// Why.
        code: Code,
    },
}

/// An alias, and what is tried under it.
#[derive(Debug, Clone, PartialEq)]
pub struct AliasReport {
    /// Its name.
    pub alias: Alias,
    /// The version that it points at.
    pub model_id: ModelId,
    /// Its trials, with what came of them in this process.
    pub trials: Vec<(TrialKind, Trial, TrialFigures)>,
}

/// What came of a trial in this process since it was started, or the trial changed to another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TrialFigures {
    /// Requests that were drawn for it.
    pub requests: u64,
    /// Those that it computed.
    pub answered: u64,
    /// Those that it could not compute.
    pub failed: u64,
    /// Of a shadow: answers that were those of the alias's own version.
    pub same: u64,
    /// Of a shadow: answers that were others.
    pub different: u64,
    /// Of a shadow: requests that were not computed because too many waited.
    pub dropped: u64,
}

/// The same, while it is counted.
#[derive(Default)]
pub(crate) struct Counters {
    /// Requests by the alias, drawn or not.
    asked: AtomicU64,
    requests: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    same: AtomicU64,
    different: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    fn read(&self) -> TrialFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TrialFigures {
            requests: read(&self.requests),
            answered: read(&self.answered),
            failed: read(&self.failed),
            same: read(&self.same),
            different: read(&self.different),
            dropped: read(&self.dropped),
        }
    }

    /// Draws for the next request.
    fn draws(&self, share: Share) -> bool {
        let is_drawn = falls_into(share, self.asked.fetch_add(1, Ordering::Relaxed));
        if is_drawn {
            add(&self.requests);
        }
        is_drawn
    }

    pub(crate) fn answered(&self) {
        add(&self.answered);
    }

    pub(crate) fn failed(&self) {
        add(&self.failed);
    }

    pub(crate) fn compared(&self, is_same: bool) {
        add(if is_same { &self.same } else { &self.different });
    }

    pub(crate) fn dropped(&self) {
        add(&self.dropped);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Returns whether the request of this number, counted from 0, is one of the share.
fn falls_into(share: Share, number: u64) -> bool {
    /// The golden ratio without its whole part, in units of 2^-64 (Weyl 1916: its multiples fill the interval evenly).
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let share = share.as_f64();
    // The upper 53 bits are all that an f64 holds.
    let place = (number.wrapping_add(1).wrapping_mul(GOLDEN) >> 11) as f64 / (1_u64 << 53) as f64;
    place < share
}

/// What is counted about trials, by alias and kind. A trial of another version begins anew.
#[derive(Default)]
pub(crate) struct Trials {
    counters: Mutex<HashMap<TrialOf, (ModelId, Arc<Counters>)>>,
}

/// The alias that is on trial, and how.
type TrialOf = (ModelName, Alias, TrialKind);

impl Trials {
    fn counters(&self, base: &ModelName, alias: &Alias, kind: TrialKind, model_id: &ModelId) -> Arc<Counters> {
        let mut all = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || (model_id.clone(), Arc::default());
        let (of, counters) = all.entry((base.clone(), alias.clone(), kind)).or_insert_with(fresh);
        if of != model_id {
            (*of, *counters) = fresh();
        }
        Arc::clone(counters)
    }

    /// Returns the trial that the next request by an alias is drawn for, if it is.
    pub(crate) fn drawn(&self, entry: &Entry, alias: &Alias, kind: TrialKind) -> Option<(ModelId, Arc<Counters>)> {
        let Trial { model_id, share } = entry.record.trial(alias, kind)?;
        let counters = self.counters(&entry.base, alias, kind, &model_id);
        counters.draws(share).then_some((model_id, counters))
    }
}

/// Returns whether an error is the version's own fault, where no other version can be asked or the error is that of one of several items.
pub(crate) fn blames_the_version(code: Code) -> bool {
    match code {
        Code::NotFound
        | Code::FailedPrecondition
        | Code::Unsupported
        | Code::Corrupt
        | Code::Unavailable
        | Code::Internal => true,
        Code::Invalid
        | Code::AlreadyExists
        | Code::Conflict
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::TooLarge
        | Code::Exhausted
        | Code::Cancelled
        | Code::Deadline => false,
    }
}

impl Service {
    /// Begins a trial of an alias, or changes it: the version that a reference names gets a share of the requests. Where the alias is
    /// served, the version is loaded and tried first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a version of another model, or the one that the alias points at; where it is warmed,
    /// whatever keeps it from answering. After an error everything is as it was.
    pub fn set_trial(
        &self,
        at: TrialPlace,
        reference: &Reference,
        share: Share,
        warming: Warming,
        origin: Origin,
    ) -> Result<Entry> {
        let TrialPlace { base, alias, kind } = at;
        let entry = self.store.version(reference)?;
        let moves = self.served_aliases.moves_of(&base);
        let _alone = lock(&moves);
        let holder = self.holder(&base, &alias)?;
        let holder = holder.ok_or_else(|| Error::not_found(Kind::Alias, format!("{base}@{alias}")))?;
        let hold = self.engine.hold(&slot_key(&holder));
        let is_other = entry.base == base && slot_key(&entry) != slot_key(&holder);
        let warm = match is_other && self.is_to_be_warmed(warming, &alias, Some(&holder)) {
            true => Some(self.warm(&entry)?),
            false => None,
        };
        let trial = Some(Trial { model_id: entry.record.model_id, share });
        let changed = self.change(Action::SetTrial(TrialSetting { base, alias, kind, trial }), origin)?;
        drop((warm, hold));
        Ok(changed)
    }

    /// Ends a trial of an alias, if there is one. The version that was tried is drained, unless an alias points at it or it is pinned.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such alias.
    pub fn end_trial(&self, at: TrialPlace, origin: Origin) -> Result<Entry> {
        let TrialPlace { base, alias, kind } = at;
        let tried = self.holder(&base, &alias)?.and_then(|holder| holder.record.trial(&alias, kind));
        let changed = self.change(Action::SetTrial(TrialSetting { base, alias, kind, trial: None }), origin)?;
        if let Some(Trial { model_id, .. }) = tried {
            self.drain(&self.store.version_even_deleted(&model_id)?)?;
        }
        Ok(changed)
    }

    /// Returns the aliases of a model with their trials, sorted by name.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such model.
    pub fn aliases(&self, base: &ModelName) -> Result<Vec<AliasReport>> {
        let mut reports = Vec::new();
        for entry in self.store.versions(base)? {
            for alias in entry.record.aliases() {
                let trial = |kind| {
                    let trial = entry.record.trial(&alias, kind)?;
                    let figures = self.trials.counters(base, &alias, kind, &trial.model_id).read();
                    Some((kind, trial, figures))
                };
                let trials = TrialKind::ALL.into_iter().filter_map(trial).collect();
                reports.push(AliasReport { alias, model_id: entry.record.model_id.clone(), trials });
            }
        }
        reports.sort_by(|one, other| one.alias.cmp(&other.alias));
        Ok(reports)
    }

    /// Returns a version that is tried and was not deleted.
    pub(crate) fn tried_version(&self, model_id: &ModelId) -> Result<Entry> {
        match self.store.version_even_deleted(model_id)? {
            deleted if deleted.record.deleted_at().is_some() => Err(Error::not_found(Kind::ModelId, model_id)),
            entry => Ok(entry),
        }
    }

    /// Returns the version that an alias points at.
    pub(crate) fn holder(&self, base: &ModelName, alias: &Alias) -> Result<Option<Entry>> {
        let reference = Reference { name: base.clone(), selector: Selector::Alias(alias.clone()) };
        match self.store.version(&reference) {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Which trial of which alias.
#[derive(Debug, Clone)]
pub struct TrialPlace {
    /// The model.
    pub base: ModelName,
    /// Its alias.
    pub alias: Alias,
    /// Canary or shadow.
    pub kind: TrialKind,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_met_from_the_first_requests_on() {
        for share in [0.0, 0.01, 0.1, 0.25, 0.5, 0.9, 1.0] {
            let parsed = Share::try_from(share).unwrap();
            let mut drawn = 0;
            for number in 0..10_000_u64 {
                drawn += u64::from(falls_into(parsed, number));
                let expected = share * (number + 1) as f64;
                assert!((drawn as f64 - expected).abs() < 4.0, "{drawn} of {} are not {share}", number + 1);
            }
            if share == 0.0 || share == 1.0 {
                assert_eq!(drawn as f64, share * 10_000.0);
            }
        }
    }

    #[test]
    fn clients_that_take_turns_are_both_tried() {
        let half = Share::try_from(0.5).unwrap();
        let drawn = |first: u64| (first..1000).step_by(2).filter(|number| falls_into(half, *number)).count();
        assert!((230..=270).contains(&drawn(0)) && (230..=270).contains(&drawn(1)), "{} and {}", drawn(0), drawn(1));
    }
}
