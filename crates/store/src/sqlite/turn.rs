//! Whose turn it is to write, among several processes on one database.
//!
//! SQLite gives its write lock to whoever asks at the right moment. A process that commits again and again asks within
//! microseconds of the last commit; one that waits looks now and then and may not find the lock free for many seconds. So
//! everybody queues first, at a lock of its own, and leaves the queue when the write lock is theirs:
//!
//! ```text
//! queue (<database>-queue) ──> BEGIN IMMEDIATE ──> leave the queue ──> write, COMMIT ──> queue again, behind who waits
//! ```
//!
//! The system gives the queue's lock back when a process dies.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use seedhouse_core::{Error, Result};

use super::connection::BUSY_TIMEOUT;

/// How often a process that waits looks again; short beside a commit, which waits for the disk.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The place at the head of the queue; dropping it lets the next one there.
pub(super) struct Turn(#[expect(dead_code, reason = "its lock is what counts")] File);

/// Waits until nobody else who wants to write the database at `path` has waited longer.
pub(super) fn wait(path: &Path) -> Result<Turn> {
    let mut name = path.as_os_str().to_owned();
    name.push("-queue");
    let path = Path::new(&name);
    let failed = || Error::io("lock", path);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(failed())?;
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Turn(file)),
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => {
                let reason = format!("others have waited to write for more than {} s", BUSY_TIMEOUT.as_secs());
                return Err(Error::Unavailable { what: format!("the lock `{}`", path.display()), reason });
            }
        }
    }
}
