//! The tables, and the check that a file has them in the layout this program knows.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use seedhouse_core::{Error, Result};

use super::connection::{BUSY_TIMEOUT, failed};
use super::{jobs, search_index, tally, tokens, turn};

/// The layout this program reads and writes; `PRAGMA user_version` of the file. Layout 1 was never released.
const LAYOUT: i64 = 3;

/// The oldest layout that is brought up to the newest one, and what each layout since then added.
const OLDEST: i64 = 2;
const UPGRADES: [&str; (LAYOUT - OLDEST) as usize] = [SERVABLE_INDEX];

/// Marks the file as ours (`seed` in ASCII), so that another program's database is never written to.
const APPLICATION_ID: i64 = 0x7365_6564;

/// `record` stands last: it is the only long column, and a scan of those before it need not read it.
const TABLES: &str = "
    CREATE TABLE version (
        id            INTEGER PRIMARY KEY,
        model_id      TEXT NOT NULL UNIQUE,
        base          TEXT NOT NULL,
        ordinal       INTEGER NOT NULL,
        label         TEXT NOT NULL,
        version_key   BLOB NOT NULL,
        type          TEXT NOT NULL,
        framework     TEXT NOT NULL,
        status        TEXT NOT NULL,
        name          TEXT NOT NULL,
        digest        TEXT,
        size_bytes    INTEGER,
        created_at_us INTEGER NOT NULL,
        parent        TEXT,
        file_name     TEXT,
        deleted       INTEGER NOT NULL,
        revision      INTEGER NOT NULL,
        record        TEXT NOT NULL,
        UNIQUE (base, ordinal)
    ) STRICT;
    -- Different labels have different keys.
    CREATE UNIQUE INDEX version_by_order ON version (base, version_key);
    CREATE INDEX version_by_digest ON version (digest) WHERE digest IS NOT NULL;
    CREATE UNIQUE INDEX version_by_file_name ON version (file_name) WHERE file_name IS NOT NULL;
    CREATE INDEX version_by_parent ON version (parent) WHERE parent IS NOT NULL;
    CREATE INDEX version_deleted ON version (id) WHERE deleted;

    -- Where aliases point; the records say the same.
    CREATE TABLE version_alias (
        base       TEXT NOT NULL,
        alias      TEXT NOT NULL,
        version_id INTEGER NOT NULL,
        PRIMARY KEY (base, alias)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX version_alias_by_version ON version_alias (version_id);

    CREATE TABLE idempotency (
        key         TEXT NOT NULL PRIMARY KEY,
        model_id    TEXT NOT NULL,
        fingerprint TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE event (
        sequence INTEGER PRIMARY KEY,
        at       TEXT NOT NULL,
        actor    TEXT NOT NULL,
        action   TEXT NOT NULL,
        subject  TEXT NOT NULL,
        reason   TEXT,
        before   TEXT NOT NULL,
        after    TEXT NOT NULL,
        previous TEXT NOT NULL,
        digest   TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_by_subject ON event (subject, sequence);
";

/// Where a bare name finds the newest version that can be served: without it a base whose newest versions cannot be served
/// is walked through from its end. Whoever reads it says [`SERVABLE`] word for word.
const SERVABLE_INDEX: &str = "CREATE INDEX version_servable ON version (base, version_key)
    WHERE status IN ('imported', 'ready', 'trained', 'pretrained', 'quantized') AND NOT deleted";

/// The condition of that index.
pub(super) const SERVABLE: &str =
    "status IN ('imported', 'ready', 'trained', 'pretrained', 'quantized') AND NOT deleted";

/// Makes the tables in an empty file, or checks that those of an existing one can be used. A refused file stays as it is.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Result<()> {
    let failure = || failed("prepare the database", path);
    let found = patiently(|| Found::read(connection)).map_err(failure())?;
    found.check(path)?;
    let mode: String =
        patiently(|| connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))).map_err(failure())?;
    if mode != "wal" {
        let reason = format!("the file system only allows the journal mode `{mode}`");
        return Err(Error::unsupported(format!("write-ahead logging of `{}`", path.display()), reason));
    }
    if found.layout != LAYOUT {
        let _turn = turn::wait(path)?;
        patiently(|| bring_up_to_date(connection)).map_err(failure())?;
    }
    // A file of this layout is only read: whoever opens it need not wait for the write lock of those who are writing.
    Ok(())
}

