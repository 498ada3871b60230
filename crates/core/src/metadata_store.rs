//! The metadata port: records, versions and events.

use std::collections::HashMap;

use crate::{
    Applied, Change, Count, Entry, Event, ModelId, ModelName, Page, Query, Reference, RememberedKey, Result, Snapshot,
    Statistics,
};

/// In which order [`MetadataStore::visit_shown`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VisitOrder {
    /// Oldest registration first.
    Registration,
    /// Base after base, in order of each base's oldest version; the versions of a base oldest registration first.
    Base,
}

/// Keeps records and history. Deleted versions are shown by no method that does not say so. Calls block; implementations are shared between threads.
///
/// Every adapter runs the behaviour suite in `seedhouse-testkit`.
pub trait MetadataStore: Send + Sync {
    /// Executes a change atomically and durably: when this returns, the change and its event survive a power failure.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`](crate::Error::AlreadyExists) when a `model_id`, or a version of the base, is taken.
    fn apply(&self, change: Change) -> Result<Applied>;

    /// Executes changes in their order as one: all or none. Where `expected_revision` is given, nobody may have changed
    /// anything since.
    ///
    /// # Errors
    /// [`Error::Changed`](crate::Error::Changed) when the registry is at another revision; that of the first change that fails.
    fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>>;

    /// Returns a view of everything at this moment. What is written later does not show in it.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Takes the whole state of another store over as it is, history included, atomically and durably. Only an empty store
    /// does that. Returns its revision afterwards.
    ///
    /// # Errors
    /// [`Error::NotEmpty`](crate::Error::NotEmpty); [`Error::CorruptState`](crate::Error::CorruptState) when the history is
    /// not one intact chain that ends at the source's revision, or when versions contradict each other or the history.
    fn fill(&self, source: &mut dyn Snapshot) -> Result<u64>;

    /// Returns the version that a reference points at.
    ///
    /// A bare name is a `model_id` first, then a base. Of a base, the newest servable version by version order answers;
    /// if none is servable, the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), saying whether the model or the version is missing.
    fn version(&self, reference: &Reference) -> Result<Entry>;

    /// Returns all versions of a base, newest by version order first.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when the base does not exist.
    fn versions(&self, base: &ModelName) -> Result<Vec<Entry>>;

    /// Returns the versions that match, in the order of the query, as far as its limit goes.
    ///
    /// A page that follows another is not disturbed by what is registered meanwhile: nothing is skipped, nothing comes twice.
    ///
    /// # Errors
    /// Those of [`Query::check`].
    fn search(&self, query: &Query) -> Result<Page>;

    /// Returns how many versions match, counting to at most `most`; limit, order and cursor do not matter.
    ///
    /// # Errors
    /// Those of [`Query::check`].
    fn count(&self, query: &Query, most: u64) -> Result<Count>;

    /// Returns counts over the whole registry.
    fn statistics(&self) -> Result<Statistics>;

    /// Returns a number that grows with every change, also with those of other processes on the same data.
    fn revision(&self) -> Result<u64>;

    /// Returns at most `limit` events that follow event number `after`, oldest first.
    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>>;

    /// Returns all events about one subject (a `model_id`, or `base@alias`), oldest first.
    fn history(&self, subject: &str) -> Result<Vec<Event>>;

    /// Returns all events about the aliases of a model, oldest first.
    fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>>;

    /// Returns a version by its id, deleted or not.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry>;

    /// Returns all versions that are not deleted, oldest registration first, from the records themselves: what must not miss
    /// a version (collecting garbage, auditing, `metadata.json`) does not trust an index.
    fn shown(&self) -> Result<Vec<Entry>>;

    /// Hands every version of [`shown`](MetadataStore::shown) to `visit`, one at a time, once for each of the orders; all walks
    /// are of one moment. An adapter with a database reads the versions as it goes, so that a registry of any size can be
    /// walked in little memory. `visit` must not call the store, and an error of it ends the walk.
    ///
    /// # Errors
    /// The first of `visit`, and those of reading.
    fn visit_shown(&self, orders: &[VisitOrder], visit: &mut dyn FnMut(VisitOrder, Entry) -> Result<()>) -> Result<()> {
        let entries = self.shown()?;
        let mut places = HashMap::new();
        for entry in &entries {
            let next = places.len();
            places.entry(entry.base.clone()).or_insert(next);
        }
        for order in orders {
            let mut entries = entries.clone();
            if *order == VisitOrder::Base {
                entries.sort_by_key(|entry| places[&entry.base]);
            }
            entries.into_iter().try_for_each(|entry| visit(*order, entry))?;
        }
        Ok(())
    }

    /// Returns all versions that are deleted, oldest registration first.
    fn deleted(&self) -> Result<Vec<Entry>>;

    /// Returns the versions whose field `parent` names this version, oldest registration first.
    fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>>;

    /// Returns what was registered with an idempotency key.
    fn remembered(&self, key: &str) -> Result<Option<RememberedKey>>;
}
