//! The parts of a backup: everything that the metadata store holds at one revision, staged as JSON lines, audited on the way.

use std::collections::BTreeMap;

use seedhouse_core::{
    Digest, Entry, Error, Event, FileEntry, ModelId, Progress, ProgressUnit, RememberedKey, Result, StagedArtifact,
};

use super::lines::{LineSource, PAGE};
use crate::Service;
use crate::archive::{BlobEntry, failure};
use crate::history::Chain;

/// The names of the parts, in the order in which they stand in the archive.
pub(super) const PART_NAMES: [&str; 3] = ["events.jsonl", "entries.jsonl", "keys.jsonl"];

/// What a backup holds before the bytes.
pub(super) struct Parts {
    staged: [Box<dyn StagedArtifact>; 3],
    /// What was found in them.
    pub(super) found: Found,
    /// Every blob to be copied, in order of digests.
    pub(super) blobs: Vec<BlobEntry>,
    /// Bytes that only deleted versions name, and that are gone.
    pub(super) collected: Vec<Digest>,
}

impl Parts {
    /// Returns the parts with their names.
    pub(super) fn named(&self) -> [(&'static str, &dyn StagedArtifact); 3] {
        let [events, entries, keys] = &self.staged;
        [(PART_NAMES[0], &**events), (PART_NAMES[1], &**entries), (PART_NAMES[2], &**keys)]
    }
}

/// What the parts say, checked while they pass: when a backup is made, and again when one is read.
#[derive(Default)]
pub(super) struct Found {
    chain: Chain,
    /// Versions that are not deleted.
    pub(super) versions: u64,
    /// Versions that are.
    pub(super) deleted_versions: u64,
    /// Idempotency keys.
    pub(super) keys: u64,
    needs: BTreeMap<Digest, Need>,
}

/// Bytes that versions name.
pub(super) struct Need {
    /// Their number.
    pub(super) size_bytes: u64,
    /// A version that is not deleted, and its file.
    pub(super) shown_by: Option<(ModelId, FileEntry)>,
}

impl Found {
    pub(super) fn event(&mut self, event: &Event) {
        self.chain.check(event);
    }

    pub(super) fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.chain.check_version(entry);
        let is_shown = entry.record.deleted_at().is_none();
        match is_shown {
            true => self.versions += 1,
            false => self.deleted_versions += 1,
        }
        for file in entry.record.manifest()?.map(Vec::from).unwrap_or_default() {
            let need = Need { size_bytes: file.size_bytes, shown_by: None };
            let need = self.needs.entry(file.digest).or_insert(need);
            if need.size_bytes != file.size_bytes {
                let what = format!("file `{}` of `{}`", file.path, entry.record.model_id);
                let reason =
                    format!("it has {} bytes, another of the same digest {}", file.size_bytes, need.size_bytes);
                return Err(Error::CorruptState { what, reason });
            }
            if is_shown {
                need.shown_by.get_or_insert_with(|| (entry.record.model_id.clone(), file));
            }
        }
        Ok(())
    }

    pub(super) fn revision(&self) -> u64 {
        self.chain.last().map_or(0, |(sequence, _)| sequence)
    }

    pub(super) fn head(&self) -> Option<Digest> {
        self.chain.last().map(|(_, digest)| digest)
    }

    pub(super) fn events(&self) -> u64 {
        self.chain.events()
    }

    pub(super) fn needs(&self) -> &BTreeMap<Digest, Need> {
        &self.needs
    }

    /// Returns the first thing that is wrong with the history or with a version, once everything has passed.
    pub(super) fn first_finding(&mut self) -> Option<String> {
        self.chain.check_missing();
        self.chain.findings().first().cloned()
    }
}

impl Service {
    /// Reads the whole metadata store at one revision into staged files.
    pub(super) fn spool(&self, progress: &dyn Progress) -> Result<Parts> {
        let mut snapshot = self.store.snapshot()?;
        let mut found = Found::default();
        progress.stage("reading the history", Some(snapshot.revision()), ProgressUnit::Items);
        let events = self.stage_lines(PART_NAMES[0], progress, || {
            let page = snapshot.next_events(PAGE)?;
            page.iter().for_each(|event| found.event(event));
            Ok(page)
        })?;
        progress.stage("reading the versions", None, ProgressUnit::Items);
        let entries = self.stage_lines(PART_NAMES[1], progress, || {
            let page = snapshot.next_entries(PAGE)?;
            page.iter().try_for_each(|entry| found.entry(entry))?;
            Ok(page)
        })?;
        let keys = self.stage_lines(PART_NAMES[2], progress, || {
            let page: Vec<RememberedKey> = snapshot.next_keys(PAGE)?;
            found.keys += page.len() as u64;
            Ok(page)
        })?;
        // The view ends here: a log that cannot shrink would grow while gigabytes are copied.
        drop(snapshot);
        if let Some(finding) = found.first_finding() {
            return Err(Error::CorruptState { what: "the registry".into(), reason: finding });
        }
        let (blobs, collected) = self.blobs_needed(&found)?;
        Ok(Parts { staged: [events, entries, keys], found, blobs, collected })
    }

    fn stage_lines<T: serde::Serialize>(
        &self,
        name: &str,
        progress: &dyn Progress,
        mut next: impl FnMut() -> Result<Vec<T>>,
    ) -> Result<Box<dyn StagedArtifact>> {
        let mut lines = LineSource::new(|| {
            progress.check()?;
            let page = next()?;
            progress.advance(page.len() as u64);
            Ok(page)
        });
        self.artifacts.stage(name, &mut lines).map_err(failure::cause_of)
    }

    /// Splits what versions need into what is there and what a collection removed after the retention.
    fn blobs_needed(&self, found: &Found) -> Result<(Vec<BlobEntry>, Vec<Digest>)> {
        let (mut blobs, mut collected) = (Vec::new(), Vec::new());
        for (digest, need) in found.needs() {
            match (self.artifacts.local_path(digest), &need.shown_by) {
                (Ok(_), _) => blobs.push(BlobEntry { digest: *digest, size_bytes: need.size_bytes }),
                (Err(Error::NotFound { .. }), None) => collected.push(*digest),
                (Err(Error::NotFound { .. }), Some((model_id, file))) => {
                    return Err(Error::MissingBytes {
                        model_id: model_id.to_string(),
                        path: file.path.to_string(),
                        expected: *digest,
                    });
                }
                (Err(error), _) => return Err(error),
            }
        }
        Ok((blobs, collected))
    }
}
