//! Keeps `metadata.json` in step: the registry in the original system's format, for people and programs that read that.
//!
//! ```text
//! thread ── every 200 ms ──> has the revision, or the file, changed? ──> keeper: lock, read the store, write the file whole
//!
//! <root>/metadata.json              output; what somebody else wrote there is set aside, never lost
//! <root>/.metadata.json.state       which contents are ours, so that an edit can be told from a crash
//! <root>/.metadata.json.lock        held while writing, so that no process puts an older state over a newer one
//! ```

mod content;
mod keeper;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use seedhouse_core::{Clock, Error, MetadataStore, Result};

use keeper::Keeper;

/// How often the revision is looked at: a change is written well within a second.
const POLL: Duration = Duration::from_millis(200);

/// The first and the longest pause after a failure.
const RETRY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// The owner of the thread that keeps `metadata.json` in step. Dropping it writes what is still unwritten.
pub struct MetadataFile {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    keeper: Mutex<Keeper>,
    set_aside: Arc<Mutex<Vec<PathBuf>>>,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl MetadataFile {
    /// Starts keeping `<root>/metadata.json` in step with a store. The first write happens in the background.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be made, [`Error::Store`] when no thread can be started.
    pub fn start(root: &Path, store: Arc<dyn MetadataStore>, clock: Arc<dyn Clock>) -> Result<MetadataFile> {
        let set_aside = Arc::default();
        let keeper = Keeper::new(root, store, clock, Arc::clone(&set_aside))?;
        let shared = Arc::new(Shared {
            keeper: Mutex::new(keeper),
            set_aside,
            stop: Mutex::new(false),
            stopped: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("metadata.json".into())
            .spawn(move || of_thread.run())
            .map_err(Error::store("start the thread that writes metadata.json"))?;
        Ok(MetadataFile { shared, thread: Some(thread) })
    }

    /// Brings the file up to date now, if it is not.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written, [`Error::Unavailable`] while another process is writing it, and what the
    /// store answers when it cannot be read.
    pub fn flush(&self) -> Result<()> {
        self.shared.keep()
    }

    /// Returns the files that stood at `metadata.json`, were not written by this program, and have been renamed.
    pub fn set_aside(&self) -> Vec<PathBuf> {
        locked(&self.shared.set_aside).clone()
    }
}

impl Drop for MetadataFile {
    fn drop(&mut self) {
        *locked(&self.shared.stop) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes metadata.json panicked");
        }
        if let Err(error) = self.flush() {
            report(&error);
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut pause = Duration::ZERO;
        let mut retry = RETRY[0];
        while !self.stopped_within(pause) {
            pause = match self.keep_or_rest() {
                Ok(rest) => {
                    retry = RETRY[0];
                    POLL.max(rest)
                }
                Err(error) => {
                    report(&error);
                    let pause = retry;
                    retry = RETRY[1].min(retry * 2);
                    pause
                }
            };
        }
    }

    fn stopped_within(&self, pause: Duration) -> bool {
        let waited = self.stopped.wait_timeout_while(locked(&self.stop), pause, |stop| !*stop);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Does what is due.
    fn keep(&self) -> Result<()> {
        let mut keeper = locked(&self.keeper);
        if keeper.is_due()? {
            keeper.bring_up_to_date()?;
        }
        Ok(())
    }

    /// Does what is due, unless it is time to rest; then it returns for how long.
    fn keep_or_rest(&self) -> Result<Duration> {
        let rest = locked(&self.keeper).rest_left()?;
        if rest.is_zero() {
            self.keep()?;
        }
        Ok(rest)
    }
}

/// No state behind these locks can be half changed: each is replaced or pushed to in one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(error: &Error) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "cannot bring metadata.json up to date");
}
