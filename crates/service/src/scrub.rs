//! Scrubbing: every stored artifact is hashed again, at a pace that leaves the disk to others. What is damaged is marked in
//! the records of the versions that need it, so that nobody is served from it, and repaired where there is a copy.
//!
//! Each finding is settled when it is made: a scrub that is broken off leaves marks and repairs that hold, and the next one
//! begins anew.

mod pace;
mod repair;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seedhouse_core::{
    Action, Damage, DamagedFile, Digest, Entry, Error, Examination, FileEntry, HoldKind, Job, JobKind, JobQuery,
    ModelId, Progress, ProgressUnit, RepairSource, Result,
};
use serde::{Deserialize, Serialize};

use crate::archive::ArchiveBlobs;
use crate::{Origin, Service};
use pace::Pace;

/// How fast a scrub reads unless somebody says otherwise: a tenth of what a common solid-state disk gives.
pub const DEFAULT_BYTES_PER_SECOND: u64 = 50_000_000;

/// What errors call an archive to repair from.
const WHAT: &str = "the archive to repair from";

/// Findings beyond this number are counted, not listed.
const MOST_LISTED: usize = 1000;

/// How to scrub, and from where to repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubRequest {
    /// The most bytes read per second; 0 means as fast as the disk gives them.
    pub bytes_per_second: u64,
    /// The folder of another registry with copies, or a bundle, a backup or an OCI image layout.
    pub repair_from: Option<PathBuf>,
    /// Who asks; the history names them.
    pub actor: String,
}

/// What a scrub found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Artifacts hashed, or found missing.
    pub artifacts: u64,
    /// Bytes read.
    pub size_bytes: u64,
    /// Artifacts that were damaged.
    pub damaged: u64,
    /// How many of those are whole again.
    pub repaired: u64,
    /// The damaged ones, as far as the list goes.
    pub findings: Vec<DamagedArtifact>,
    /// Versions that were marked as damaged and are whole again, as far as the list goes.
    pub restored: Vec<ModelId>,
}

/// An artifact that was found damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedArtifact {
    /// What its bytes should hash to.
    pub digest: Digest,
    /// What is wrong.
    pub finding: Damage,
    /// What its bytes hash to, where they could be read.
    pub actual: Option<Digest>,
    /// The versions that need it and are marked; none when only deleted ones do, or nobody.
    pub versions: Vec<ModelId>,
    /// Whether it is whole again.
    pub repaired: bool,
    /// Why it is not, where a copy was looked for.
    pub not_repaired_because: Option<String>,
}

impl ScrubReport {
    /// Returns how many artifacts are still damaged.
    pub fn unrepaired(&self) -> u64 {
        self.damaged - self.repaired
    }
}

impl Service {
    /// Hashes every stored artifact again, marks and repairs.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; [`Error::NotFound`] or [`Error::Invalid`] when there is nothing to repair from. Damaged artifacts
    /// are findings, not errors, and so are copies that cannot be used.
    pub fn scrub(&self, request: ScrubRequest, progress: &dyn Progress) -> Result<ScrubReport> {
        let source = request.repair_from.as_deref().map(|path| self.repair_source(path, progress)).transpose()?;
        let shown = self.store.shown()?;
        let marked = shown.iter().filter(|entry| entry.record.is_corrupt()).cloned().collect::<Vec<_>>();
        let mut artifacts = BTreeMap::new();
        let mut needed_by: HashMap<Digest, Vec<ModelId>> = HashMap::new();
        for entry in &shown {
            for file in files_of(entry)? {
                artifacts.insert(file.digest, file.size_bytes);
                needed_by.entry(file.digest).or_default().push(entry.record.model_id.clone());
            }
        }
        drop(shown);
        for entry in self.store.deleted()? {
            for file in files_of(&entry)? {
                needed_by.entry(file.digest).or_default().push(entry.record.model_id.clone());
            }
        }
        // The size on the disk: of what is stored, that many bytes will be read.
        artifacts.extend(self.artifacts.list()?.iter().map(|artifact| (artifact.digest, artifact.size_bytes)));
        let mut scrub = Scrub {
            service: self,
            source,
            progress,
            pace: Pace::new(request.bytes_per_second),
            actor: request.actor,
            needed_by,
            broken: HashSet::new(),
            report: ScrubReport::default(),
        };
        scrub.examine_all(&artifacts)?;
        scrub.unmark_whole(&marked, &artifacts)?;
        Ok(scrub.report)
    }

