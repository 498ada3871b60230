//! The SQLite store with its search index brought up to date after each of its first changes, so that the index answers and not the records.

use std::path::Path;

use seedhouse_core::{
    Applied, Change, Count, Entry, Event, MetadataStore, ModelId, ModelName, Page, Query, Reference, RememberedKey,
    Result, Snapshot, Statistics, VisitOrder,
};
use seedhouse_store::SqliteStore;

pub(crate) struct Settled(SqliteStore);

impl Settled {
    pub(crate) fn open(path: &Path) -> Settled {
        Settled(SqliteStore::open(path).unwrap())
    }
}

impl MetadataStore for Settled {
    fn apply(&self, change: Change) -> Result<Applied> {
        /// A promise that takes more changes than this is about many of them, and goes on without.
        const MOST_SETTLED: u64 = 16;
        let applied = self.0.apply(change)?;
        if applied.revision <= MOST_SETTLED {
            self.0.settle()?;
        }
        Ok(applied)
    }
    fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>> {
        self.0.apply_all(changes, expected_revision)
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.0.snapshot()
    }
    fn fill(&self, source: &mut dyn Snapshot) -> Result<u64> {
        let revision = self.0.fill(source)?;
        self.0.settle()?;
        Ok(revision)
    }
    fn remembered(&self, key: &str) -> Result<Option<RememberedKey>> {
        self.0.remembered(key)
    }
    fn version(&self, reference: &Reference) -> Result<Entry> {
        self.0.version(reference)
    }
    fn versions(&self, base: &ModelName) -> Result<Vec<Entry>> {
        self.0.versions(base)
    }
    fn search(&self, query: &Query) -> Result<Page> {
        self.0.search(query)
    }
    fn count(&self, query: &Query, most: u64) -> Result<Count> {
        self.0.count(query, most)
    }
    fn statistics(&self) -> Result<Statistics> {
        self.0.statistics()
    }
    fn revision(&self) -> Result<u64> {
        self.0.revision()
    }
    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        self.0.events(after, limit)
    }
    fn history(&self, subject: &str) -> Result<Vec<Event>> {
        self.0.history(subject)
    }
    fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>> {
        self.0.alias_history(base)
    }
    fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
        self.0.version_even_deleted(model_id)
    }
    fn shown(&self) -> Result<Vec<Entry>> {
        self.0.shown()
    }
    fn visit_shown(&self, orders: &[VisitOrder], visit: &mut dyn FnMut(VisitOrder, Entry) -> Result<()>) -> Result<()> {
        self.0.visit_shown(orders, visit)
    }
    fn deleted(&self) -> Result<Vec<Entry>> {
        self.0.deleted()
    }
    fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>> {
        self.0.children(model_id)
    }
}
