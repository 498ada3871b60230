//! Reads: a few connections that can only read, taken when needed and given back.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use seedhouse_core::query::Position;
use seedhouse_core::{
    Count, Cursor, Entry, Error, Event, Kind, ModelId, ModelName, Page, Query, Reference, RememberedKey, Result,
    Selector, Statistics, VisitOrder,
};

use super::column_cache::ColumnCache;
use super::connection::{failed, reading};
use super::loose::LooseCache;
use super::rows::{EVENT_COLUMNS, EventRow, VERSION_COLUMNS, VersionRow};
use super::schema::SERVABLE;
use super::search::Search;
use super::tally;
use crate::resolve::{BaseFound, missing, resolved};
use crate::version_key::version_key;

/// Connections beyond this number are closed after use.
const MOST_IDLE: usize = 8;

/// The connections of one store.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    loose: LooseCache,
    columns: ColumnCache,
}

impl Readers {
    /// Returns readers of the database at `path`; connections are opened when they are needed.
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::new(Vec::new()), loose: LooseCache::default(), columns: ColumnCache::default() }
    }

    /// Returns the version that a reference points at.
    pub(super) fn version(&self, reference: &Reference) -> Result<Entry> {
        self.with("read a version", |connection| {
            // One transaction, so that the answer is of one moment.
            let transaction = connection.unchecked_transaction()?;
            let found = referred(&transaction, reference)?;
            let base = match found {
                Some(_) => BaseFound::Yes,
                None => base_found(&transaction, &reference.name)?,
            };
            Ok((found, base))
        })
        .and_then(|(found, base)| match found {
            Some(Candidates::One(row)) => match row.into_entry()? {
                entry if is_newest(reference, &entry) && entry.record.is_corrupt() => self.soundest(reference, entry),
                entry => Ok(entry),
            },
            Some(Candidates::Several(rows)) => {
                let entries = entries_of(rows)?;
                let entries: Vec<&Entry> = entries.iter().collect();
                resolved(&reference.selector, &entries).cloned().ok_or_else(|| missing(reference, base))
            }
            None => Err(missing(reference, base)),
        })
    }

    /// Returns who answers for a base whose newest servable version is damaged. This is rare, and SQL cannot see it.
    fn soundest(&self, reference: &Reference, newest: Entry) -> Result<Entry> {
        let condition = "base = ?1 AND NOT deleted ORDER BY ordinal";
        let found = self.with("read versions", |connection| rows(connection, condition, [reference.name.as_str()]))?;
        let entries = entries_of(found)?;
        let entries: Vec<&Entry> = entries.iter().collect();
        Ok(resolved(&reference.selector, &entries).cloned().unwrap_or(newest))
    }

    /// Returns all versions of a base, newest by version order first.
    pub(super) fn versions(&self, base: &ModelName) -> Result<Vec<Entry>> {
        let condition = "base = ?1 AND NOT deleted ORDER BY version_key DESC";
        let rows = self.with("read versions", |connection| rows(connection, condition, params![base.as_str()]))?;
        if rows.is_empty() {
            return Err(Error::not_found(Kind::Model, base));
        }
        entries_of(rows)
    }

    /// Returns the versions that match, in the order of the query.
    pub(super) fn search(&self, query: &Query) -> Result<Page> {
        let position = query.check()?;
        let (found, more) = self.with("search", |connection| {
            // One transaction, so that the answer is of one moment.
            let transaction = connection.unchecked_transaction()?;
            let limit = query.limit.unwrap_or(usize::MAX);
            let loose = self.loose.now(&transaction)?;
            let mut ids = Search::new(&transaction, loose, &self.columns, query)?
                .ids(position.as_ref(), limit.saturating_add(1))?;
            let more = ids.len() > limit;
            ids.truncate(limit);
            let rows = ids.iter().map(|id| row_by_id(&transaction, *id)).collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((rows, more.then(|| ids.last().copied()).flatten()))
        })?;
        let entries = entries_of(found)?;
        let next = more.zip(entries.last()).map(|(row, last)| {
            let row = u64::try_from(row).expect("SQLite numbers its rows from 1");
            Cursor::new(query, &Position { row, value: query.order.value_of(last) })
        });
        Ok(Page { entries, next })
    }

    /// Returns how many versions match, counting to at most `most`.
    pub(super) fn count(&self, query: &Query, most: u64) -> Result<Count> {
        query.check()?;
        let stop = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
        let number = self.with("count", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let loose = self.loose.now(&transaction)?;
            Search::new(&transaction, loose, &self.columns, query)?.count(stop)
        })? as u64;
        Ok(Count { number: number.min(most), exact: number <= most })
    }

    /// Returns counts over the whole registry.
    pub(super) fn statistics(&self) -> Result<Statistics> {
        self.with("count versions", |connection| {
            let transaction = connection.unchecked_transaction()?;
            tally::statistics(&transaction)
        })
    }

    /// Returns the number of the last event.
    pub(super) fn revision(&self) -> Result<u64> {
        let sql = "SELECT coalesce(max(sequence), 0) FROM event";
        self.with("read the revision", |connection| connection.prepare_cached(sql)?.query_row([], |row| count(row, 0)))
    }

    /// Returns the events after a number, oldest first.
    pub(super) fn events(&self, after: u64, limit: usize) -> Result<Vec<Event>> {
        let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT ?2");
        let rows: Vec<EventRow> = self.with("read events", |connection| {
            connection.prepare_cached(&sql)?.query_map([after, at_most(limit)], EventRow::read)?.collect()
        })?;
        rows.into_iter().map(EventRow::into_event).collect()
    }

    /// Returns all events about one subject, oldest first.
    pub(super) fn history(&self, subject: &str) -> Result<Vec<Event>> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE subject = ?1 ORDER BY sequence");
        let rows: Vec<EventRow> = self.with("read a history", |connection| {
            connection.prepare_cached(&sql)?.query_map([subject], EventRow::read)?.collect()
        })?;
        rows.into_iter().map(EventRow::into_event).collect()
    }

    /// Returns all events about the aliases of a base, oldest first.
    pub(super) fn alias_history(&self, base: &ModelName) -> Result<Vec<Event>> {
        // `A` follows `@`, which no name contains: this is every subject that begins with the base and an `@`.
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE subject >= ?1 AND subject < ?2 ORDER BY sequence");
        let rows: Vec<EventRow> = self.with("read a history", |connection| {
            let subjects = [format!("{base}@"), format!("{base}A")];
            connection.prepare_cached(&sql)?.query_map(subjects, EventRow::read)?.collect()
        })?;
        rows.into_iter().map(EventRow::into_event).collect()
    }

    /// Returns a version by its id, deleted or not.
    pub(super) fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
        let row =
            self.with("read a version", |connection| row(connection, "model_id = ?1", params![model_id.as_str()]))?;
        row.ok_or_else(|| Error::not_found(Kind::ModelId, model_id))?.into_entry()
    }

    /// Returns the versions that are not deleted, oldest registration first.
    pub(super) fn shown(&self) -> Result<Vec<Entry>> {
        entries_of(self.with("read versions", |connection| rows(connection, "NOT deleted ORDER BY id", []))?)
    }

    /// Hands the versions that are not deleted to `visit`, one at a time, once for each of the orders.
    pub(super) fn visit_shown(
        &self,
        orders: &[VisitOrder],
        visit: &mut dyn FnMut(VisitOrder, Entry) -> Result<()>,
    ) -> Result<()> {
        self.with("read versions", |connection| {
            // One transaction, so that all walks are of one moment.
            let transaction = connection.unchecked_transaction()?;
            for order in orders {
                let mut statement = transaction.prepare_cached(&walk(*order))?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    if let Err(error) = VersionRow::read(row)?.into_entry().and_then(|entry| visit(*order, entry)) {
                        return Ok(Err(error));
                    }
                }
            }
            Ok(Ok(()))
        })?
    }

    /// Returns the versions that are deleted, oldest registration first.
    pub(super) fn deleted(&self) -> Result<Vec<Entry>> {
        entries_of(self.with("read versions", |connection| rows(connection, "deleted ORDER BY id", []))?)
    }

    /// Returns the versions made from this one, oldest registration first.
    pub(super) fn children(&self, model_id: &ModelId) -> Result<Vec<Entry>> {
        let condition = "parent = ?1 AND NOT deleted ORDER BY id";
        entries_of(self.with("read versions", |connection| rows(connection, condition, [model_id.as_str()]))?)
    }

    /// Returns what was registered with an idempotency key.
    pub(super) fn remembered(&self, key: &str) -> Result<Option<RememberedKey>> {
        let sql = "SELECT model_id, fingerprint FROM idempotency WHERE key = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let found = self.with("read an idempotency key", |connection| {
            connection.prepare_cached(sql)?.query_row([key], read).optional()
        })?;
        let Some((model_id, fingerprint)) = found else { return Ok(None) };
        Ok(Some(RememberedKey { key: key.to_owned(), model_id: model_id.parse()?, fingerprint: fingerprint.parse()? }))
    }

    fn with<T>(&self, action: &'static str, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let connection = match taken {
            Some(connection) => connection,
            None => reading(&self.path)?,
        };
        let outcome = work(&connection).map_err(failed(action, &self.path));
        let mut idle = idle();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
        outcome
    }
}

