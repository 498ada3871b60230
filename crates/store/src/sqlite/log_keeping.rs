//! Keeping the write-ahead log short while several processes write and others read.
//!
//! Left to itself, SQLite tries to empty the log after every commit once it is longer than 4 MB. With a long reader somewhere
//! (`metadata.json` being written, a backup) it cannot, and each try sorts all that is waiting: with two busy processes the log
//! was seen to pass 400 MB, and commits to become five times as slow. Here a try comes once in many commits, and a log that has
//! become long is begun anew as soon as nobody reads it, for which writers wait a moment.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::connection::wait_at_most;

/// A commit seldom touches more than 60 pages of 4 KB.
const COMMITS_PER_TRY: u32 = 64;

/// A log of more pages than this (64 MB) is long.
const LONG_LOG: i64 = 16_384;

/// How many tries with a long log go by between two attempts to begin it anew: while one waits, so does every writer.
const TRIES_PER_ATTEMPT: u32 = 8;

/// How long readers are waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// What the writer remembers between commits.
#[derive(Default)]
pub(super) struct LogKeeping {
    commits: u32,
    tries_with_long_log: u32,
}

impl LogKeeping {
    /// Takes the matter from SQLite's hands for a connection.
    pub(super) fn begin(connection: &Connection) -> rusqlite::Result<()> {
        connection.pragma_update(None, "wal_autocheckpoint", 0)
    }

    /// Looks after the log when it is time to. A failure is logged: the changes are durable in the log as well.
    pub(super) fn after_commit(&mut self, connection: &Connection, path: &Path) {
        self.commits += 1;
        if self.commits < COMMITS_PER_TRY {
            return;
        }
        self.commits = 0;
        if let Err(error) = self.shorten(connection) {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(path = %path.display(), error, "cannot shorten the log of the database");
        }
    }

    fn shorten(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if checkpoint(connection, "PASSIVE")? <= LONG_LOG {
            self.tries_with_long_log = 0;
            return Ok(());
        }
        self.tries_with_long_log += 1;
        if self.tries_with_long_log % TRIES_PER_ATTEMPT != 1 {
            return Ok(());
        }
        wait_at_most(connection, Some(PATIENCE))?;
        let restarted = checkpoint(connection, "RESTART");
        wait_at_most(connection, None)?;
        restarted.map(drop)
    }
}

/// Copies what may be copied into the database. Returns how many pages the log has.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::connection::{reading, writing};

    #[test]
    fn log_grows_while_somebody_reads_and_begins_anew_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let connection = writing(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE t (x BLOB)")
            .unwrap();
        LogKeeping::begin(&connection).unwrap();
        let mut keeping = LogKeeping::default();
        let mut write = |commits: u32, bytes: u32| {
            for _ in 0..commits {
                connection.execute("INSERT INTO t VALUES (zeroblob(?1))", [bytes]).unwrap();
                keeping.after_commit(&connection, &path);
            }
        };
        let reader = reading(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        let seen: i64 = reader.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        write(COMMITS_PER_TRY, 1_200_000);
        assert!(checkpoint(&connection, "PASSIVE").unwrap() > LONG_LOG, "the reader keeps it");
        assert_eq!(reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), seen);
        reader.execute_batch("COMMIT").unwrap();
        let further = COMMITS_PER_TRY * (TRIES_PER_ATTEMPT + 1);
        write(further, 10);
        assert!(checkpoint(&connection, "PASSIVE").unwrap() < LONG_LOG);
        let count: u32 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(count, COMMITS_PER_TRY + further);
    }
}
