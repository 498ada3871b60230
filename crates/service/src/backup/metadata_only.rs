//! Backups of the records alone, in the original system's format and under its names, and beside each the digest of its
//! bytes, in the form of `sha256sum`, which the original ignores.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use seedhouse_core::{Digest, Error, Progress, ProgressUnit, RegistryFile, Result};

use super::kind::{file_name, open_backup};
use super::lines::PAGE;
use super::{BackupContent, BackupReport, BackupRequest};
use crate::Service;
use crate::new_file::NewFile;

/// A backup of the records that was read.
pub(crate) struct MetadataBackup {
    /// What it says.
    pub(crate) content: RegistryFile,
    /// Whether its digest was found beside it, and is that of its bytes. Without one, nobody can say whether it is whole.
    pub(crate) proven: bool,
}

impl MetadataBackup {
    /// Reads a backup whole.
    ///
    /// # Errors
    /// [`Error::CorruptState`] naming both digests, [`Error::Malformed`] naming the entry that cannot be read.
    pub(crate) fn read(path: &Path) -> Result<MetadataBackup> {
        let what = format!("backup `{}`", file_name(path));
        let mut bytes = Vec::new();
        open_backup(path)?.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        let proof = read_proof(path)?;
        let actual = Digest::of(&bytes);
        if let Some(said) = proof.filter(|said| *said != actual) {
            let reason = format!("`{}` says {said}, its bytes are {actual}", file_name(&proof_path(path)));
            return Err(Error::CorruptState { what, reason });
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = std::str::from_utf8(text).map_err(|error| Error::malformed(&what, error.to_string()))?;
        let content = RegistryFile::parse(&what, text)?;
        Ok(MetadataBackup { content, proven: proof.is_some() })
    }
}

fn proof_path(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// Returns the digest that stands beside a backup. One that cannot be read is damage, not absence.
fn read_proof(path: &Path) -> Result<Option<Digest>> {
    let path = proof_path(path);
    let line = match fs::read(&path) {
        Ok(line) => line,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let hex = line.get(..64).and_then(|hex| std::str::from_utf8(hex).ok());
    let digest = hex.and_then(|hex| format!("sha256:{hex}").parse().ok());
    digest.map(Some).ok_or_else(|| Error::CorruptState {
        what: format!("`{}`", file_name(&path)),
        reason: "it does not begin with 64 hexadecimal digits".into(),
    })
}

impl Service {
    pub(super) fn back_metadata_up(&self, request: &BackupRequest, progress: &dyn Progress) -> Result<BackupReport> {
        let taken_at = self.clock.now();
        let mut output = match &request.output {
            Some(path) => NewFile::create(path.clone())?,
            None => self.backup_folder()?.new_backup(taken_at, request.content, request.compression)?,
        };
        let mut snapshot = self.store.snapshot()?;
        let (mut shown, mut deleted_versions) = (Vec::new(), 0);
        progress.stage("reading the versions", None, ProgressUnit::Items);
        loop {
            progress.check()?;
            let page = snapshot.next_entries(PAGE)?;
            if page.is_empty() {
                break;
            }
            progress.advance(page.len() as u64);
            let (page, deleted): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|entry| entry.record.deleted_at().is_none());
            shown.extend(page);
            deleted_versions += deleted.len() as u64;
        }
        let revision = snapshot.revision();
        drop(snapshot);
        let versions = shown.len() as u64;
        let text = RegistryFile::of(shown).to_text();
        write_proof(output.path(), &Digest::of(&text))?;
        output.write_all(text.as_bytes()).map_err(Error::io("write", output.path()))?;
        let written = output.finish()?;
        let last = self.store.events(revision.saturating_sub(1), 1)?;
        let head = last.first().filter(|event| event.sequence == revision).map(|event| event.digest);
        Ok(BackupReport {
            path: written.path,
            content: BackupContent::MetadataOnly,
            taken_at,
            revision,
            head,
            versions,
            deleted_versions,
            blobs: 0,
            blob_bytes: 0,
            collected_blobs: 0,
            size_bytes: written.size_bytes,
            digest: written.digest,
        })
    }
}

/// Before the backup itself: a crash in between leaves a digest of nothing, not a backup that nobody can prove.
fn write_proof(path: &Path, digest: &Digest) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut output = NewFile::create(proof_path(path))?;
    let line = format!("{}  {name}\n", digest.hex());
    output.write_all(line.as_bytes()).map_err(Error::io("write", proof_path(path)))?;
    output.finish().map(|_| ())
}
