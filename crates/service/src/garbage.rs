//! Collecting garbage: bytes that no version needs any more, and plans that were made of them, each with the reason.

use std::collections::HashMap;
use std::time::Duration;

use seedhouse_core::runtime::StoredPlan;
use seedhouse_core::{Digest, Entry, Error, HoldKind, ModelId, Result, StoredArtifact, Timestamp, VisitOrder};
use serde::Serialize;

use crate::Service;

/// Whether garbage is removed or only named. The two name the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collection {
    /// Only named.
    DryRun,
    /// Removed.
    Run,
}

/// What a collection found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Garbage {
    /// Bytes that are removed, or would be.
    pub removed: Vec<RemovedBytes>,
    /// Sum of their sizes.
    pub removed_bytes: u64,
    /// Sum of the sizes of what is needed.
    pub kept_bytes: u64,
    /// Of that, what only deleted versions need whose retention has not ended.
    pub kept_for_deleted_bytes: u64,
    /// Plans that are removed, or would be.
    pub removed_plans: Vec<RemovedPlan>,
    /// Sum of their sizes.
    pub removed_plan_bytes: u64,
}

/// A plan that nobody needs.
#[derive(Debug, Clone, Serialize)]
pub struct RemovedPlan {
    /// Its name.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// Why nobody needs it.
    pub reason: String,
}

/// One artifact that nobody needs.
#[derive(Debug, Clone, Serialize)]
pub struct RemovedBytes {
    /// What it is named by.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// Why nobody needs it.
    pub reason: String,
}

/// Who needs an artifact.
#[derive(Debug, Clone)]
enum Need {
    Version,
    Deleted,
    /// A deleted version whose retention is over.
    Expired {
        model_id: ModelId,
        deleted_at: Timestamp,
    },
}

impl Service {
    /// Finds, and with [`Collection::Run`] removes, bytes that no version names, or only versions that were deleted longer
    /// than `retention` ago. Registrations wait meanwhile.
    ///
    /// # Errors
    /// Those of the stores. A collection that is broken off removed some bytes and no needed ones.
    pub fn collect_garbage(&self, retention: Duration, collection: Collection) -> Result<Garbage> {
        let _hold = self.artifacts.hold(HoldKind::Exclusive)?;
        let deleted = self.store.deleted()?;
        let needs = self.needs(&deleted, retention)?;
        let mut garbage = Garbage::default();
        for artifact in self.artifacts.list()? {
            garbage.judge(artifact, needs.get(&artifact.digest));
        }
        if collection == Collection::Run {
            self.unlink_expired(&deleted, retention)?;
            garbage.removed.iter().try_for_each(|removed| self.artifacts.remove(&removed.digest))?;
        }
        let is_removed = collection == Collection::Run;
        garbage.removed_plans = self.engine.sift_plans(is_removed, |plan| unneeded(plan, &needs))?;
        garbage.removed_plan_bytes = garbage.removed_plans.iter().map(|plan| plan.size_bytes).sum();
        Ok(garbage)
    }

    fn needs(&self, deleted: &[Entry], retention: Duration) -> Result<HashMap<Digest, Need>> {
        let mut needs = HashMap::new();
        // The weakest need first, so that a stronger one takes its place.
        for (entry, expired) in deleted.iter().map(|entry| (entry, self.expired_since(entry, retention))) {
            if let Some(deleted_at) = expired {
                let model_id = entry.record.model_id.clone();
                needs.extend(
                    digests_of(entry)?.map(|digest| (digest, Need::Expired { model_id: model_id.clone(), deleted_at })),
                );
            }
        }
        for entry in deleted.iter().filter(|entry| self.expired_since(entry, retention).is_none()) {
            needs.extend(digests_of(entry)?.map(|digest| (digest, Need::Deleted)));
        }
        self.store.visit_shown(&[VisitOrder::Registration], &mut |_, entry| {
            needs.extend(digests_of(&entry)?.map(|digest| (digest, Need::Version)));
            Ok(())
        })?;
        Ok(needs)
    }

    /// Returns when a version was deleted, if its retention is over.
    fn expired_since(&self, entry: &Entry, retention: Duration) -> Option<Timestamp> {
        let deleted_at = entry.record.deleted_at()?;
        let age = self.clock.now().as_microseconds().saturating_sub(deleted_at.as_microseconds());
        (i128::from(age) >= i128::try_from(retention.as_micros()).unwrap_or(i128::MAX)).then_some(deleted_at)
    }

    /// A conventional name is one more link to the bytes, and would keep them on the disk.
    fn unlink_expired(&self, deleted: &[Entry], retention: Duration) -> Result<()> {
        for entry in deleted.iter().filter(|entry| self.expired_since(entry, retention).is_some()) {
            if let Some(manifest) = entry.record.manifest()? {
                self.artifacts.unlink(&entry.record, &manifest)?;
            }
        }
        Ok(())
    }

    /// Checks that the bytes of a version are still there.
    pub(crate) fn require_bytes(&self, entry: &Entry) -> Result<()> {
        let Some(manifest) = entry.record.manifest()? else { return Ok(()) };
        for file in manifest.files() {
            self.artifacts.local_path(&file.digest).map_err(|error| match error {
                Error::NotFound { .. } => Error::MissingBytes {
                    model_id: entry.record.model_id.to_string(),
                    path: file.path.to_string(),
                    expected: file.digest,
                },
                other => other,
            })?;
        }
        Ok(())
    }
}

fn digests_of(entry: &Entry) -> Result<impl Iterator<Item = Digest>> {
    let files = entry.record.manifest()?.map(Vec::from).unwrap_or_default();
    Ok(files.into_iter().map(|file| file.digest))
}

/// A plan is needed as long as all files are of which it was made.
fn unneeded(plan: StoredPlan, needs: &HashMap<Digest, Need>) -> Option<RemovedPlan> {
    let is_gone = |digest: &&Digest| matches!(needs.get(digest), None | Some(Need::Expired { .. }));
    let reason = match plan.made_of {
        Err(reason) => reason,
        Ok(files) => format!("no version needs {}, of which it was made", files.iter().find(is_gone)?),
    };
    Some(RemovedPlan { name: plan.name, size_bytes: plan.size_bytes, reason })
}

impl Garbage {
    fn judge(&mut self, artifact: StoredArtifact, need: Option<&Need>) {
        let reason = match need {
            Some(Need::Version) => {
                self.kept_bytes += artifact.size_bytes;
                return;
            }
            Some(Need::Deleted) => {
                self.kept_bytes += artifact.size_bytes;
                self.kept_for_deleted_bytes += artifact.size_bytes;
                return;
            }
            Some(Need::Expired { model_id, deleted_at }) => {
                format!("only `{model_id}` needs it, which was deleted {deleted_at}")
            }
            None => "no version names it".to_owned(),
        };
        self.removed_bytes += artifact.size_bytes;
        self.removed.push(RemovedBytes { digest: artifact.digest, size_bytes: artifact.size_bytes, reason });
    }
}
