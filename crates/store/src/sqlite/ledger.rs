//! The tables, seen from inside the writer's transaction.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, params};
use seedhouse_core::{Digest, Entry, Error, Event, ModelId, ModelName, Result, Timestamp, Version};

use super::connection::failed;
use super::rows::{EVENT_COLUMNS, EventRow, VERSION_COLUMNS, VersionRow};
use super::search_index::index_version;
use crate::register::{LastEvent, Ledger};
use crate::version_key::version_key;

/// Answers and inserts through one connection, on which a transaction is open.
pub(super) struct SqliteLedger<'a> {
    /// The connection of the writer.
    pub(super) connection: &'a Connection,
    /// Its file, for errors.
    pub(super) path: &'a Path,
}

impl SqliteLedger<'_> {
    fn entry(&self, condition: &str, parameters: impl Params) -> Result<Option<Entry>> {
        let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE {condition}");
        let found = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row(parameters, VersionRow::read).optional())
            .map_err(failed("read a version", self.path))?;
        found.map(VersionRow::into_entry).transpose()
    }

    fn insert_row(&self, sql: &str, parameters: impl Params) -> Result<()> {
        let inserted = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
        inserted.map(|_| ()).map_err(failed("insert a row", self.path))
    }

    fn insert_version(&self, entry: &Entry) -> Result<()> {
        let Entry { base, ordinal, record } = entry;
        let text = serde_json::to_string(record).expect("a record has string keys only");
        self.insert_row(
            "INSERT INTO version (model_id, base, ordinal, label, version_key, type, framework, status, name, digest,
                 size_bytes, created_at_us, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                record.model_id.as_str(),
                base.as_str(),
                whole_number("ordinal", *ordinal)?,
                record.version.to_string(),
                version_key(&record.version),
                record.model_type.as_str(),
                record.framework.as_str(),
                record.status.as_str(),
                record.name,
                record.digest().as_ref().map(Digest::to_string),
                record.size_bytes().map(|size| whole_number("size_bytes", size)).transpose()?,
                record.created_at.as_microseconds(),
                text,
            ],
        )?;
        let row_id = self.connection.last_insert_rowid();
        index_version(self.connection, row_id, entry).map_err(failed("index a version", self.path))
    }

    fn insert_event(&self, event: &Event) -> Result<()> {
        self.insert_row(
            "INSERT INTO event (sequence, at, actor, action, model_id, after, previous, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                whole_number("sequence", event.sequence)?,
                event.at.to_string(),
                event.actor,
                event.action,
                event.model_id,
                event.after.to_string(),
                event.previous.to_string(),
                event.digest.to_string(),
            ],
        )
    }
}

impl Ledger for SqliteLedger<'_> {
    fn newest_version(&self, base: &ModelName) -> Result<Option<Version>> {
        let newest = self.entry("base = ?1 ORDER BY version_key DESC LIMIT 1", [base.as_str()])?;
        Ok(newest.map(|entry| entry.record.version))
    }

    fn last_ordinal(&self, base: &ModelName) -> Result<u64> {
        let last = self.entry("base = ?1 ORDER BY ordinal DESC LIMIT 1", [base.as_str()])?;
        Ok(last.map_or(0, |entry| entry.ordinal))
    }

    fn last_event(&self) -> Result<Option<LastEvent>> {
        let sql = format!("SELECT {EVENT_COLUMNS} FROM event ORDER BY sequence DESC LIMIT 1");
        let last = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([], EventRow::read).optional())
            .map_err(failed("read the last event", self.path))?;
        let last = last.map(EventRow::into_event).transpose()?;
        Ok(last.map(|event| LastEvent { sequence: event.sequence, digest: event.digest, at: event.at }))
    }

    fn model_id_since(&self, model_id: &ModelId) -> Result<Option<Timestamp>> {
        let taken = self.entry("model_id = ?1", [model_id.as_str()])?;
        Ok(taken.map(|entry| entry.record.created_at))
    }

    fn version_since(&self, base: &ModelName, version: &Version) -> Result<Option<Timestamp>> {
        let taken = self.entry("base = ?1 AND label = ?2", [base.as_str(), &version.to_string()])?;
        Ok(taken.map(|entry| entry.record.created_at))
    }

    fn insert(&mut self, entry: &Entry, event: &Event) -> Result<()> {
        self.insert_version(entry)?;
        self.insert_event(event)
    }
}

/// Returns a number as SQLite keeps it: in signed 64 bits.
fn whole_number(field: &str, number: u64) -> Result<Value> {
    let number = i64::try_from(number).map_err(|_| Error::invalid(field, number, "must fit into 63 bits"))?;
    Ok(Value::Integer(number))
}
