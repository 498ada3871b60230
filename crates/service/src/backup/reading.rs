//! Reading a backup: all of it is read and checked before anything of it is believed.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use seedhouse_core::{
    ArtifactStore, Digest, DigestWriter, Entry, Error, Event, Progress, ProgressUnit, RememberedKey, Result, Snapshot,
    StagedArtifact,
};

use super::header::{BackupHeader, FORMAT, FORMAT_VERSION, HEADER_NAME, PartEntry};
use super::kind::{file_name, open_backup};
use super::lines::{Lines, PAGE};
use super::parts::{Found, PART_NAMES};
use crate::archive::watched::Watched;
use crate::archive::{ArchiveReader, BlobEntry, check_format, failure};

/// The header lists what collections removed, and nothing else in it grows.
const MOST_HEADER_BYTES: u64 = 256 << 20;

/// A backup of which every byte was checked. Its parts are staged; its blobs are still in the file.
pub(crate) struct ReadBackup {
    path: PathBuf,
    what: String,
    pub(crate) header: BackupHeader,
    parts: [Box<dyn StagedArtifact>; 3],
    pub(crate) blobs: Vec<BlobEntry>,
}

impl ReadBackup {
    /// Reads a backup to its end.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::CorruptState`] naming what is damaged and where; [`Error::Unsupported`] for the backup
    /// of a later program; [`Error::Cancelled`].
    pub(crate) fn read(path: &Path, artifacts: &dyn ArtifactStore, progress: &dyn Progress) -> Result<ReadBackup> {
        let what = format!("backup `{}`", file_name(path));
        let mut file = open_backup(path)?;
        let size_bytes = file.metadata().map_err(Error::io("look at", path))?.len();
        let mut archive = ArchiveReader::open(&what, &mut file)?;
        let header = read_header(&what, &mut archive, size_bytes)?;
        progress.stage("checking records and history", Some(header.parts_bytes()), ProgressUnit::Bytes);
        let mut staged = Vec::new();
        for part in &header.parts {
            staged.push(stage_part(&what, &mut archive, part, artifacts, progress)?);
        }
        let parts: [Box<dyn StagedArtifact>; 3] =
            staged.try_into().map_err(|_| Error::Internal("a backup has three parts".into()))?;
        let mut backup = ReadBackup { path: path.to_owned(), what, header, parts, blobs: Vec::new() };
        backup.blobs = backup.check_parts()?;
        progress.stage("checking artifacts", Some(backup.header.blobs.size_bytes), ProgressUnit::Bytes);
        for blob in &backup.blobs {
            backup.check_blob(&mut archive, blob, progress)?;
        }
        archive.finish()?;
        Ok(backup)
    }

