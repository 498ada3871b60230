//! Opens connections, and turns SQLite's errors into ours.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use seedhouse_core::{Error, Result};

use super::turn::LOOK_AGAIN;

/// How long a connection waits for the write lock of another process.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// More statements than any connection uses: what was prepared once stays so.
const STATEMENTS: usize = 128;

/// Opens the connection that writes, and makes the file when it does not exist. Its 32 MB of pages hold what registrations
/// touch of the indexes. A log that grew while others were reading it is cut to 64 MB when it begins anew.
pub(super) fn writing(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let pragmas = "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;
                   PRAGMA journal_size_limit = 67108864;";
    open(path, flags, pragmas)
}

/// Opens a connection that cannot change anything; its 16 MB of pages hold the upper levels of the indexes. It opens the file
/// for writing all the same, since readers of a write-ahead log note in shared memory what they are reading.
pub(super) fn reading(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    open(path, flags, "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;")
}

/// Decides whether to look again for a lock, and when. SQLite's own handler soon sleeps 100 ms at a time, during which a
/// free lock is of use to nobody.
fn look_again(looks: i32) -> bool {
    thread::sleep(LOOK_AGAIN);
    u128::from(looks.unsigned_abs()) < BUSY_TIMEOUT.as_millis() / LOOK_AGAIN.as_millis()
}

/// Sets for how long a connection waits for locks, or with `None` that it waits as it always does.
pub(super) fn wait_at_most(connection: &Connection, patience: Option<Duration>) -> rusqlite::Result<()> {
    match patience {
        Some(patience) => connection.busy_timeout(patience),
        None => connection.busy_handler(Some(look_again)),
    }
}

fn open(path: &Path, flags: OpenFlags, pragmas: &str) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, flags).map_err(failed("open the database", path))?;
    wait_at_most(&connection, None).map_err(failed("set up a connection", path))?;
    connection.execute_batch(pragmas).map_err(failed("set up a connection", path))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// Returns our error for one of SQLite's; made for `map_err(failed("read a version", path))`.
pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(rusqlite::Error) -> Error {
    move |error| shared_failure(action, path, &Arc::new(error))
}

/// Takes one of our errors through a function that can only fail with SQLite's; [`failed`] brings it out again.
pub(super) fn carried(error: Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Null, Box::new(error))
}

/// The same for an error that several callers are told.
pub(super) fn shared_failure(action: &'static str, path: &Path, error: &Arc<rusqlite::Error>) -> Error {
    if let rusqlite::Error::FromSqlConversionFailure(_, _, inner) = &**error
        && let Some(ours) = inner.downcast_ref::<Error>()
    {
        return ours.clone();
    }
    let database = || format!("database `{}`", path.display());
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::CorruptState { what: database(), reason: error.to_string() }
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            let reason = format!("another process held its lock for {} s", BUSY_TIMEOUT.as_secs());
            Error::Unavailable { what: database(), reason }
        }
        Some(ErrorCode::DiskFull) => {
            let source = io::Error::new(io::ErrorKind::StorageFull, Arc::clone(error));
            Error::Io { action, path: path.to_owned(), source: Arc::new(source) }
        }
        _ if is_without_space_for_shared_memory(error) => {
            let reason =
                "no space on the disk for the file `-shm` beside it, through which processes share what they know";
            let source = io::Error::new(io::ErrorKind::StorageFull, reason);
            Error::Io { action, path: path.to_owned(), source: Arc::new(source) }
        }
        _ => Error::Store { action, source: Arc::<rusqlite::Error>::clone(error) },
    }
}

/// Returns whether the file of the write-ahead log's index could not grow: by SQLite's documentation of
/// `SQLITE_IOERR_SHMSIZE` because the file system has no space left.
fn is_without_space_for_shared_memory(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}
