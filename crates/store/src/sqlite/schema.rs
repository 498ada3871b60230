//! The tables, and the check that a file has them in the layout this program knows.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use seedhouse_core::{Error, Result};

use super::connection::{BUSY_TIMEOUT, failed};
use super::{jobs, search_index, tally, tokens, turn};

/// The layout this program reads and writes; `PRAGMA user_version` of the file. Layout 1 was never released.
const LAYOUT: i64 = 2;

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
    if found.is_empty() {
        let _turn = turn::wait(path)?;
        patiently(|| create_tables(connection)).map_err(failure())?;
    }
    // An existing file is only read: whoever opens it need not wait for the write lock of those who are writing.
    Ok(())
}

fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have made them since the check.
    if Found::read_within(&transaction)?.layout == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute_batch(tokens::TABLE)?;
        transaction.execute_batch(tally::TABLES)?;
        transaction.execute_batch(search_index::TABLES)?;
        transaction.execute_batch(jobs::TABLE)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
    }
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
            LAYOUT => Ok(()),
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