    /// Returns whether it carries these bytes.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blobs.binary_search_by_key(digest, |blob| blob.digest).is_ok()
    }

    /// Returns what the parts say, as a store can take it over.
    pub(crate) fn snapshot(&self) -> Result<BackupSnapshot> {
        let lines =
            |part: usize| Lines::open(format!("`{}` of {}", PART_NAMES[part], self.what), self.parts[part].path());
        Ok(BackupSnapshot { revision: self.header.revision, events: lines(0)?, entries: lines(1)?, keys: lines(2)? })
    }

    /// Puts the bytes that the store does not have, or has damaged, into it. Returns how many artifacts and bytes these were.
    pub(crate) fn publish_blobs(&self, artifacts: &dyn ArtifactStore, progress: &dyn Progress) -> Result<(u64, u64)> {
        let mut file = File::open(&self.path).map_err(Error::io("read", &self.path))?;
        let mut archive = ArchiveReader::open(&self.what, &mut file)?;
        archive.document(HEADER_NAME, MOST_HEADER_BYTES)?;
        for part in &self.header.parts {
            drop(archive.entry(&part.name, part.size_bytes)?);
        }
        progress.stage("restoring artifacts", Some(self.header.blobs.size_bytes), ProgressUnit::Bytes);
        let mut published = (0, 0);
        for blob in &self.blobs {
            progress.check()?;
            match artifacts.rehash(&blob.digest) {
                Ok(actual) if actual == blob.digest => {
                    drop(archive.entry(&blob.name(), blob.size_bytes)?);
                    progress.advance(blob.size_bytes);
                }
                Ok(_) | Err(Error::NotFound { .. }) => {
                    artifacts.publish(archive.stage_blob(artifacts, blob, progress)?)?;
                    published = (published.0 + 1, published.1 + blob.size_bytes);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(published)
    }

    /// Checks the parts against each other and against the header, and returns the blobs that must follow.
    fn check_parts(&self) -> Result<Vec<BlobEntry>> {
        let mut found = Found::default();
        let mut snapshot = self.snapshot()?;
        each(
            || snapshot.next_events(PAGE),
            |event| {
                found.event(&event);
                Ok(())
            },
        )?;
        each(|| snapshot.next_entries(PAGE), |entry| found.entry(&entry))?;
        each(
            || snapshot.next_keys(PAGE),
            |_| {
                found.keys += 1;
                Ok(())
            },
        )?;
        if let Some(finding) = found.first_finding() {
            return Err(self.corrupt(finding));
        }
        let header = &self.header;
        self.same("revision", header.revision, found.revision())?;
        self.same("events", header.events, found.events())?;
        self.same("versions", header.versions, found.versions)?;
        self.same("deleted_versions", header.deleted_versions, found.deleted_versions)?;
        self.same("keys", header.keys, found.keys)?;
        if header.head != found.head() {
            let text = |head: Option<Digest>| head.map_or_else(|| "nothing".into(), |head| head.to_string());
            let reason = format!("its head is {}, but its history ends with {}", text(header.head), text(found.head()));
            return Err(self.corrupt(reason));
        }
        self.expected_blobs(&found)
    }

    fn expected_blobs(&self, found: &Found) -> Result<Vec<BlobEntry>> {
        let collected: std::collections::HashSet<&Digest> = self.header.collected_blobs.iter().collect();
        let mut blobs = Vec::new();
        for (digest, need) in found.needs() {
            match (collected.contains(digest), &need.shown_by) {
                (false, _) => blobs.push(BlobEntry { digest: *digest, size_bytes: need.size_bytes }),
                (true, None) => {}
                (true, Some((model_id, file))) => {
                    let reason = format!("it lacks {digest}, which is file `{}` of `{model_id}`", file.path);
                    return Err(self.corrupt(reason));
                }
            }
        }
        self.same("blobs.count", self.header.blobs.count, blobs.len() as u64)?;
        let size_bytes = blobs.iter().fold(0u64, |sum, blob| sum.saturating_add(blob.size_bytes));
        self.same("blobs.size_bytes", self.header.blobs.size_bytes, size_bytes)?;
        Ok(blobs)
    }

    fn check_blob(&self, archive: &mut ArchiveReader<'_>, blob: &BlobEntry, progress: &dyn Progress) -> Result<()> {
        let name = blob.name();
        let mut bytes = archive.entry(&name, blob.size_bytes)?;
        let actual = digest_of(&self.what, &mut Watched { from: &mut bytes, progress })?;
        if actual != blob.digest {
            return Err(self.corrupt(format!("blob {} hashes to {actual}", blob.digest)));
        }
        Ok(())
    }

    fn same(&self, field: &str, said: u64, found: u64) -> Result<()> {
        match said == found {
            true => Ok(()),
            false => Err(self.corrupt(format!("`{HEADER_NAME}` says {field} = {said}, but {found} are there"))),
        }
    }

    fn corrupt(&self, reason: String) -> Error {
        Error::CorruptState { what: self.what.clone(), reason }
    }
}

fn read_header(what: &str, archive: &mut ArchiveReader<'_>, size_bytes: u64) -> Result<BackupHeader> {
    let text = archive.document(HEADER_NAME, MOST_HEADER_BYTES.min(size_bytes.saturating_mul(1000)))?;
    let header: BackupHeader = check_format(what, &text, FORMAT, FORMAT_VERSION)?;
    header.check(what, size_bytes)?;
    Ok(header)
}

fn stage_part(
    what: &str,
    archive: &mut ArchiveReader<'_>,
    part: &PartEntry,
    artifacts: &dyn ArtifactStore,
    progress: &dyn Progress,
) -> Result<Box<dyn StagedArtifact>> {
    let mut bytes = archive.entry(&part.name, part.size_bytes)?;
    let mut watched = Watched { from: &mut bytes, progress };
    let staged = artifacts.stage(&part.name, &mut watched).map_err(failure::cause_of)?;
    if staged.digest() != part.digest {
        return Err(Error::CorruptState {
            what: format!("`{}` of {what}", part.name),
            reason: format!("`{HEADER_NAME}` says {}, its bytes are {}", part.digest, staged.digest()),
        });
    }
    Ok(staged)
}

fn each<T>(mut next: impl FnMut() -> Result<Vec<T>>, mut take: impl FnMut(T) -> Result<()>) -> Result<()> {
    loop {
        let page = next()?;
        if page.is_empty() {
            return Ok(());
        }
        page.into_iter().try_for_each(&mut take)?;
    }
}

fn digest_of(what: &str, bytes: &mut dyn Read) -> Result<Digest> {
    let mut hasher = DigestWriter::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish().1),
            Ok(count) => io::Write::write_all(&mut hasher, &buffer[..count]).map_err(Error::io("hash", what))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failure::unwrap(what, error)),
        }
    }
}

/// The state in a backup, read from its staged parts.
pub(crate) struct BackupSnapshot {
    revision: u64,
    events: Lines,
    entries: Lines,
    keys: Lines,
}

impl Snapshot for BackupSnapshot {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn next_events(&mut self, limit: usize) -> Result<Vec<Event>> {
        self.events.next(limit)
    }

    fn next_entries(&mut self, limit: usize) -> Result<Vec<Entry>> {
        self.entries.next(limit)
    }

    fn next_keys(&mut self, limit: usize) -> Result<Vec<RememberedKey>> {
        self.keys.next(limit)
    }
}
