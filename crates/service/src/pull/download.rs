//! Fetching files of a hub: each is an upload in parts, so that what arrived survives every interruption.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use seedhouse_core::{
    Checksum, ChecksumAlgorithm, Checksummer, Code, Digest, Error, FinishedUpload, HubDigest, HubFile, HubSnapshot,
    NewUpload, Part, Progress, ProgressUnit, Result, StagedArtifact, Upload, UploadId,
};

use crate::work_folder::WorkFolder;
use crate::{Received, Service};

/// How often in a row a file may break off without a further byte.
const MOST_FAILURES: u32 = 5;

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// How often a pause looks whether the work should stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Fetching one state of a repository.
pub(super) struct Download<'a> {
    service: &'a Service,
    snapshot: &'a HubSnapshot,
    progress: &'a dyn Progress,
    /// Remembers which upload is which file: `<hash of the path>` holds the upload's id.
    folder: WorkFolder,
}

impl<'a> Download<'a> {
    pub(super) fn new(service: &'a Service, snapshot: &'a HubSnapshot, progress: &'a dyn Progress) -> Result<Self> {
        let folder = service.work_folder(&snapshot.pinned, "pull")?;
        Ok(Download { service, snapshot, progress, folder })
    }

    /// Fetches files and returns them with how many bytes came from the hub now.
    pub(super) fn all(&self, files: &[HubFile]) -> Result<(Vec<Received>, u64)> {
        let total = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size_bytes));
        self.progress.stage("downloading", Some(total), ProgressUnit::Bytes);
        let (mut received, mut downloaded) = (Vec::with_capacity(files.len()), 0);
        for file in files {
            self.progress.check()?;
            let (got, from_hub) = self.one(file)?;
            received.push(got);
            downloaded += from_hub;
            self.progress.milestone();
        }
        Ok((received, downloaded))
    }

    /// Forgets which uploads were which files, once they are a version.
    pub(super) fn forget(self) {
        self.folder.remove_with_its_siblings();
    }

    fn one(&self, file: &HubFile) -> Result<(Received, u64)> {
        if file.size_bytes == 0 {
            let empty = self.service.receive(file.path.clone(), &mut io::empty())?;
            self.check(file, &*empty.staged)?;
            return Ok((empty, 0));
        }
        if let Some(stored) = self.stored(file)? {
            self.progress.advance(file.size_bytes);
            return Ok((stored, 0));
        }
        let upload = self.begun(file)?;
        self.progress.advance(upload.offset);
        let from_hub = file.size_bytes - upload.offset;
        self.fetch(file, &upload)?;
        Ok((self.verified(file, &upload.id)?, from_hub))
    }

    /// Returns a file whose bytes the registry has already; they are hashed on their way, so damage does not spread.
    fn stored(&self, file: &HubFile) -> Result<Option<Received>> {
        let HubDigest::Sha256(digest) = &file.digest else { return Ok(None) };
        let path = match self.service.artifacts.local_path(digest) {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let mut bytes = File::open(&path).map_err(Error::io("read", &path))?;
        let received = self.service.receive(file.path.clone(), &mut bytes)?;
        Ok((received.staged.digest() == *digest).then_some(received))
    }

    /// Returns the upload that an earlier attempt began, or a new one.
    fn begun(&self, file: &HubFile) -> Result<Upload> {
        let note = self.folder.path().join(Digest::of(file.path.as_str()).hex());
        let uploads = self.service.artifacts.uploads();
        // A note that is missing or broken costs a download, and no more.
        let remembered = fs::read_to_string(&note).ok().and_then(|id| id.parse::<UploadId>().ok());
        if let Some(id) = remembered {
            match uploads.state(&id) {
                Ok(upload) if upload.length == file.size_bytes => return Ok(upload),
                Ok(_) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let new = NewUpload { length: file.size_bytes, name: Some(file.path.clone()), metadata: None };
        let upload = uploads.begin(&new, usize::MAX)?;
        fs::write(&note, upload.id.as_str()).map_err(Error::io("write", &note))?;
        Ok(upload)
    }

    /// Fetches what is missing, beginning again where it broke off.
    fn fetch(&self, file: &HubFile, upload: &Upload) -> Result<()> {
        let uploads = self.service.artifacts.uploads();
        let (mut offset, mut failures) = (upload.offset, 0);
        while offset < file.size_bytes {
            let ended = self.fetch_from(file, &upload.id, offset);
            self.progress.check()?;
            let reached = uploads.state(&upload.id)?.offset;
            failures = if reached > offset { 0 } else { failures + 1 };
            offset = reached;
            match ended {
                Err(error) if !may_pass(&error) => return Err(error),
                Err(error) if failures >= MOST_FAILURES => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if failures > 0 {
                self.pause(FIRST_PAUSE * 2_u32.pow(failures - 1))?;
            }
        }
        Ok(())
    }

    fn fetch_from(&self, file: &HubFile, id: &UploadId, offset: u64) -> Result<()> {
        let body = self.service.hub()?.open(self.snapshot, file, offset)?;
        let mut body = Watched { body, progress: self.progress };
        let part = Part { offset, length: None, checksum: None };
        let broke_off = |reason: String| Error::Unavailable { what: self.name_of(file), reason };
        match self.service.artifacts.uploads().append(id, &part, &mut body) {
            Ok(upload) if upload.offset < file.size_bytes => {
                Err(broke_off(format!("it ends after {} of {} bytes", upload.offset, file.size_bytes)))
            }
            Err(Error::BrokenUpload { source, .. }) => {
                let length = file.size_bytes;
                Err(broke_off(format!("it broke off after byte {offset} of {length}: {source}")))
            }
            Err(Error::TooLarge { .. }) => Err(Error::CorruptTransfer {
                what: self.name_of(file),
                reason: format!("the hub names {} bytes and sends more", file.size_bytes),
            }),
            ended => ended.map(drop),
        }
    }

    /// Holds the bytes against what the hub says they hash to; wrong ones go, so that the next attempt begins anew.
    fn verified(&self, file: &HubFile, id: &UploadId) -> Result<Received> {
        let FinishedUpload { staged, claim } = self.service.artifacts.uploads().finish(id)?;
        if let Err(wrong) = self.check(file, &*staged) {
            drop(staged);
            claim.remove()?;
            return Err(wrong);
        }
        Ok(Received { path: file.path.clone(), staged, upload: Some(claim) })
    }

    fn check(&self, file: &HubFile, staged: &dyn StagedArtifact) -> Result<()> {
        let (is_right, actual) = match &file.digest {
            HubDigest::Sha256(expected) => (staged.digest() == *expected, staged.digest().to_string()),
            HubDigest::GitBlob(expected) => {
                let actual = git_blob(staged.path(), staged.size_bytes())?;
                (actual == *expected, actual.to_string())
            }
        };
        if is_right {
            return Ok(());
        }
        let reason = format!("the hub names {}, the bytes are {actual}", file.digest);
        Err(Error::CorruptTransfer { what: self.name_of(file), reason })
    }

    fn name_of(&self, file: &HubFile) -> String {
        format!("file `{}` of {}", file.path, self.snapshot.pinned)
    }

    fn pause(&self, length: Duration) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < length {
            self.progress.check()?;
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Returns whether the same request may succeed a moment later: the hub is away, or a worker that lost this job still writes.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::UploadBusy { .. }) || error.code() == Code::Unavailable
}

/// Hashes a file as Git names its blobs.
pub(super) fn git_blob(path: &Path, size_bytes: u64) -> Result<Checksum> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut sum = Checksummer::new(ChecksumAlgorithm::Sha1);
    sum.update(format!("blob {size_bytes}\0").as_bytes());
    let mut block = vec![0; 64 * 1024];
    loop {
        match file.read(&mut block).map_err(Error::io("read", path))? {
            0 => return Ok(sum.finish()),
            count => sum.update(&block[..count]),
        }
    }
}

/// Counts what is read, and ends where the work should stop.
struct Watched<'a> {
    body: Box<dyn Read>,
    progress: &'a dyn Progress,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.body.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