/// Base after base means: walk the versions, and at the first one of each base its whole base. Nothing is sorted or collected,
/// whatever the size of the registry.
fn walk(order: VisitOrder) -> String {
    match order {
        VisitOrder::Registration => format!("SELECT {VERSION_COLUMNS} FROM version WHERE NOT deleted ORDER BY id"),
        VisitOrder::Base => "
            SELECT of_base.base, of_base.ordinal, of_base.revision, of_base.record
            FROM version first CROSS JOIN version of_base ON of_base.base = first.base
            WHERE NOT first.deleted AND NOT of_base.deleted AND NOT EXISTS (
                SELECT 1 FROM version older
                WHERE older.base = first.base AND older.ordinal < first.ordinal AND NOT older.deleted)
            ORDER BY first.id, of_base.ordinal"
            .to_owned(),
    }
}

/// Returns whether the version was found as the newest one of the base that the reference names, not by its id.
fn is_newest(reference: &Reference, entry: &Entry) -> bool {
    reference.selector == Selector::Newest && entry.record.model_id.as_str() != reference.name.as_str()
}

/// What SQL found for a reference.
enum Candidates {
    /// The version meant.
    One(VersionRow),
    /// Versions of the base, in order of registration, among which the rules of [`resolved`] decide.
    Several(Vec<VersionRow>),
}

