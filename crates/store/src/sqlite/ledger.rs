//! The tables, seen from inside the writer's transaction.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use seedhouse_core::{Alias, Digest, Entry, Error, Event, ModelId, ModelName, Record, Result, Timestamp, Version};

use super::connection::failed;
use super::rows::{VERSION_COLUMNS, VersionRow};
use super::search_index::note_change;
use super::tally::Counted;
use crate::execute::{LastEvent, Ledger, Remembered};
use crate::version_key::version_key;

/// Answers and writes through one connection, on which a transaction is open.
pub(super) struct SqliteLedger<'a> {
    /// The connection of the writer.
    pub(super) connection: &'a Connection,
    /// Its file, for errors.
    pub(super) path: &'a Path,
}

impl SqliteLedger<'_> {
    fn one<T>(
        &self,
        sql: &str,
        parameters: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(parameters, read).optional())
            .map_err(failed("read a row", self.path))
    }

    fn entry(&self, condition: &str, parameters: impl Params) -> Result<Option<Entry>> {
        let sql = format!("SELECT {VERSION_COLUMNS} FROM version WHERE {condition}");
        self.one(&sql, parameters, VersionRow::read)?.map(VersionRow::into_entry).transpose()
    }

    fn write(&self, sql: &str, parameters: impl Params) -> Result<()> {
        let written = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute(parameters));
        written.map(|_| ()).map_err(failed("write a row", self.path))
    }

    /// Writes a row of the table `version` by a statement with the columns in the order of this list.
    fn write_version(&self, sql: &str, entry: &Entry) -> Result<()> {
        let Entry { base, ordinal, revision, record } = entry;
        let text = serde_json::to_string(record).expect("a record has string keys only");
        self.write(
            sql,
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
                parent(record),
                record.conventional_name(),
                record.deleted_at().is_some(),
                whole_number("revision", *revision)?,
                text,
            ],
        )?;
        Counted::of(entry).add(self.connection).map_err(failed("count a version", self.path))
    }

    fn write_aliases(&self, entry: &Entry) -> Result<()> {
        let id = "(SELECT id FROM version WHERE model_id = ?1)";
        let model_id = entry.record.model_id.as_str();
        self.write(&format!("DELETE FROM version_alias WHERE version_id = {id}"), [model_id])?;
        for alias in entry.record.aliases() {
            // The alias may still stand with the version that it leaves, whose row is written in the same change.
            let sql = format!("INSERT OR REPLACE INTO version_alias (base, alias, version_id) VALUES (?2, ?3, {id})");
            self.write(&sql, params![model_id, entry.base.as_str(), alias.as_str()])?;
        }
        Ok(())
    }
}

fn parent(record: &Record) -> Option<&str> {
    record.fields.get("parent").and_then(|parent| parent.as_str())
}