    /// Copies stand in the folder of another registry, or in an archive that somebody made of one.
    fn repair_source(&self, path: &Path, progress: &dyn Progress) -> Result<Box<dyn RepairSource>> {
        match path.is_file() {
            true => Ok(Box::new(ArchiveBlobs::open(WHAT, path, progress)?)),
            false => self.repairs.source(path),
        }
    }

    /// Asks for a scrub as a job.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] when there is nothing to repair from.
    pub fn submit_scrub(&self, request: &ScrubRequest) -> Result<Job> {
        if let Some(path) = &request.repair_from {
            // The worker may run in another folder.
            if !path.is_absolute() {
                return Err(Error::invalid("repair_from", path.display(), "must be an absolute path"));
            }
            match path.is_file() {
                true => ArchiveBlobs::check_first(WHAT, path)?,
                false => drop(self.repairs.source(path)?),
            }
        }
        self.submit(request, &request.actor)
    }

    /// Asks for a scrub if none is under way and the last one was asked for longer ago than `every`.
    ///
    /// # Errors
    /// Those of the job store.
    pub fn submit_scrub_if_due(&self, every: Duration, request: &ScrubRequest) -> Result<Option<Job>> {
        let newest = JobQuery { kind: Some(JobKind::Scrub), limit: 1, ..JobQuery::default() };
        if let Some(last) = self.jobs.jobs(&newest)?.first() {
            let due_at = last.created_at.after(every);
            if !last.state.is_final() || due_at.is_none_or(|due_at| due_at > self.clock.now()) {
                return Ok(None);
            }
        }
        self.submit_scrub(request).map(Some)
    }
}

fn files_of(entry: &Entry) -> Result<Vec<FileEntry>> {
    Ok(entry.record.manifest()?.map(Vec::from).unwrap_or_default())
}

/// What is wrong with an artifact.
#[derive(Debug, Clone, Copy)]
struct Found {
    finding: Damage,
    actual: Option<Digest>,
}

/// How an artifact is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// As one of all: it counts, and leaves the disk to others.
    AtPace,
    /// To be sure, while collections wait.
    Again,
}

/// A scrub under way.
struct Scrub<'s> {
    service: &'s Service,
    source: Option<Box<dyn RepairSource>>,
    progress: &'s dyn Progress,
    pace: Pace,
    actor: String,
    /// Deleted versions count: their files have names, too.
    needed_by: HashMap<Digest, Vec<ModelId>>,
    /// What is damaged and was not repaired.
    broken: HashSet<Digest>,
    report: ScrubReport,
}