/// Makes the tables, or adds what a file of an older layout lacks. Another process may have done it since the check.
fn bring_up_to_date(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = Found::read_within(&transaction)?.layout;
    if found == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(tokens::TABLE)?;
        transaction.execute_batch(tally::TABLES)?;
        transaction.execute_batch(search_index::TABLES)?;
        transaction.execute_batch(jobs::TABLE)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    for (layout, upgrade) in (OLDEST + 1..).zip(UPGRADES) {
        if found < layout {
            transaction.execute_batch(upgrade)?;
        }
    }
    transaction.pragma_update(None, "user_version", LAYOUT)?;
    transaction.commit()
}

/// What a file says about itself.
struct Found {
    layout: i64,
    application_id: i64,
    tables: i64,
}

impl Found {
    fn read(connection: &mut Connection) -> rusqlite::Result<Found> {
        // One transaction, so that a process that is making the tables is seen before or after, not in between.
        let transaction = connection.transaction()?;
        Found::read_within(&transaction)
    }

    fn read_within(connection: &Connection) -> rusqlite::Result<Found> {
        let number = |sql| connection.query_row(sql, [], |row| row.get(0));
        // This one reads the file, and is refused if that is no database.
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        Ok(Found { layout: number("PRAGMA user_version")?, application_id: number("PRAGMA application_id")?, tables })
    }

    fn is_empty(&self) -> bool {
        (self.layout, self.application_id, self.tables) == (0, 0, 0)
    }

    fn check(&self, path: &Path) -> Result<()> {
        let what = format!("database `{}`", path.display());
        if self.is_empty() {
            return Ok(());
        }
        if self.application_id != APPLICATION_ID {
            let reason =
                format!("it belongs to another program: its id is {}, not {APPLICATION_ID}", self.application_id);
            return Err(Error::CorruptState { what, reason });
        }
        match self.layout {
            OLDEST..=LAYOUT => Ok(()),
            1 => {
                let reason = "it has layout 1, which was never released; adopt its `metadata.json` into a new registry";
                Err(Error::unsupported(what, reason))
            }
            newer if newer > LAYOUT => {
                let reason = format!("it has layout {newer}, and this program knows up to {LAYOUT}");
                Err(Error::unsupported(what, reason))
            }
            unknown => {
                let reason = format!("it has layout {unknown}, and layouts are 1 to {LAYOUT}");
                Err(Error::CorruptState { what, reason })
            }
        }
    }
}

/// Repeats what was refused because another process is preparing the same file: for a change of the journal mode SQLite
/// does not wait by itself.
fn patiently<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match work() {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seedhouse_core::Status;

    #[test]
    fn index_of_what_can_be_served_has_every_such_status() {
        let servable = Status::ALL.into_iter().filter(|status| status.is_servable());
        let servable: Vec<String> = servable.map(|status| format!("'{status}'")).collect();
        assert_eq!(SERVABLE, format!("status IN ({}) AND NOT deleted", servable.join(", ")));
        assert!(SERVABLE_INDEX.ends_with(&format!("WHERE {SERVABLE}")));
    }

    #[test]
    fn file_of_the_layout_before_gets_what_it_lacks_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut connection = Connection::open(&path).unwrap();
        prepare(&mut connection, &path).unwrap();
        connection
            .execute_batch(
                "DROP INDEX version_servable; PRAGMA user_version = 2;
                 INSERT INTO idempotency VALUES ('key', 'a_v1', 'print')",
            )
            .unwrap();
        for _ in 0..2 {
            prepare(&mut connection, &path).unwrap();
            assert_eq!(Found::read(&mut connection).unwrap().layout, LAYOUT);
            let kept: String = connection.query_row("SELECT key FROM idempotency", [], |row| row.get(0)).unwrap();
            assert_eq!(kept, "key");
            connection.execute_batch("EXPLAIN SELECT 1 FROM version INDEXED BY version_servable WHERE base = 'a' AND status IN ('imported', 'ready', 'trained', 'pretrained', 'quantized') AND NOT deleted").unwrap();
        }
    }
}