impl Ledger for SqliteLedger<'_> {
    fn newest_version(&self, base: &ModelName) -> Result<Option<Version>> {
        let sql = "SELECT label FROM version WHERE base = ?1 ORDER BY version_key DESC LIMIT 1";
        let label: Option<String> = self.one(sql, [base.as_str()], |row| row.get(0))?;
        label.map(|label| label.parse()).transpose()
    }

    fn last_ordinal(&self, base: &ModelName) -> Result<u64> {
        let sql = "SELECT coalesce(max(ordinal), 0) FROM version WHERE base = ?1";
        let last: Option<i64> = self.one(sql, [base.as_str()], |row| row.get(0))?;
        Ok(last.map_or(0, i64::unsigned_abs))
    }

    fn last_event(&self) -> Result<Option<LastEvent>> {
        let sql = "SELECT sequence, at, digest FROM event ORDER BY sequence DESC LIMIT 1";
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
        let Some((sequence, at, digest)) = self.one(sql, [], read)? else { return Ok(None) };
        let (at, _) = Timestamp::parse(&at)?;
        Ok(Some(LastEvent { sequence: sequence.unsigned_abs(), digest: digest.parse()?, at }))
    }

    fn by_id(&self, model_id: &ModelId) -> Result<Option<Entry>> {
        self.entry("model_id = ?1", [model_id.as_str()])
    }

    fn version_since(&self, base: &ModelName, version: &Version) -> Result<Option<Timestamp>> {
        let taken = self.entry("base = ?1 AND version_key = ?2", params![base.as_str(), version_key(version)])?;
        Ok(taken.map(|entry| entry.record.created_at))
    }

    fn conventional_name_since(&self, name: &str) -> Result<Option<Timestamp>> {
        Ok(self.entry("file_name = ?1", [name])?.map(|entry| entry.record.created_at))
    }

    fn alias_holder(&self, base: &ModelName, alias: &Alias) -> Result<Option<Entry>> {
        let condition = "id = (SELECT version_id FROM version_alias WHERE base = ?1 AND alias = ?2)";
        self.entry(condition, [base.as_str(), alias.as_str()])
    }

    fn aliased(&self, base: &ModelName) -> Result<Vec<Entry>> {
        let sql = format!(
            "SELECT {VERSION_COLUMNS} FROM version
             WHERE id IN (SELECT version_id FROM version_alias WHERE base = ?1) ORDER BY id"
        );
        let rows: rusqlite::Result<Vec<VersionRow>> = self
            .connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([base.as_str()], VersionRow::read)?.collect());
        let rows = rows.map_err(failed("read the versions with aliases", self.path))?;
        rows.into_iter().map(VersionRow::into_entry).collect()
    }

    fn children(&self, model_id: &ModelId) -> Result<Vec<ModelId>> {
        let sql = "SELECT model_id FROM version WHERE parent = ?1 AND NOT deleted ORDER BY id";
        let ids: rusqlite::Result<Vec<String>> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_map([model_id.as_str()], |row| row.get(0))?.collect());
        ids.map_err(failed("read children", self.path))?.into_iter().map(|id| id.parse()).collect()
    }

    fn remembered(&self, key: &str) -> Result<Option<Remembered>> {
        let sql = "SELECT model_id, fingerprint FROM idempotency WHERE key = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        let Some((model_id, fingerprint)) = self.one(sql, [key], read)? else { return Ok(None) };
        Ok(Some(Remembered { model_id: model_id.parse()?, fingerprint: fingerprint.parse()? }))
    }

    fn remember(&mut self, key: &str, remembered: &Remembered) -> Result<()> {
        let sql = "INSERT INTO idempotency (key, model_id, fingerprint) VALUES (?1, ?2, ?3)";
        self.write(sql, params![key, remembered.model_id.as_str(), remembered.fingerprint.to_string()])
    }

    fn insert(&mut self, entry: &Entry) -> Result<()> {
        self.write_version(
            "INSERT INTO version (model_id, base, ordinal, label, version_key, type, framework, status, name, digest,
                 size_bytes, created_at_us, parent, file_name, deleted, revision, record)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            entry,
        )?;
        // Nothing else can have aliases of a version that was not there.
        if entry.record.aliases().is_empty() { Ok(()) } else { self.write_aliases(entry) }
    }

    fn replace(&mut self, entry: &Entry) -> Result<()> {
        let model_id = entry.record.model_id.as_str();
        let before = Counted::stored(self.connection, model_id).and_then(|before| match before {
            Some(before) => before.subtract(self.connection),
            None => Ok(()),
        });
        before.map_err(failed("count a version", self.path))?;
        self.write_version(
            "UPDATE version SET base = ?2, ordinal = ?3, label = ?4, version_key = ?5, type = ?6, framework = ?7,
                 status = ?8, name = ?9, digest = ?10, size_bytes = ?11, created_at_us = ?12, parent = ?13,
                 file_name = ?14, deleted = ?15, revision = ?16, record = ?17
             WHERE model_id = ?1",
            entry,
        )?;
        let id = self.one("SELECT id FROM version WHERE model_id = ?1", [model_id], |row| row.get(0))?;
        if let Some(id) = id {
            note_change(self.connection, id).map_err(failed("index a version", self.path))?;
        }
        self.write_aliases(entry)
    }

    fn append(&mut self, event: &Event) -> Result<()> {
        let happening = &event.happening;
        self.write(
            "INSERT INTO event (sequence, at, actor, action, subject, reason, before, after, previous, digest)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                whole_number("sequence", event.sequence)?,
                happening.at.to_string(),
                happening.actor,
                happening.action,
                happening.subject,
                happening.reason,
                happening.before.to_string(),
                happening.after.to_string(),
                event.previous.to_string(),
                event.digest.to_string(),
            ],
        )
    }
}

/// Returns a number as SQLite keeps it: in signed 64 bits.
fn whole_number(field: &str, number: u64) -> Result<Value> {
    let number = i64::try_from(number).map_err(|_| Error::invalid(field, number, "must fit into 63 bits"))?;
    Ok(Value::Integer(number))
}
