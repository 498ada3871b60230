//! Uploads in parts: two files each, which outlive the process that wrote them.
//!
//! ```text
//! <root>/blobs/uploads/<id>         the bytes so far; whoever changes the upload holds a lock on this file
//! <root>/blobs/uploads/<id>.json    what was said about it; without this file there is no upload
//! ```
//!
//! The length of the first file is the offset, so a killed server needs no repair. The one exception is a part with a checksum:
//! before its first byte the second file says from where on nothing is verified, and bytes from there on do not count.

mod appending;
mod description;

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use seedhouse_core::{
    Error, FinishedUpload, Kind, NewUpload, Part, Result, Timestamp, UPLOAD_RETENTION, Upload, UploadClaim, UploadId,
    UploadStore,
};

use super::entries_of;
use super::staging::Staging;
use description::Description;

/// The folder for uploads in parts.
pub(super) struct LocalUploads {
    folder: PathBuf,
    staging: Arc<Staging>,
    /// Held while open uploads are counted and one is added.
    beginning: Mutex<()>,
}

/// Where the files of an upload are. An id is digits and nothing else, so these paths stay within the folder.
#[derive(Debug, Clone)]
struct Place {
    id: UploadId,
    folder: PathBuf,
}

impl Place {
    fn bytes(&self) -> PathBuf {
        self.folder.join(self.id.as_str())
    }

    fn description(&self) -> PathBuf {
        self.folder.join(format!("{}{DESCRIPTION}", self.id))
    }

    fn new_description(&self) -> PathBuf {
        self.folder.join(format!("{}{NEW_DESCRIPTION}", self.id))
    }

    fn unknown(&self) -> Error {
        Error::not_found(Kind::Upload, &self.id)
    }
}

const DESCRIPTION: &str = ".json";
const NEW_DESCRIPTION: &str = ".json.new";

/// An upload that this process alone may change.
struct Locked {
    place: Place,
    file: Arc<File>,
    description: Description,
    /// How many bytes count.
    offset: u64,
}

impl LocalUploads {
    /// Makes the folder if needed and removes expired uploads.
    pub(super) fn open(folder: PathBuf, staging: Arc<Staging>) -> Result<LocalUploads> {
        fs::create_dir_all(&folder).map_err(Error::io("make the folder", &folder))?;
        let uploads = LocalUploads { folder, staging, beginning: Mutex::new(()) };
        uploads.sweep(Timestamp::now())?;
        Ok(uploads)
    }

    fn place(&self, id: &UploadId) -> Place {
        Place { id: id.clone(), folder: self.folder.clone() }
    }

    /// Returns the uploads that have a file of bytes, and the files beside them that have none.
    fn look(&self) -> Result<(Vec<Place>, Vec<PathBuf>)> {
        let (mut places, mut widowed) = (Vec::new(), Vec::new());
        for path in entries_of(&self.folder)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let stem = [NEW_DESCRIPTION, DESCRIPTION].iter().find_map(|ending| name.strip_suffix(ending));
            // Other files are not ours to judge.
            match (name.parse::<UploadId>(), stem.map(str::parse::<UploadId>)) {
                (Ok(id), _) => places.push(self.place(&id)),
                (_, Some(Ok(id))) if !self.place(&id).bytes().exists() => widowed.push(path),
                _ => {}
            }
        }
        Ok((places, widowed))
    }

    /// Opens an upload for looking at it; its description is read after its file is open, and so is never that of a removed one.
    fn open_known(&self, place: &Place) -> Result<(File, Description)> {
        let path = place.bytes();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(place.unknown()),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let description = Description::read(place)?.ok_or_else(|| place.unknown())?;
        if expires_at(&file, &path)? <= Timestamp::now() {
            return Err(place.unknown());
        }
        Ok((file, description))
    }

    fn lock(&self, id: &UploadId) -> Result<Locked> {
        let place = self.place(id);
        let (file, _) = self.open_known(&place)?;
        if !lock_now(&file, &place.bytes())? {
            return Err(Error::UploadBusy { id: id.to_string() });
        }
        // Before the lock it may have been removed, and its description may have been another.
        let description = Description::read(&place)?.ok_or_else(|| place.unknown())?;
        let found = file.metadata().map_err(Error::io("look at", place.bytes()))?;
        if found.nlink() == 0 {
            return Err(place.unknown());
        }
        let offset = description.offset(&place, found.len())?;
        Ok(Locked { place, file: Arc::new(file), description, offset })
    }

    fn make(&self, new: &NewUpload) -> Result<Place> {
        loop {
            let mut bits = [0; 16];
            let no_bits =
                |error: getrandom::Error| Error::Internal(format!("the system gives no random bytes: {error}"));
            getrandom::fill(&mut bits).map_err(no_bits)?;
            let place = self.place(&UploadId::from_bits(bits));
            let path = place.bytes();
            let file = File::options().write(true).create_new(true).open(&path).map_err(Error::io("create", &path))?;
            // A sweep of another process may take the file for abandoned, before or after the lock is asked for.
            let ours = lock_now(&file, &path)? && file.metadata().map_err(Error::io("look at", &path))?.nlink() > 0;
            if !ours {
                continue;
            }
            let written = Description::of(new).write(&place);
            if written.is_err() {
                // The error that is returned says more than one about the rest.
                let _ = fs::remove_file(&path);
            }
            return written.map(|()| place);
        }
    }

    /// Removes an upload if it is expired, or was never finished being made, and nobody has it in their hands.
    fn sweep_one(&self, place: &Place, now: Timestamp) -> Result<bool> {
        let path = place.bytes();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        if !lock_now(&file, &path)? || (place.description().exists() && expires_at(&file, &path)? > now) {
            return Ok(false);
        }
        remove_files(place)?;
        Ok(true)
    }
}

