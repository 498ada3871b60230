//! Moving an alias that is served: warm the new version, swap, drain the old one.
//!
//! The record of the alias is the truth: requests resolve it each time. What is added here is the order. The new version is
//! loaded and computes something small before the record is written, while the old one is held in memory; where that fails
//! nothing was changed, and the old version goes on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seedhouse_core::{
    Action, Alias, AliasMove, Entry, Error, ExpectedHolder, Kind, ModelId, ModelName, Reference, Result,
};
use seedhouse_engine::{Lease, SlotOptions};

use crate::infer::slot_key;
use crate::{Origin, Service};

/// Whether the new version of an alias has to prove itself before the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Warming {
    /// Where this process serves the alias: it answered a request by it, or has the version loaded that it points at.
    #[default]
    WhereServed,
    /// In any case.
    Always,
    /// Never: the record is written, and the first request loads the version.
    Never,
}

/// The aliases by which this process was asked.
#[derive(Default)]
pub(crate) struct ServedAliases {
    asked: Mutex<HashSet<(ModelName, Alias)>>,
    /// One move of a model's aliases at a time: two would warm and drain each other's versions. Of other models nobody waits, as warming
    /// a large version takes its time.
    moving: Mutex<HashMap<ModelName, Arc<Mutex<()>>>>,
}

impl ServedAliases {
    pub(crate) fn note(&self, base: &ModelName, alias: &Alias) {
        let name = (base.clone(), alias.clone());
        let mut asked = lock(&self.asked);
        if !asked.contains(&name) {
            asked.insert(name);
        }
    }

    /// Returns what whoever moves aliases of a model holds meanwhile, with [`lock`].
    pub(crate) fn moves_of(&self, base: &ModelName) -> Arc<Mutex<()>> {
        let mut moving = lock(&self.moving);
        // What nobody holds or waits for is not needed any more; who asks now has not got it yet.
        moving.retain(|_, moves| Arc::strong_count(moves) > 1);
        Arc::clone(moving.entry(base.clone()).or_default())
    }

    fn has(&self, base: &ModelName, alias: &Alias) -> bool {
        lock(&self.asked).contains(&(base.clone(), alias.clone()))
    }
}

impl Service {
    /// Points an alias of a model at the version that a reference names, which must be one of that model. Where the alias is
    /// served, the version is loaded and tried first, and the one that it replaces is drained afterwards.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a version of another model; [`Error::Changed`] when the alias does not point
    /// where the caller expected; where it is warmed, whatever keeps it from answering. After an error the alias points where it
    /// did, and what it points at is still loaded.
    pub fn move_alias_of(
        &self,
        base: &ModelName,
        reference: &Reference,
        alias: Alias,
        expected: ExpectedHolder,
        warming: Warming,
        origin: Origin,
    ) -> Result<Entry> {
        let entry = self.store.version(reference)?;
        if entry.base != *base {
            let rule = format!("is a version of `{}`, and the alias is one of `{base}`", entry.base);
            return Err(Error::invalid("model_id", reference, rule));
        }
        self.swap(&entry, alias, expected, warming, origin)
    }

    /// Points an alias back at the version that it pointed at before its last move, as
    /// [`move_alias_of`](Service::move_alias_of) does.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the alias never pointed elsewhere, or that version is gone; [`Error::Changed`] when
    /// somebody moves it at the same time.
    pub fn roll_back_alias(&self, base: &ModelName, alias: Alias, warming: Warming, origin: Origin) -> Result<Entry> {
        let subject = format!("{base}@{alias}");
        let history = self.store.history(&subject)?;
        let last = history.iter().rev().find(|event| event.happening.points_alias());
        let last = last.ok_or_else(|| Error::not_found(Kind::Alias, &subject))?;
        let id = |value: &serde_json::Value| value.as_str().map(str::parse::<ModelId>).transpose();
        let earlier = id(&last.happening.before)?
            .ok_or_else(|| Error::not_found(Kind::Version, format!("before the last move of `{subject}`")))?;
        let expected = ExpectedHolder::Exactly(id(&last.happening.after)?);
        let entry = self.store.version_even_deleted(&earlier)?;
        if entry.record.deleted_at().is_some() {
            // The change says in the store's words why not.
            return self.change(Action::MoveAlias(AliasMove { alias, model_id: earlier, expected }), origin);
        }
        self.swap(&entry, alias, expected, warming, origin)
    }

    fn swap(
        &self,
        new: &Entry,
        alias: Alias,
        expected: ExpectedHolder,
        warming: Warming,
        origin: Origin,
    ) -> Result<Entry> {
        let moves = self.served_aliases.moves_of(&new.base);
        let _alone = lock(&moves);
        let old = self.holder(&new.base, &alias)?.filter(|old| slot_key(old) != slot_key(new));
        let is_warmed = self.is_to_be_warmed(warming, &alias, old.as_ref());
        let hold = old.as_ref().map(|old| self.engine.hold(&slot_key(old)));
        // Kept until the record is written, so that it is there for the first request.
        let warm = if is_warmed { Some(self.warm(new)?) } else { None };
        let model_id = new.record.model_id.clone();
        let moved = self.change(Action::MoveAlias(AliasMove { alias, model_id, expected }), origin)?;
        drop(hold);
        if let (Some(old), true) = (old, is_warmed) {
            self.drain(&old)?;
        }
        drop(warm);
        Ok(moved)
    }

    /// Returns whether a version has to prove itself beside the one that an alias points at.
    pub(crate) fn is_to_be_warmed(&self, warming: Warming, alias: &Alias, holder: Option<&Entry>) -> bool {
        match warming {
            Warming::Always => true,
            Warming::Never => false,
            Warming::WhereServed => holder.is_some_and(|holder| {
                self.served_aliases.has(&holder.base, alias) || self.engine.is_loaded(&slot_key(holder))
            }),
        }
    }

    /// Loads a version beside the one that is held, and computes something small with it.
    pub(crate) fn warm(&self, entry: &Entry) -> Result<Lease> {
        let options = SlotOptions { beside_held: true, ..SlotOptions::default() };
        let slot = self.slot(entry, "inference", options)?;
        slot.warm_up()?;
        Ok(slot)
    }

    /// Unloads a version that lost an alias, unless another alias points at it or it is to be kept.
    pub(crate) fn drain(&self, old: &Entry) -> Result<()> {
        let now = self.store.version_even_deleted(&old.record.model_id)?;
        let key = slot_key(&now);
        if now.record.aliases().is_empty() && !self.pinned_keys().contains(&key) {
            self.engine.unload(&key);
        }
        Ok(())
    }
}

/// Nothing that can panic runs under `asked` and `moving`, and what a move holds guards no value.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn move_of_one_model_held_up_those_of_others() {
        let aliases = ServedAliases::default();
        let [wheat, rice] = ["wheat", "rice"].map(|name| name.parse::<ModelName>().unwrap());
        let moves = aliases.moves_of(&wheat);
        let held = lock(&moves);
        assert!(aliases.moves_of(&rice).try_lock().is_ok());
        assert!(aliases.moves_of(&wheat).try_lock().is_err(), "two moves of one model take turns");
        drop(held);
        assert!(aliases.moves_of(&wheat).try_lock().is_ok());
    }
}
