//! Which blobs were found intact, and how their files looked then: a file that still looks the same is not read again before each
//! load. Whoever writes to a file changes its time of change, which nobody can set back; a disk that fails leaves no trace here,
//! and is found by reading (`verify`, `scrub`).
//!
//! `<root>/blobs/seen/<digest>` is a cache: without it files are read.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use seedhouse_core::Digest;

/// A file that was changed less than this before it was read may be changed again without looking different: some file systems
/// count in seconds.
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

/// The stamps of a store.
#[derive(Debug)]
pub(super) struct Seen {
    folder: PathBuf,
}

/// How a file looks from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    text: String,
    changed: Option<SystemTime>,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Stamp> {
        let found = fs::metadata(path)?;
        Ok(Stamp { text: text(&found), changed: changed(&found) })
    }

    /// Returns whether a change after `moment` would change the stamp.
    pub(super) fn is_settled(&self, moment: SystemTime) -> bool {
        let age = self.changed.and_then(|changed| moment.duration_since(changed).ok());
        age.is_some_and(|age| age > COARSEST_CLOCK)
    }
}

impl Seen {
    pub(super) fn new(folder: PathBuf) -> Seen {
        Seen { folder }
    }

    /// Returns whether the blob was intact when its file looked like this.
    pub(super) fn holds(&self, digest: &Digest, stamp: &Stamp) -> bool {
        fs::read_to_string(self.path(digest)).is_ok_and(|text| text == stamp.text)
    }

    /// Notes that it is. Where that fails, files are read again.
    pub(super) fn note(&self, digest: &Digest, stamp: &Stamp) {
        let written = fs::create_dir_all(&self.folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
            io::Write::write_all(&mut file, stamp.text.as_bytes())?;
            file.persist(self.path(digest)).map_err(|error| error.error)
        });
        if let Err(error) = written {
            tracing::debug!(%digest, %error, "cannot note that a blob is intact");
        }
    }

    /// Forgets a blob that is gone or damaged.
    pub(super) fn forget(&self, digest: &Digest) {
        match fs::remove_file(self.path(digest)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%digest, %error, "cannot forget that a blob was intact");
            }
            _ => {}
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }
}

fn text(found: &Metadata) -> String {
    let (device, inode, size) = (found.dev(), found.ino(), found.size());
    let (modified, modified_nanos) = (found.mtime(), found.mtime_nsec());
    let (changed, changed_nanos) = (found.ctime(), found.ctime_nsec());
    format!("1 {device} {inode} {size} {modified}.{modified_nanos:09} {changed}.{changed_nanos:09}\n")
}

fn changed(found: &Metadata) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(found.ctime()).ok()?);
    let nanos = Duration::from_nanos(u64::try_from(found.ctime_nsec()).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)?.checked_add(nanos)
}