impl Locked {
    fn upload(&self) -> Result<Upload> {
        let expires_at = expires_at(&self.file, &self.place.bytes())?;
        Ok(self.description.upload(&self.place, self.offset, expires_at))
    }
}

impl UploadStore for LocalUploads {
    fn begin(&self, new: &NewUpload, most_open: usize) -> Result<Upload> {
        // The guard protects no value that a panic could have left half changed.
        let _alone = self.beginning.lock().unwrap_or_else(PoisonError::into_inner);
        self.sweep(Timestamp::now())?;
        if self.look()?.0.len() >= most_open {
            return Err(Error::Exhausted { what: "uploads in parts".into(), limit: most_open });
        }
        self.state(&self.make(new)?.id)
    }

    fn state(&self, id: &UploadId) -> Result<Upload> {
        let place = self.place(id);
        let (file, description) = self.open_known(&place)?;
        let path = place.bytes();
        let there = file.metadata().map_err(Error::io("look at", &path))?.len();
        // Somebody may be writing. Then this is how it stood at some moment; whoever appends looks again, alone.
        let offset = description.offset(&place, there.max(description.unverified_from.unwrap_or(0)))?;
        // What is counted here may have been written by a process that was killed before it could do this.
        file.sync_data().map_err(Error::io("sync", &path))?;
        Ok(description.upload(&place, offset, expires_at(&file, &path)?))
    }

    fn append(&self, id: &UploadId, part: &Part, bytes: &mut dyn Read) -> Result<Upload> {
        let mut locked = self.lock(id)?;
        locked.append(part, bytes)?;
        locked.upload()
    }

    fn finish(&self, id: &UploadId) -> Result<FinishedUpload> {
        let require_complete = |offset: u64, length: u64| match offset == length {
            true => Ok(()),
            false => Err(Error::UploadIncomplete { id: id.to_string(), received: offset, length }),
        };
        // Who is still sending is told what is missing, not that the upload is in use.
        let state = self.state(id)?;
        require_complete(state.offset, state.length)?;
        let locked = self.lock(id)?;
        require_complete(locked.offset, locked.description.length)?;
        let staged = self.staging.lend(&locked.place.bytes(), locked.file.clone())?;
        Ok(FinishedUpload { staged: Box::new(staged), claim: Box::new(Held(locked)) })
    }

    fn remove(&self, id: &UploadId) -> Result<()> {
        let locked = self.lock(id)?;
        remove_files(&locked.place)
    }

    fn sweep(&self, now: Timestamp) -> Result<usize> {
        let (places, widowed) = self.look()?;
        let mut removed = 0;
        for place in places {
            removed += usize::from(self.sweep_one(&place, now)?);
        }
        widowed.iter().try_for_each(|path| remove_if_there(path))?;
        Ok(removed)
    }
}

/// An upload that a registration uses.
struct Held(Locked);

impl UploadClaim for Held {
    fn remove(self: Box<Self>) -> Result<()> {
        remove_files(&self.0.place)
    }
}

/// The description goes first: without it there is no upload, whenever this is broken off.
fn remove_files(place: &Place) -> Result<()> {
    [place.description(), place.new_description(), place.bytes()].iter().try_for_each(|path| remove_if_there(path))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Returns whether the lock is ours now. The system releases it with the last handle, also when the process dies.
fn lock_now(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

/// The time of the last write is the time of the last byte.
fn expires_at(file: &File, path: &Path) -> Result<Timestamp> {
    let written = file.metadata().and_then(|found| found.modified()).map_err(Error::io("look at", path))?;
    let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let written = i64::try_from(since.as_micros()).ok().and_then(Timestamp::from_microseconds);
    // A file that claims to be of a time beyond all years was not written by us; it is as good as expired.
    Ok(written.and_then(|written| written.after(UPLOAD_RETENTION)).unwrap_or_else(Timestamp::now))
}
