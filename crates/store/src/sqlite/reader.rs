//! Reads: a few connections that can only read, taken when needed and given back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use seedhouse_core::{
    Entry, Error, Event, Kind, ModelId, ModelName, Query, Reference, Result, Selector, Statistics, Status,
};

use super::connection::{failed, reading};
use super::rows::{EVENT_COLUMNS, EventRow, VERSION_COLUMNS, VersionRow};
use crate::resolve::{BaseFound, missing, resolved};
use crate::search_text::folded;

/// Connections beyond this number are closed after use.
const MOST_IDLE: usize = 8;

/// The connections of one store.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    /// Returns readers of the database at `path`; connections are opened when they are needed.
    pub(super) fn new(path: PathBuf) -> Readers {
        Readers { path, idle: Mutex::new(Vec::new()) }
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
            Some(Candidates::One(row)) => row.into_entry(),
            Some(Candidates::Several(rows)) => {
                let entries = entries_of(rows)?;
                let entries: Vec<&Entry> = entries.iter().collect();
                resolved(&reference.selector, &entries).cloned().ok_or_else(|| missing(reference, base))
            }
            None => Err(missing(reference, base)),
        })
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

    /// Returns the versions that match, newest registration first.
    pub(super) fn search(&self, query: &Query) -> Result<Vec<Entry>> {
        let mut conditions = vec!["NOT deleted"];
        let mut parameters = Vec::new();
        let mut narrow = |condition, parameter: String| {
            conditions.push(condition);
            parameters.push(Value::Text(parameter));
        };
        // `instr` knows no wildcards, so the text means itself.
        query.text.iter().for_each(|text| narrow("instr(search_text, ?) > 0", folded(text)));
        query.model_type.iter().for_each(|wanted| narrow("type = ?", wanted.to_string()));
        query.status.iter().for_each(|wanted| narrow("status = ?", wanted.to_string()));
        parameters.push(Value::Integer(query.limit.map_or(-1, at_most)));
        let condition = format!("{} ORDER BY id DESC LIMIT ?", conditions.join(" AND "));
        let found =
            self.with("search", |connection| rows(connection, &condition, rusqlite::params_from_iter(parameters)))?;
        entries_of(found)
    }

    /// Returns counts over the whole registry.
    pub(super) fn statistics(&self) -> Result<Statistics> {
        self.with("count versions", |connection| {
            let transaction = connection.unchecked_transaction()?;
            let number = |sql| transaction.query_row(sql, [], |row| count(row, 0));
            // High and low halves, because the sum of sizes that somebody claimed may be beyond 64 bits.
            let high = number("SELECT coalesce(sum(size_bytes >> 32), 0) FROM version WHERE NOT deleted")?;
            let low = number("SELECT coalesce(sum(size_bytes & 4294967295), 0) FROM version WHERE NOT deleted")?;
            Ok(Statistics {
                total_models: number("SELECT count(*) FROM version WHERE NOT deleted")?,
                total_bases: number("SELECT count(DISTINCT base) FROM version WHERE NOT deleted")?,
                by_type: groups(&transaction, "SELECT type, count(*) FROM version WHERE NOT deleted GROUP BY type")?,
                by_status: groups(
                    &transaction,
                    "SELECT status, count(*) FROM version WHERE NOT deleted GROUP BY status",
                )?,
                by_framework: groups(
                    &transaction,
                    "SELECT framework, count(*) FROM version WHERE NOT deleted GROUP BY framework",
                )?,
                size_bytes: high.saturating_mul(1 << 32).saturating_add(low),
            })
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

    /// Returns a version by its id, deleted or not.
    pub(super) fn version_even_deleted(&self, model_id: &ModelId) -> Result<Entry> {
        let row =
            self.with("read a version", |connection| row(connection, "model_id = ?1", params![model_id.as_str()]))?;
        row.ok_or_else(|| Error::not_found(Kind::ModelId, model_id))?.into_entry()
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
            row(connection, "base = ?1 AND label = ?2 AND NOT deleted", params![name, version.to_string()])?
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
    let servable = Status::ALL.into_iter().filter(|status| status.is_servable());
    let servable: Vec<String> = servable.map(|status| format!("'{status}'")).collect();
    // Walks the index from the newest version on; without the hint SQLite may collect and sort by status.
    let condition =
        format!("base = ?1 AND status IN ({}) AND NOT deleted ORDER BY version_key DESC LIMIT 1", servable.join(", "));
    let sql = format!("SELECT {VERSION_COLUMNS} FROM version INDEXED BY version_by_order WHERE {condition}");
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

fn groups(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], |row| Ok((row.get(0)?, count(row, 1)?)))?.collect()
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
