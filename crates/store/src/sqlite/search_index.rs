//! What a search reads instead of the records, kept in step with the table `version` inside the same transaction.
//!
//! ```text
//! version_search   one narrow row per version: what is filtered and ordered by often, and the searchable text
//! version_text     FTS5: the tokens of that text, and of every `field = value` that many versions may share
//! version_value    one row per scalar below metadata, metrics, tags …, ordered by key and value
//! value_key        the keys, numbered
//! ```

use rusqlite::{Connection, OptionalExtension, params};
use seedhouse_core::query::{FieldPath, Value, scalars};
use seedhouse_core::{Entry, Record};

use super::values::sql_value;
use crate::search_tokens::{label_token, search_text, tokens_of_text};
use crate::version_key::version_key;

/// The tables of the index, and what makes them fast to walk in an order.
pub(super) const TABLES: &str = "
    CREATE TABLE version_search (
        id            INTEGER PRIMARY KEY,
        model_id      TEXT NOT NULL,
        base          TEXT NOT NULL,
        name          TEXT NOT NULL,
        type          TEXT NOT NULL,
        framework     TEXT NOT NULL,
        status        TEXT NOT NULL,
        version_key   BLOB NOT NULL,
        size_bytes    INTEGER,
        created_at_us INTEGER NOT NULL,
        updated_at_us INTEGER NOT NULL,
        text          TEXT NOT NULL
    ) STRICT;
    CREATE INDEX version_search_by_model_id ON version_search (model_id);
    CREATE INDEX version_search_by_name ON version_search (name);
    CREATE INDEX version_search_by_version ON version_search (version_key);
    CREATE INDEX version_search_by_size ON version_search (size_bytes);
    CREATE INDEX version_search_by_created ON version_search (created_at_us);
    CREATE INDEX version_search_by_updated ON version_search (updated_at_us);

    CREATE VIRTUAL TABLE version_text USING fts5(
        tokens, content='', contentless_delete=1, detail=none, tokenize='ascii');

    CREATE TABLE value_key (
        id   INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE
    ) STRICT;
    CREATE TABLE version_value (
        version_id INTEGER NOT NULL,
        key_id     INTEGER NOT NULL,
        value      ANY NOT NULL,
        PRIMARY KEY (version_id, key_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX version_value_by_key ON version_value (key_id, value, version_id);
";

/// Makes the index say what a version is now; called after every insert and every update of a row of `version`.
pub(super) fn index_version(connection: &Connection, row_id: i64, entry: &Entry) -> rusqlite::Result<()> {
    remove_from_index(connection, row_id)?;
    let text = search_text(&entry.record);
    insert_row(connection, row_id, entry, &text)?;
    let mut tokens: Vec<String> = tokens_of_text(&text).into_iter().collect();
    tokens.extend(typed_labels(entry).into_iter().filter_map(|(label, value)| label_token(label, value)));
    for (path, value) in scalars(&entry.record) {
        let key = key_id_or_new(connection, path.as_str())?;
        if insert_value(connection, row_id, key, &value)? {
            tokens.extend(value_token(&path, key, &value));
        }
    }
    let mut statement = connection.prepare_cached("INSERT INTO version_text (rowid, tokens) VALUES (?1, ?2)")?;
    statement.execute(params![row_id, tokens.join(" ")])?;
    Ok(())
}

/// Makes a version invisible to searches; called before a row of `version` goes, or when it may no longer be found.
pub(super) fn remove_from_index(connection: &Connection, row_id: i64) -> rusqlite::Result<()> {
    let delete = |sql| connection.prepare_cached(sql)?.execute([row_id]);
    if delete("DELETE FROM version_search WHERE id = ?1")? > 0 {
        delete("DELETE FROM version_text WHERE rowid = ?1")?;
        delete("DELETE FROM version_value WHERE version_id = ?1")?;
    }
    Ok(())
}

/// Returns the number of a key, if any version has it.
pub(super) fn key_id(connection: &Connection, path: &FieldPath) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM value_key WHERE name = ?1")?;
    statement.query_row([path.as_str()], |row| row.get(0)).optional()
}

/// Returns the labels under which the fields that many versions share are found.
pub(super) fn typed_labels(entry: &Entry) -> [(&'static str, &str); 4] {
    let Record { model_type, framework, status, .. } = &entry.record;
    [
        (BASE_LABEL, entry.base.as_str()),
        (TYPE_LABEL, model_type.as_str()),
        (FRAMEWORK_LABEL, framework.as_str()),
        (STATUS_LABEL, status.as_str()),
    ]
}

pub(super) const BASE_LABEL: &str = "b";
pub(super) const TYPE_LABEL: &str = "t";
pub(super) const FRAMEWORK_LABEL: &str = "f";
pub(super) const STATUS_LABEL: &str = "s";

/// Returns the token of a scalar that many versions may share: a short text or a small whole number. Measured figures are
/// left out: nearly each would be a token of its own.
pub(super) fn value_token(path: &FieldPath, key: i64, value: &Value) -> Option<String> {
    const LARGEST_NUMBER: f64 = 1e6;
    if path.as_str().starts_with("metrics") || path.as_str().starts_with("accuracy") {
        return None;
    }
    match value {
        Value::Text(text) => label_token(&format!("{key}t"), text),
        Value::Number(number) if number.fract() == 0.0 && number.abs() <= LARGEST_NUMBER => {
            label_token(&format!("{key}n"), &number.to_string())
        }
        Value::Number(_) | Value::Whole(_) | Value::Time(_) | Value::Version(_) => None,
    }
}

fn insert_row(connection: &Connection, row_id: i64, entry: &Entry, text: &str) -> rusqlite::Result<()> {
    let record = &entry.record;
    let sql = "INSERT INTO version_search (id, model_id, base, name, type, framework, status, version_key, size_bytes,
                   created_at_us, updated_at_us, text)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    connection.prepare_cached(sql)?.execute(params![
        row_id,
        record.model_id.as_str(),
        entry.base.as_str(),
        record.name,
        record.model_type.as_str(),
        record.framework.as_str(),
        record.status.as_str(),
        version_key(&record.version),
        record.size_bytes().and_then(|size| i64::try_from(size).ok()),
        record.created_at.as_microseconds(),
        record.updated_at.as_microseconds(),
        text,
    ])?;
    Ok(())
}

/// Returns whether the value stands in the table: of two under one key, which only control characters in names can bring
/// about, the first one counts.
fn insert_value(connection: &Connection, row_id: i64, key: i64, value: &Value) -> rusqlite::Result<bool> {
    let sql = "INSERT OR IGNORE INTO version_value (version_id, key_id, value) VALUES (?1, ?2, ?3)";
    let inserted = connection.prepare_cached(sql)?.execute(params![row_id, key, sql_value(value)])?;
    Ok(inserted > 0)
}

fn key_id_or_new(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("SELECT id FROM value_key WHERE name = ?1")?;
    if let Some(id) = statement.query_row([name], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO value_key (name) VALUES (?1)")?.insert([name])
}

#[cfg(test)]
mod tests {
    use seedhouse_core::Status;
    use serde_json::json;

    use super::*;
    use crate::sqlite::{connection, schema};

    fn entry() -> Entry {
        let record = json!({
            "model_id": "小麦_v1", "name": "小麦", "type": "vision", "framework": "pytorch", "version": "1", "status": "ready",
            "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z",
            "metadata": {"num_classes": 12, "backbone": "resnet"}, "metrics": {"f1": 0.5}, "tags": {"作物": "小麦"},
        });
        Entry {
            base: "小麦".parse().unwrap(),
            ordinal: 1,
            revision: 1,
            record: serde_json::from_value(record).unwrap(),
        }
    }

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Rows of the three tables that say something about versions.
    fn rows(connection: &Connection) -> [i64; 3] {
        ["version_search", "version_text", "version_value"]
            .map(|table| number(connection, &format!("SELECT count(*) FROM {table}")))
    }

    fn labelled(connection: &Connection, label: &str, value: &str) -> i64 {
        let token = format!("\"{}\"", label_token(label, value).unwrap());
        let sql = "SELECT count(*) FROM version_text WHERE version_text MATCH ?1";
        connection.query_row(sql, [token], |row| row.get(0)).unwrap()
    }

    #[test]
    fn index_follows_a_version_through_change_and_removal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let mut connection = connection::writing(&path).unwrap();
        schema::prepare(&mut connection, &path).unwrap();
        let mut entry = entry();
        index_version(&connection, 7, &entry).unwrap();
        assert_eq!(rows(&connection), [1, 1, 4]);
        entry.record.status = Status::Stopped;
        entry.record.fields.shift_remove("metrics");
        index_version(&connection, 7, &entry).unwrap();
        assert_eq!(rows(&connection), [1, 1, 3]);
        assert_eq!(
            [labelled(&connection, STATUS_LABEL, "ready"), labelled(&connection, STATUS_LABEL, "stopped")],
            [0, 1]
        );
        remove_from_index(&connection, 7).unwrap();
        remove_from_index(&connection, 7).unwrap();
        assert_eq!(rows(&connection), [0, 0, 0]);
        assert_eq!(labelled(&connection, TYPE_LABEL, "vision"), 0);
    }
}
