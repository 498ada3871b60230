//! Metadata in one SQLite file: records, versions and the hash-chained history.
//!
//! ```text
//! apply ──> channel ──> writer thread ──> one transaction for all that waits, a savepoint per change ──> answers
//! indexer thread ──────> what searches read, made from the records afterwards and stored by the writer
//! reads ──> connections that can only read (write-ahead logging: they never wait for the writer)
//! ```
//!
//! Several processes may share the file: every transaction takes the write lock at its beginning, and ordinals, times and
//! the history are settled inside it.

mod column_cache;
mod connection;
mod filling;
mod indexer;
mod jobs;
mod ledger;
mod log_keeping;
mod loose;
mod own_connection;
mod reader;
mod rows;
mod schema;
mod search;
mod search_index;
mod snapshot;
mod tally;
mod tokens;
mod turn;
mod writer;

use std::fs;
use std::path::{Path, PathBuf};

use seedhouse_core::{
    Applied, Change, Count, Entry, Error, Event, MetadataStore, ModelId, ModelName, Page, Query, Reference,
    RememberedKey, Result, Snapshot, Statistics, VisitOrder,
};

use crate::durable::sync_folder;
use indexer::Indexer;
use jobs::Jobs;
use own_connection::OwnConnection;
use reader::Readers;
use snapshot::SqliteSnapshot;
use tokens::Tokens;
use writer::Writer;

/// A metadata store in a SQLite database.
pub struct SqliteStore {
    // Dropped first, since it hands its work to the writer; then the writer, so that what it still has to do is done before
    // the last connection closes.
    indexer: Indexer,
    writer: Writer,
    readers: Readers,
    tokens: Tokens,
    jobs: Jobs,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the database at `path`, and makes it and its folder when they do not exist.
    ///
    /// # Errors
    /// [`Error::CorruptState`] when the file is no database of ours, [`Error::Unsupported`] when it was written by a newer
    /// program, [`Error::Io`] or [`Error::Store`] when the system refuses.
    pub fn open(path: &Path) -> Result<SqliteStore> {
        // SQLite gives names like `:memory:` a meaning, but no absolute path is such a name.
        let path = std::path::absolute(path).map_err(Error::io("resolve", path))?;
        let folder = path.parent().ok_or_else(|| Error::invalid("database", path.display(), "must name a file"))?;
        fs::create_dir_all(folder).map_err(Error::io("make the folder", folder))?;
        let mut connection = connection::writing(&path)?;
        schema::prepare(&mut connection, &path)?;
        sync_folder(folder)?;
        let orders = indexer::orders();
        let writer = Writer::start(connection, path.clone(), orders.0.clone())?;
        Ok(SqliteStore {
            indexer: Indexer::start(path.clone(), orders, writer.blocks()?)?,
            writer,
            readers: Readers::new(path.clone()),
            tokens: Tokens::new(OwnConnection::new(path.clone())),
            jobs: Jobs::new(OwnConnection::new(path.clone())),
            path,
        })
    }

    /// Brings the search index up to the newest version. Searches find everything without it; this is for who measures or
    /// checks them.
    ///
    /// # Errors
    /// Those of reading the records and of writing the index.
    pub fn settle(&self) -> Result<()> {
        self.indexer.settle()
    }
}

impl MetadataStore for SqliteStore {
    fn apply(&self, change: Change) -> Result<Applied> {
        self.writer.apply(change)
    }

    fn apply_all(&self, changes: Vec<Change>, expected_revision: Option<u64>) -> Result<Vec<Applied>> {
        self.writer.apply_all(changes, expected_revision)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(SqliteSnapshot::open(&self.path)?))
    }

    fn fill(&self, source: &mut dyn Snapshot) -> Result<u64> {
        let revision = filling::fill_empty(&self.path, source)?;
        self.indexer.look();
        Ok(revision)
    }

    fn version(&self, reference: &Reference) -> Result<Entry> {
        self.readers.version(reference)
    }

    fn versions(&self, base: &ModelName) -> Result<Vec<Entry>> {
        self.readers.versions(base)
    }

    fn search(&self, query: &Query) -> Result<Page> {
        self.readers.search(query)
    }

    fn count(&self, query: &Query, most: u64) -> Result<Count> {
        self.readers.count(query, most)
    }

    fn statistics(&self) -> Result<Statistics> {
        self.readers.statistics()
    }

    fn revision(&self) -> Result<u64> {
        self.readers.revision()
    }

    fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        self.readers.events(after, limit)
    }

    fn history(&self, subject: &str) -> Result<Vec<Event>> {
        self.readers.history(subject)
    }

    fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>> {
        self.readers.alias_history(base)
    }

    fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
        self.readers.version_even_deleted(model_id)
    }

    fn shown(&self) -> Result<Vec<Entry>> {
        self.readers.shown()
    }

    fn visit_shown(&self, orders: &[VisitOrder], visit: &mut dyn FnMut(VisitOrder, Entry) -> Result<()>) -> Result<()> {
        self.readers.visit_shown(orders, visit)
    }

    fn deleted(&self) -> Result<Vec<Entry>> {
        self.readers.deleted()
    }

    fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>> {
        self.readers.children(model_id)
    }

    fn remembered(&self, key: &str) -> Result<Option<RememberedKey>> {
        self.readers.remembered(key)
    }
}
