//! Restoring: an empty registry becomes what a backup holds, history included; in any other, the difference between what is
//! and what was becomes one more row of events, made together or not at all.
//!
//! ```text
//! backup of everything ──> read and checked whole ─┬─ empty registry ──> bytes published ──> one transaction
//! backup of the records ──> read and checked ──────┤
//! a time ──> the history up to it ─────────────────┴─ plan ──> bytes there? ──> bytes published ──> one transaction
//! ```
//!
//! History is never rewritten. What a crash leaves is the old state or the new one, and perhaps bytes that no version names
//! yet, which the next collection removes.

mod past;
mod plan;
mod target;

use std::path::{Path, PathBuf};

use seedhouse_core::{
    Action, Change, Digest, Entry, Error, HoldKind, ModelId, Progress, ProgressUnit, Result, Timestamp, Unwatched,
};
use serde::{Deserialize, Serialize};

use crate::Service;
use crate::backup::{BackupKind, MetadataBackup, ReadBackup};
use crate::change::Origin;
use past::Past;
use plan::{Plan, Present};
use target::Target;

/// How many times a plan is made anew because somebody changed the registry meanwhile.
const MOST_ATTEMPTS: usize = 8;

/// What to restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Where the state comes from.
    pub source: RestoreSource,
    /// Whether to write.
    #[serde(default)]
    pub mode: RestoreMode,
    /// Who asks.
    pub actor: String,
    /// Why, if they said so; kept in the history.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where the state comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreSource {
    /// A backup, of either form.
    File(PathBuf),
    /// The registry's own history.
    AsOf(Timestamp),
}

/// Whether a restoration writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreMode {
    /// It says what it would do.
    DryRun,
    /// It does it.
    #[default]
    Apply,
}

/// What a restoration did, or would do.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RestoreReport {
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Whether an empty registry took everything over, history included. Otherwise the history has new events.
    pub taken_over: bool,
    /// Whether the backup carries the digests that prove that it is whole.
    pub proven: bool,
    /// Revision of the registry afterwards; in a dry run, as it is.
    pub revision: u64,
    /// Digest of the last event then.
    pub head: Option<Digest>,
    /// Versions that the registry did not have.
    pub added: Vec<ModelId>,
    /// Versions whose record was put back.
    pub changed: Vec<ModelId>,
    /// Deleted versions that are shown again.
    pub undeleted: Vec<ModelId>,
    /// Versions that are hidden, because they were not there, or deleted, then. Their bytes are kept.
    pub deleted: Vec<ModelId>,
    /// Aliases (`base@alias`) that point elsewhere, or nowhere, now.
    pub aliases: Vec<String>,
    /// Versions that are as they were.
    pub unchanged: u64,
    /// Versions that were left alone, and why.
    pub kept: Vec<KeptVersion>,
    /// Artifacts that were put back.
    pub blobs: u64,
    /// The sum of their sizes.
    pub blob_bytes: u64,
}

/// A version that a restoration leaves as it is although the backup says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptVersion {
    /// The version.
    pub model_id: ModelId,
    /// Why.
    pub reason: String,
}

impl RestoreRequest {
    fn origin(&self, what: &str) -> Origin {
        let reason = match &self.reason {
            Some(reason) => format!("restore {what}: {reason}"),
            None => format!("restore {what}"),
        };
        Origin { actor: self.actor.clone(), reason: Some(reason) }
    }
}

impl Service {
    /// Brings the registry to the state in a backup, or to that of an earlier time.
    ///
    /// # Errors
    /// What is wrong with the backup ([`Error::Malformed`], [`Error::CorruptState`]); [`Error::NotRestorable`] when it
    /// contradicts the registry or bytes are gone, naming each; [`Error::Changed`] when the registry is changed again and
    /// again meanwhile. Nothing is changed then.
    pub fn restore(&self, request: &RestoreRequest, progress: &dyn Progress) -> Result<RestoreReport> {
        match &request.source {
            RestoreSource::File(path) => match BackupKind::of(path)? {
                BackupKind::Archive => self.restore_archive(path, request, progress),
                BackupKind::Metadata => self.restore_metadata(path, request, progress),
            },
            RestoreSource::AsOf(at) => {
                let past = self.past(*at, progress)?;
                let origin = request.origin(&format!("to {at}"));
                let _hold = self.artifacts.hold(HoldKind::Shared)?;
                self.approach(|present| Ok(past.target(present)?.into()), request, &origin, None, progress)
            }
        }
    }

    /// Restores a backup in the folder of backups. `name` is what the request field `field` says.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that leads elsewhere, [`Error::NotFound`] when there is no such file, and those of
    /// [`restore`](Service::restore).
    pub fn restore_named(&self, field: &'static str, name: &str, actor: String) -> Result<RestoreReport> {
        let source = RestoreSource::File(self.backup_folder()?.files(field).existing(name)?);
        let request = RestoreRequest { source, mode: RestoreMode::Apply, actor, reason: None };
        self.restore(&request, &Unwatched)
    }

    fn restore_archive(&self, path: &Path, request: &RestoreRequest, progress: &dyn Progress) -> Result<RestoreReport> {
        let backup = ReadBackup::read(path, &*self.artifacts, progress)?;
        // From here on bytes that no version names yet are published, which a collection must not take.
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        if self.store.revision()? == 0 {
            return self.take_over(&backup, request, progress);
        }
        let target = Target::of_backup(&mut backup.snapshot()?)?;
        let origin = request.origin(&format!("of the backup taken {}", backup.header.taken_at));
        self.approach(|_| Ok((&target).into()), request, &origin, Some(&backup), progress)
    }

