//! Counts of the versions that are not deleted, kept in step by the transactions that write them, so that figures about a
//! registry cost the same whatever its size.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use seedhouse_core::{Entry, Record, Statistics};

/// Sizes are summed in two halves, because the sum of sizes that somebody claimed may be beyond 64 bits.
pub(super) const TABLES: &str = "
    CREATE TABLE version_tally (
        type      TEXT NOT NULL,
        framework TEXT NOT NULL,
        status    TEXT NOT NULL,
        versions  INTEGER NOT NULL,
        size_high INTEGER NOT NULL,
        size_low  INTEGER NOT NULL,
        PRIMARY KEY (type, framework, status)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE base_tally (one INTEGER PRIMARY KEY CHECK (one = 1), bases INTEGER NOT NULL) STRICT;
    INSERT INTO base_tally (one, bases) VALUES (1, 0);
";

/// What is counted of one version.
pub(super) struct Counted {
    base: String,
    labels: [String; 3],
    size_bytes: i64,
    is_shown: bool,
}

impl Counted {
    /// Returns what the tables count of a version that is to be written.
    pub(super) fn of(entry: &Entry) -> Counted {
        let Record { model_type, framework, status, .. } = &entry.record;
        Counted {
            base: entry.base.to_string(),
            labels: [model_type.as_str(), framework.as_str(), status.as_str()].map(str::to_owned),
            size_bytes: entry.record.size_bytes().and_then(|size| i64::try_from(size).ok()).unwrap_or(0),
            is_shown: entry.record.deleted_at().is_none(),
        }
    }

    /// Returns the same of a version as it stands in the database.
    pub(super) fn stored(connection: &Connection, model_id: &str) -> rusqlite::Result<Option<Counted>> {
        let sql = "SELECT base, type, framework, status, size_bytes, deleted FROM version WHERE model_id = ?1";
        let read = |row: &Row<'_>| {
            Ok(Counted {
                base: row.get(0)?,
                labels: [row.get(1)?, row.get(2)?, row.get(3)?],
                size_bytes: row.get::<_, Option<i64>>(4)?.unwrap_or(0),
                is_shown: !row.get::<_, bool>(5)?,
            })
        };
        connection.prepare_cached(sql)?.query_row([model_id], read).optional()
    }

    /// Counts a version in, after its row was written.
    pub(super) fn add(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.is_shown {
            self.change(connection, 1)?;
            if shown_of_base(connection, &self.base)? == 1 {
                change_bases(connection, 1)?;
            }
        }
        Ok(())
    }

    /// Counts a version out, before its row is written anew.
    pub(super) fn subtract(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.is_shown {
            if shown_of_base(connection, &self.base)? == 1 {
                change_bases(connection, -1)?;
            }
            self.change(connection, -1)?;
        }
        Ok(())
    }

    fn change(&self, connection: &Connection, by: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO version_tally (type, framework, status, versions, size_high, size_low)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                   ON CONFLICT DO UPDATE SET versions = versions + excluded.versions,
                       size_high = size_high + excluded.size_high, size_low = size_low + excluded.size_low";
        let [model_type, framework, status] = &self.labels;
        let (high, low) = (self.size_bytes >> 32, self.size_bytes & 0xffff_ffff);
        let parameters = params![model_type, framework, status, by, by * high, by * low];
        connection.prepare_cached(sql)?.execute(parameters)?;
        Ok(())
    }
}

/// Returns the number of versions of a base that are not deleted, counting to at most two.
fn shown_of_base(connection: &Connection, base: &str) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM version WHERE base = ?1 AND NOT deleted LIMIT 2)";
    connection.prepare_cached(sql)?.query_row([base], |row| row.get(0))
}

fn change_bases(connection: &Connection, by: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE base_tally SET bases = bases + ?1")?.execute([by])?;
    Ok(())
}

/// Returns the counts over the whole registry.
pub(super) fn statistics(connection: &Connection) -> rusqlite::Result<Statistics> {
    let total_bases = connection.query_row("SELECT bases FROM base_tally", [], |row| number(row, 0))?;
    let mut statistics = Statistics { total_bases, ..Statistics::default() };
    let sql = "SELECT type, framework, status, versions, size_high, size_low FROM version_tally WHERE versions > 0";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let versions = number(row, 3)?;
        let count = |counts: &mut BTreeMap<String, u64>, label: String| *counts.entry(label).or_default() += versions;
        count(&mut statistics.by_type, row.get(0)?);
        count(&mut statistics.by_framework, row.get(1)?);
        count(&mut statistics.by_status, row.get(2)?);
        statistics.total_models += versions;
        let size_bytes = number(row, 4)?.saturating_mul(1 << 32).saturating_add(number(row, 5)?);
        statistics.size_bytes = statistics.size_bytes.saturating_add(size_bytes);
    }
    Ok(statistics)
}

/// Reads a number that is a count or a sum of counts.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}