fn referred(connection: &Connection, reference: &Reference) -> rusqlite::Result<Option<Candidates>> {
    let name = reference.name.as_str();
    let found = match &reference.selector {
        Selector::Newest => match row(connection, "model_id = ?1 AND NOT deleted", params![name])? {
            Some(row) => Some(row),
            None => newest(connection, name)?,
        },
        Selector::Ordinal(ordinal) => match i64::try_from(*ordinal) {
            Ok(ordinal) => row(connection, "base = ?1 AND ordinal = ?2 AND NOT deleted", params![name, ordinal])?,
            Err(_) => None,
        },
        Selector::Label(version) => {
            row(connection, "base = ?1 AND version_key = ?2 AND NOT deleted", params![name, version_key(version)])?
        }
        Selector::Digest(digest) => {
            let condition = "base = ?1 AND digest = ?2 AND NOT deleted ORDER BY ordinal";
            return candidates(connection, condition, params![name, digest.to_string()]);
        }
        Selector::Alias(alias) => {
            let condition = "id = (SELECT version_id FROM version_alias WHERE base = ?1 AND alias = ?2)";
            row(connection, condition, params![name, alias.as_str()])?
        }
    };
    Ok(found.map(Candidates::One))
}

fn candidates(
    connection: &Connection,
    condition: &str,
    parameters: &[&dyn ToSql],
) -> rusqlite::Result<Option<Candidates>> {
    let found = rows(connection, condition, parameters)?;
    Ok(if found.is_empty() { None } else { Some(Candidates::Several(found)) })
}

/// Returns the newest servable version of a base, else the newest.
fn newest(connection: &Connection, base: &str) -> rusqlite::Result<Option<VersionRow>> {
    let sql = format!(
        "SELECT {VERSION_COLUMNS} FROM version INDEXED BY version_servable
         WHERE base = ?1 AND {SERVABLE} ORDER BY version_key DESC LIMIT 1"
    );
    match connection.prepare_cached(&sql)?.query_row([base], VersionRow::read).optional()? {
        Some(row) => Ok(Some(row)),
        None => row(connection, "base = ?1 AND NOT deleted ORDER BY version_key DESC LIMIT 1", params![base]),
    }
}

fn base_found(connection: &Connection, base: &ModelName) -> rusqlite::Result<BaseFound> {
    let sql = "SELECT EXISTS (SELECT 1 FROM version WHERE base = ?1 AND NOT deleted)";
    let exists = connection.prepare_cached(sql)?.query_row([base.as_str()], |row| row.get(0))?;
    Ok(if exists { BaseFound::Yes } else { BaseFound::No })
}

fn row(connection: &Connection, condition: &str, parameters: &[&dyn ToSql]) -> rusqlite::Result<Option<VersionRow>> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE {condition}");
    connection.prepare_cached(&sql)?.query_row(parameters, VersionRow::read).optional()
}

fn row_by_id(connection: &Connection, id: i64) -> rusqlite::Result<VersionRow> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], VersionRow::read)
}

fn rows(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<VersionRow>> {
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE {condition}");
    connection.prepare_cached(&sql)?.query_map(parameters, VersionRow::read)?.collect()
}

fn entries_of(rows: Vec<VersionRow>) -> Result<Vec<Entry>> {
    rows.into_iter().map(VersionRow::into_entry).collect()
}

/// Reads a number that is a count or a sum of counts.
fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// Returns a limit as SQLite takes it; no table has more rows than that.
fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
