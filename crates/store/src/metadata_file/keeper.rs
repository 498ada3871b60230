//! One round of keeping the file in step: is something due, whose file stands there, write the new one.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use seedhouse_core::{Clock, Digest, DigestWriter, Error, MetadataStore, Result};

use super::content::write_registry;
use super::locked;
use super::state::State;
use crate::durable::put_in_place;
use crate::set_aside::set_aside;

/// How long a process waits for another one that is writing the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// After a write everybody rests this many times as long, so that a large file takes at most 5 % of the time.
const REST_PER_WRITE: u32 = 20;

/// Up to this size nobody rests: then a busy disk is what takes the time, and users expect a small file within a second.
const SMALL_BYTES: u64 = 256 << 10;

/// Where it is kept which contents are ours.
const STATE: &str = ".metadata.json.state";

/// How much of a file is in memory at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Knows the files and the store, and what it saw last.
pub(super) struct Keeper {
    root: PathBuf,
    path: PathBuf,
    store: Arc<dyn MetadataStore>,
    clock: Arc<dyn Clock>,
    seen: Option<Seen>,
    /// What was set aside; shared, so that it can be read while a round is going on.
    set_aside: Arc<Mutex<Vec<PathBuf>>>,
}

/// What the last round left behind.
#[derive(PartialEq, Eq)]
struct Seen {
    revision: u64,
    file: Option<FileState>,
}

/// What changes when a file is edited or replaced; looking at it costs next to nothing.
#[derive(PartialEq, Eq)]
struct FileState {
    inode: (u64, u64),
    size_bytes: u64,
    modified: (i64, i64),
}

impl FileState {
    /// Returns how long ago it was written; no time at all if that is in the future.
    fn age(&self) -> Duration {
        let (seconds, nanoseconds) = self.modified;
        let since_epoch = Duration::new(u64::try_from(seconds).unwrap_or(0), u32::try_from(nanoseconds).unwrap_or(0));
        (UNIX_EPOCH + since_epoch).elapsed().unwrap_or_default()
    }
}

impl Keeper {
    pub(super) fn new(
        root: &Path,
        store: Arc<dyn MetadataStore>,
        clock: Arc<dyn Clock>,
        set_aside: Arc<Mutex<Vec<PathBuf>>>,
    ) -> Result<Keeper> {
        let root = std::path::absolute(root).map_err(Error::io("resolve", root))?;
        fs::create_dir_all(&root).map_err(Error::io("make the folder", &root))?;
        Ok(Keeper { path: root.join("metadata.json"), root, store, clock, seen: None, set_aside })
    }

    /// Returns whether the registry or the file has changed since the last round.
    pub(super) fn is_due(&self) -> Result<bool> {
        let now = Seen { revision: self.store.revision()?, file: file_state(&self.path)? };
        Ok(self.seen.as_ref() != Some(&now))
    }

    /// Returns how much longer to rest from the last write, whichever process did it: several that write, or one that is
    /// started again and again, take no more of the time together than one.
    pub(super) fn rest_left(&self) -> Result<Duration> {
        let Some(file) = file_state(&self.path)?.filter(|file| file.size_bytes > SMALL_BYTES) else {
            return Ok(Duration::ZERO);
        };
        let state = State::read(&self.root.join(STATE))?;
        let rest = Duration::from_millis(state.map_or(0, |state| state.took_ms)) * REST_PER_WRITE;
        Ok(rest.saturating_sub(file.age()))
    }

    /// Writes the file if it does not show the registry as it is. What stands there and is not ours is set aside.
    pub(super) fn bring_up_to_date(&mut self) -> Result<()> {
        /// More than once only if somebody edits the file at that very moment.
        const ATTEMPTS: u32 = 4;
        let _lock = lock(&self.root.join(".metadata.json.lock"))?;
        for _ in 0..ATTEMPTS {
            if let Some(seen) = self.attempt()? {
                self.seen = Some(seen);
                return Ok(());
            }
        }
        let reason = format!("somebody else changed it during each of {ATTEMPTS} attempts to write it");
        Err(Error::Unavailable { what: format!("`{}`", self.path.display()), reason })
    }