    fn restore_metadata(
        &self,
        path: &Path,
        request: &RestoreRequest,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let backup = MetadataBackup::read(path)?;
        let proven = backup.proven;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = match proven {
            true => Target::of_records(backup.content),
            false => Target::of_unproven(&name, backup.content)?,
        };
        let origin = request.origin(&format!("of `{name}`"));
        let _hold = self.artifacts.hold(HoldKind::Shared)?;
        let report = self.approach(|_| Ok((&target).into()), request, &origin, None, progress)?;
        Ok(RestoreReport { proven, ..report })
    }

    /// An empty registry becomes the one that was backed up.
    fn take_over(
        &self,
        backup: &ReadBackup,
        request: &RestoreRequest,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let target = Target::of_backup(&mut backup.snapshot()?)?;
        let added = target.versions.iter().map(|version| version.record.model_id.clone()).collect();
        let mut report = RestoreReport { taken_over: true, proven: true, added, ..RestoreReport::default() };
        if request.mode == RestoreMode::DryRun {
            return Ok(RestoreReport {
                dry_run: true,
                blobs: backup.header.blobs.count,
                blob_bytes: backup.header.blobs.size_bytes,
                ..report
            });
        }
        (report.blobs, report.blob_bytes) = backup.publish_blobs(&*self.artifacts, progress)?;
        progress.stage("writing records and history", None, ProgressUnit::Items);
        report.revision = self.store.fill(&mut backup.snapshot()?)?;
        report.head = backup.header.head;
        self.mend_links()?;
        Ok(report)
    }

    /// Makes a plan, publishes what it needs and applies it; again, if somebody changed the registry in between.
    fn approach<'a>(
        &self,
        target: impl Fn(&Present) -> Result<std::borrow::Cow<'a, Target>>,
        request: &RestoreRequest,
        origin: &Origin,
        backup: Option<&ReadBackup>,
        progress: &dyn Progress,
    ) -> Result<RestoreReport> {
        let mut published = (0, 0);
        let mut attempt = 0;
        loop {
            attempt += 1;
            progress.check()?;
            let present = Present::of(&mut *self.store.snapshot()?)?;
            let plan = Plan::new(&*target(&present)?, &present, self.clock.now());
            self.check_plan(&plan, backup)?;
            let mut report = plan.report(present.revision);
            if request.mode == RestoreMode::DryRun {
                report.dry_run = true;
                return self.with_head(report);
            }
            if let (Some(backup), 1) = (backup, attempt) {
                published = backup.publish_blobs(&*self.artifacts, progress)?;
            }
            (report.blobs, report.blob_bytes) = published;
            match self.apply_plan(plan, present.revision, origin, progress) {
                Ok(Some((revision, restored))) => {
                    report.revision = revision;
                    self.link_all(&restored)?;
                    return self.with_head(report);
                }
                Ok(None) => return self.with_head(report),
                Err(Error::Changed { .. }) if attempt < MOST_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Refuses a plan that contradicts the registry, or that needs bytes which neither the store nor the backup has.
    fn check_plan(&self, plan: &Plan, backup: Option<&ReadBackup>) -> Result<()> {
        let mut problems = plan.problems.clone();
        for (model_id, file) in plan.needs()? {
            let in_backup = backup.is_some_and(|backup| backup.has(&file.digest));
            if !in_backup && matches!(self.artifacts.local_path(&file.digest), Err(Error::NotFound { .. })) {
                problems.push(format!("the bytes of file `{}` of `{model_id}` are gone: {}", file.path, file.digest));
            }
        }
        plan::refuse(problems)
    }

    /// Returns the revision afterwards and what was restored; `None` when there is nothing to do.
    fn apply_plan(
        &self,
        plan: Plan,
        expected_revision: u64,
        origin: &Origin,
        progress: &dyn Progress,
    ) -> Result<Option<(u64, Vec<Entry>)>> {
        if plan.actions.is_empty() {
            return Ok(None);
        }
        progress.stage("writing changes", Some(plan.actions.len() as u64), ProgressUnit::Items);
        progress.check()?;
        let at = self.clock.now();
        let change = |action: Action| Change { at, actor: origin.actor.clone(), reason: origin.reason.clone(), action };
        let changes: Vec<Change> = plan.actions.into_iter().map(change).collect();
        let count = changes.len() as u64;
        let applied = self.store.apply_all(changes, Some(expected_revision))?;
        progress.advance(count);
        let revision = applied.last().map_or(expected_revision, |applied| applied.revision);
        Ok(Some((revision, applied.into_iter().map(|applied| applied.entry).collect())))
    }

    /// Versions that are shown again get the conventional names of their files back, which a collection may have taken.
    fn link_all(&self, entries: &[Entry]) -> Result<()> {
        for entry in entries.iter().filter(|entry| entry.record.deleted_at().is_none()) {
            if let Some(manifest) = entry.record.manifest()? {
                self.link(entry, &manifest);
            }
        }
        Ok(())
    }

    fn with_head(&self, mut report: RestoreReport) -> Result<RestoreReport> {
        let last = self.store.events(report.revision.saturating_sub(1), 1)?;
        report.head = last.first().filter(|event| event.sequence == report.revision).map(|event| event.digest);
        Ok(report)
    }

    fn past(&self, at: Timestamp, progress: &dyn Progress) -> Result<Past> {
        if at > self.clock.now() {
            return Err(Error::invalid("as_of", at, "lies in the future"));
        }
        Past::read(&*self.store, at, progress)
    }
}
