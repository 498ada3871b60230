//! A consistent view: one read transaction on a connection of its own. The write-ahead log cannot shrink while it is open.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, ToSql, params};
use seedhouse_core::{Entry, Error, Event, RememberedKey, Result, Snapshot};

use super::connection::{failed, reading};
use super::rows::{EVENT_COLUMNS, EventRow, VERSION_COLUMNS, VersionRow};

/// Reads forward through three tables; the transaction ends when it is dropped.
pub(super) struct SqliteSnapshot {
    connection: Connection,
    path: PathBuf,
    revision: u64,
    last_event: i64,
    last_version: i64,
    last_key: Option<String>,
}

impl SqliteSnapshot {
    pub(super) fn open(path: &Path) -> Result<SqliteSnapshot> {
        let connection = reading(path)?;
        connection.execute_batch("BEGIN").map_err(failed("begin a snapshot", path))?;
        // The first read is what fixes the moment.
        let sql = "SELECT coalesce(max(sequence), 0) FROM event";
        let revision: i64 =
            connection.query_row(sql, [], |row| row.get(0)).map_err(failed("begin a snapshot", path))?;
        let path = path.to_owned();
        Ok(SqliteSnapshot {
            connection,
            path,
            revision: revision.unsigned_abs(),
            last_event: 0,
            last_version: 0,
            last_key: None,
        })
    }

    fn page<T>(
        &self,
        sql: &str,
        parameters: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let page = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map(parameters, read)?.collect());
        page.map_err(failed("read a snapshot", &self.path))
    }
}

impl Snapshot for SqliteSnapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn next_events(&mut self, limit: usize) -> Result<Vec<Event>> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event WHERE sequence > ?1 ORDER BY sequence LIMIT ?2");
        let rows = self.page(&sql, params![self.last_event, at_most(limit)], EventRow::read)?;
        let events: Vec<Event> = rows.into_iter().map(EventRow::into_event).collect::<Result<_>>()?;
        if let Some(last) = events.last() {
            self.last_event = i64::try_from(last.sequence).expect("SQLite gave it as a signed number");
        }
        Ok(events)
    }

    fn next_entries(&mut self, limit: usize) -> Result<Vec<Entry>> {
        let sql = format!("SELECT {VERSION_COLUMNS}, id FROM version WHERE id > ?1 ORDER BY id LIMIT ?2");
        let read = |row: &Row<'_>| Ok((VersionRow::read(row)?, row.get("id")?));
        let rows: Vec<(VersionRow, i64)> = self.page(&sql, params![self.last_version, at_most(limit)], read)?;
        self.last_version = rows.last().map_or(self.last_version, |(_, id)| *id);
        rows.into_iter().map(|(row, _)| row.into_entry()).collect()
    }

    fn next_keys(&mut self, limit: usize) -> Result<Vec<RememberedKey>> {
        // Two statements: with `OR` SQLite would walk over all keys before the last one for every page.
        let after = if self.last_key.is_some() { "WHERE key > ?2" } else { "WHERE ?2 IS NULL" };
        let sql = format!("SELECT key, model_id, fingerprint FROM idempotency {after} ORDER BY key LIMIT ?1");
        let read = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?]);
        let rows: Vec<[String; 3]> = self.page(&sql, params![at_most(limit), self.last_key], read)?;
        self.last_key = rows.last().map(|[key, _, _]| key.clone()).or(self.last_key.take());
        let key = |[key, model_id, fingerprint]: [String; 3]| {
            let corrupt = |error: Error| Error::CorruptState {
                what: format!("idempotency key `{}` in the database", key.escape_debug()),
                reason: error.to_string(),
            };
            let (model_id, fingerprint) = (model_id.parse().map_err(corrupt)?, fingerprint.parse().map_err(corrupt)?);
            Ok(RememberedKey { key, model_id, fingerprint })
        };
        rows.into_iter().map(key).collect()
    }
}

/// Returns a limit as SQLite takes it; no table has more rows than that.
fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