    /// Returns what it left behind, or `None` if somebody changed the file meanwhile.
    fn attempt(&self) -> Result<Option<Seen>> {
        let begun = Instant::now();
        let state_path = self.root.join(STATE);
        // Before the records: if one is added meanwhile, the next round writes once more, and nothing is missed.
        let revision = self.store.revision()?;
        let state = State::read(&state_path)?;
        let before = file_state(&self.path)?;
        let found = digest_of_file(&self.path)?;
        if state.as_ref().is_some_and(|state| state.is_newest(found.as_ref(), revision)) {
            return Ok(Some(Seen { revision, file: before }));
        }
        let beside = self.root.join(".metadata.json.new");
        let newest = self.write_beside(&beside)?;
        let replaced = found.filter(|found| *found != newest);
        let ours = replaced.filter(|found| is_ours(state.as_ref(), found, revision));
        let digests = ours.into_iter().chain([newest]).collect();
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        State { revision, digests, took_ms }.write(&state_path, &self.root.join(".metadata.json.state.new"))?;
        if found == Some(newest) {
            fs::remove_file(&beside).map_err(Error::io("remove", &beside))?;
            return Ok(Some(Seen { revision, file: before }));
        }
        // The last look before the name changes hands: an edit that came meanwhile must not go down with the old file.
        if file_state(&self.path)? != before {
            return Ok(None);
        }
        if replaced.is_some() && ours.is_none() {
            self.set_aside()?;
        }
        put_in_place(&beside, &self.path)?;
        Ok(Some(Seen { revision, file: file_state(&self.path)? }))
    }

    /// Writes the registry as it is to a file of its own and returns the digest of that.
    fn write_beside(&self, beside: &Path) -> Result<Digest> {
        let file = File::create(beside).map_err(Error::io("create", beside))?;
        let mut to = BufWriter::with_capacity(BUFFER_BYTES, DigestWriter::new(file));
        write_registry(&*self.store, &mut to, beside)?;
        let to = to.into_inner().map_err(|error| Error::io("write", beside)(error.into_error()))?;
        let (file, digest, _) = to.finish();
        file.sync_all().map_err(Error::io("sync", beside))?;
        Ok(digest)
    }

    fn set_aside(&self) -> Result<()> {
        let at = self.clock.now().for_file_name();
        let aside = set_aside(&self.path, |number| match number {
            1 => format!("metadata.set_aside_{at}.json"),
            _ => format!("metadata.set_aside_{at}_{number}.json"),
        })?;
        if let Some(aside) = aside {
            let (path, aside_path) = (self.path.display(), aside.display());
            tracing::warn!(%path, aside = %aside_path, "set aside a file that this registry did not write");
            locked(&self.set_aside).push(aside);
        }
        Ok(())
    }
}

/// Content is ours if we wrote it, and if the registry has not fallen back behind it: after the loss of a database the old
/// file may be all that is left.
fn is_ours(state: Option<&State>, content: &Digest, revision: u64) -> bool {
    state.is_some_and(|state| state.knows(content) && state.revision <= revision)
}

fn digest_of_file(path: &Path) -> Result<Option<Digest>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let mut to = BufWriter::with_capacity(BUFFER_BYTES, DigestWriter::new(io::sink()));
    io::copy(&mut file, &mut to).map_err(Error::io("read", path))?;
    let to = to.into_inner().map_err(|error| Error::io("read", path)(error.into_error()))?;
    Ok(Some(to.finish().1))
}

fn file_state(path: &Path) -> Result<Option<FileState>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(FileState {
            inode: (found.dev(), found.ino()),
            size_bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
        })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

/// Takes the lock of all processes that write this file; it is given back when the answer is dropped.
fn lock(path: &Path) -> Result<File> {
    let failed = || Error::io("lock", path);
    let file = File::create(path).map_err(failed())?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed()(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => {
                let reason = format!("another process has been writing it for {} s", LOCK_TIMEOUT.as_secs());
                return Err(Error::Unavailable { what: format!("the lock `{}`", path.display()), reason });
            }
        }
    }
}