impl Scrub<'_> {
    fn examine_all(&mut self, artifacts: &BTreeMap<Digest, u64>) -> Result<()> {
        let total = artifacts.values().fold(0, |sum: u64, size| sum.saturating_add(*size));
        self.progress.stage("hashing artifacts", Some(total), ProgressUnit::Bytes);
        for digest in artifacts.keys() {
            self.progress.check()?;
            self.report.artifacts += 1;
            if self.look(digest, Reading::AtPace)?.is_some() {
                self.settle(digest)?;
            }
        }
        Ok(())
    }

    /// Hashes an artifact; `None` when it is whole.
    fn look(&mut self, digest: &Digest, reading: Reading) -> Result<Option<Found>> {
        let Scrub { service, progress, pace, report, .. } = self;
        let hashed = service.artifacts.rehash_watched(digest, &mut |count| match reading {
            Reading::AtPace => {
                report.size_bytes += count;
                progress.advance(count);
                pace.keep(count, *progress)
            }
            Reading::Again => progress.check(),
        });
        Ok(match hashed {
            Ok(actual) if actual == *digest => None,
            Ok(actual) => Some(Found { finding: Damage::Corrupt, actual: Some(actual) }),
            Err(Error::NotFound { .. }) => Some(Found { finding: Damage::Missing, actual: None }),
            Err(error @ Error::Io { .. }) => {
                tracing::warn!(%digest, error = &error as &dyn std::error::Error, "cannot read an artifact");
                Some(Found { finding: Damage::Unreadable, actual: None })
            }
            Err(error) => return Err(error),
        })
    }

    /// Marks the versions that need a damaged artifact, and repairs it.
    fn settle(&mut self, digest: &Digest) -> Result<()> {
        // Collections wait; before, one may have removed the artifact, or a registration may have brought it back.
        let _hold = self.service.artifacts.hold(HoldKind::Shared)?;
        let Some(found) = self.look(digest, Reading::Again)? else { return Ok(()) };
        let versions = self.mark(digest, found)?;
        if found.finding == Damage::Missing && versions.is_empty() {
            // Nobody needs what a collection removed.
            return Ok(());
        }
        self.report.damaged += 1;
        self.progress.note(&format!("{digest} is {}", found.finding.as_str()));
        let repaired = self.repair(digest)?;
        let (repaired, not_repaired_because) = match repaired {
            repair::Outcome::Repaired => (true, None),
            repair::Outcome::NoSource => (false, None),
            repair::Outcome::NotRepaired(reason) => (false, Some(reason)),
        };
        if repaired {
            self.report.repaired += 1;
            self.progress.note(&format!("{digest} is repaired"));
        } else {
            self.broken.insert(*digest);
        }
        if self.report.findings.len() < MOST_LISTED {
            let Found { finding, actual } = found;
            let digest = *digest;
            let finding = DamagedArtifact { digest, finding, actual, versions, repaired, not_repaired_because };
            self.report.findings.push(finding);
        }
        Ok(())
    }

    /// Marks the versions whose files have this digest, and returns them.
    fn mark(&self, digest: &Digest, found: Found) -> Result<Vec<ModelId>> {
        let mut marked = Vec::new();
        for model_id in self.needed_by.get(digest).into_iter().flatten() {
            let entry = self.service.store.version_even_deleted(model_id)?;
            let files = files_of(&entry)?.into_iter().filter(|file| file.digest == *digest);
            let damaged = files.map(|file| DamagedFile {
                path: file.path,
                finding: found.finding,
                expected: *digest,
                actual: found.actual,
            });
            let damaged: Vec<DamagedFile> = damaged.collect();
            let examination = Examination { model_id: model_id.clone(), damaged, whole: Vec::new() };
            if self.write(examination)?.is_some() {
                marked.push(model_id.clone());
            }
        }
        Ok(marked)
    }

    /// Takes the mark from versions whose files turned out to be whole, whoever mended them.
    fn unmark_whole(&mut self, marked: &[Entry], examined: &BTreeMap<Digest, u64>) -> Result<()> {
        for entry in marked {
            let files = entry.record.integrity().map(|integrity| integrity.files).unwrap_or_default();
            let is_whole =
                |file: &DamagedFile| examined.contains_key(&file.expected) && !self.broken.contains(&file.expected);
            let whole = files.into_iter().filter(is_whole).map(|file| file.path).collect();
            let model_id = entry.record.model_id.clone();
            self.unmark(Examination { model_id, damaged: Vec::new(), whole })?;
        }
        Ok(())
    }

    /// Takes the mark from files that are whole.
    fn unmark(&mut self, examination: Examination) -> Result<()> {
        let model_id = examination.model_id.clone();
        let was_corrupt = self.service.store.version_even_deleted(&model_id)?.record.is_corrupt();
        let is_whole = self.write(examination)?.is_some_and(|entry| !entry.record.is_corrupt());
        // A version with several damaged files may be whole again more than once.
        let restored = &mut self.report.restored;
        if was_corrupt && is_whole && restored.len() < MOST_LISTED && !restored.contains(&model_id) {
            restored.push(model_id);
        }
        Ok(())
    }

    /// Writes down what was found about a version; `None` when it is deleted.
    fn write(&self, examination: Examination) -> Result<Option<Entry>> {
        let origin = Origin { actor: self.actor.clone(), reason: Some("scrub".into()) };
        match self.service.change(Action::Examine(examination), origin) {
            Ok(entry) => Ok(Some(entry)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
