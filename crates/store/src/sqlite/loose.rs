//! Versions that no block of the index speaks for: the newest ones, and those that changed after their block was made.
//!
//! They are kept in memory, read once per change, and asked one by one. There are some thousand at most, unless the indexer
//! cannot keep up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Row};
use seedhouse_core::Entry;
use seedhouse_core::query::{Condition, Field, FieldPath, Value, scalars};

use super::connection::carried;
use super::rows::{VERSION_COLUMNS, VersionRow};
use super::search_index::indexed_to;
use crate::search_tokens::search_text;

/// A version in memory.
pub(super) struct Document {
    revision: i64,
    /// `None` if it is deleted.
    content: Option<Content>,
}

struct Content {
    entry: Entry,
    text: String,
    scalars: Vec<(FieldPath, Value)>,
}

/// The loose versions of one moment.
pub(super) struct Loose {
    moment: Moment,
    /// The blocks that there are, with the revisions they were made from.
    pub(super) blocks: BTreeMap<i64, i64>,
    /// By row. Deleted versions are here too: their block may show them still.
    pub(super) documents: BTreeMap<i64, Arc<Document>>,
}

/// Between two equal moments nothing became loose or ceased to be: changes raise the revision, and at one revision blocks only
/// reach further or leave less pending.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment {
    revision: i64,
    indexed_to: i64,
    pending: i64,
}

/// What the last search knew.
#[derive(Default)]
pub(super) struct LooseCache(Mutex<Option<Arc<Loose>>>);

impl LooseCache {
    /// Returns the loose versions of the moment that the connection's transaction sees.
    pub(super) fn now(&self, connection: &Connection) -> rusqlite::Result<Arc<Loose>> {
        let number = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get(0));
        let moment = Moment {
            revision: number("SELECT coalesce(max(sequence), 0) FROM event")?,
            indexed_to: indexed_to(connection)?,
            pending: number("SELECT count(*) FROM search_pending")?,
        };
        let known = self.known();
        if let Some(known) = known.as_ref().filter(|known| known.moment == moment) {
            return Ok(known.clone());
        }
        let loose = Arc::new(Loose::read(connection, moment, known.as_deref())?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(loose.clone());
        Ok(loose)
    }

    fn known(&self) -> Option<Arc<Loose>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Loose {
    fn read(connection: &Connection, moment: Moment, known: Option<&Loose>) -> rusqlite::Result<Loose> {
        let mut statement = connection.prepare_cached("SELECT block, revision FROM search_block")?;
        let blocks = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let blocks = blocks.collect::<rusqlite::Result<BTreeMap<i64, i64>>>()?;
        let sql = "SELECT id, revision FROM version WHERE id > ?1
                   UNION ALL SELECT version.id, revision FROM search_pending CROSS JOIN version USING (id)";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([moment.indexed_to])?;
        let mut documents = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (id, revision): (i64, i64) = (row.get(0)?, row.get(1)?);
            let known = known.and_then(|known| known.documents.get(&id)).filter(|known| known.revision == revision);
            let document = match known {
                Some(known) => known.clone(),
                None => Arc::new(Document::read(connection, id)?),
            };
            documents.insert(id, document);
        }
        Ok(Loose { moment, blocks, documents })
    }
}

impl Document {
    fn read(connection: &Connection, id: i64) -> rusqlite::Result<Document> {
        let sql = format!("SELECT {VERSION_COLUMNS}, deleted FROM version WHERE id = ?1");
        let read = |row: &Row<'_>| Ok((VersionRow::read(row)?, row.get(2)?, row.get(4)?));
        let (row, revision, deleted): (VersionRow, i64, bool) =
            connection.prepare_cached(&sql)?.query_row([id], read)?;
        if deleted {
            return Ok(Document { revision, content: None });
        }
        let entry = row.into_entry().map_err(carried)?;
        let (text, scalars) = (search_text(&entry.record), scalars(&entry.record));
        Ok(Document { revision, content: Some(Content { entry, text, scalars }) })
    }

    /// Returns whether all conditions hold and all words occur.
    pub(super) fn matches<'a>(&self, conditions: &[Condition], mut words: impl Iterator<Item = &'a str>) -> bool {
        let Some(content) = &self.content else { return false };
        let holds = |Condition { field, test }: &Condition| match field {
            Field::Path(path) => test.holds(content.scalar(path)),
            typed => test.holds(typed.of(&content.entry).as_ref()),
        };
        conditions.iter().all(holds) && words.all(|word| content.text.contains(word))
    }

    /// Returns the value of a field.
    pub(super) fn value(&self, field: &Field) -> Option<Value> {
        let content = self.content.as_ref()?;
        match field {
            Field::Path(path) => content.scalar(path).cloned(),
            typed => typed.of(&content.entry),
        }
    }
}

impl Content {
    fn scalar(&self, path: &FieldPath) -> Option<&Value> {
        self.scalars.iter().find(|(found, _)| found == path).map(|(_, value)| value)
    }
}
