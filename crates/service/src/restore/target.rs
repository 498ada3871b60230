//! The state to be reached: every version as it was, with its aliases in its record.

use std::borrow::Cow;
use std::collections::HashMap;

use seedhouse_core::adopt::{NamedFile, plan};
use seedhouse_core::{ModelId, ModelName, Record, RegistryFile, Result, Snapshot};

/// A version as it was.
#[derive(Debug, Clone)]
pub(super) struct TargetVersion {
    pub(super) base: ModelName,
    /// `None` where the source does not say; then the next one is given.
    pub(super) ordinal: Option<u64>,
    pub(super) record: Record,
}

/// All versions, in the order in which they were registered.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) versions: Vec<TargetVersion>,
    /// Whether the records are this program's own words. Others' may not change a version whose bytes are known.
    pub(super) proven: bool,
}

impl<'a> From<&'a Target> for Cow<'a, Target> {
    fn from(target: &'a Target) -> Cow<'a, Target> {
        Cow::Borrowed(target)
    }
}

impl From<Target> for Cow<'_, Target> {
    fn from(target: Target) -> Self {
        Cow::Owned(target)
    }
}

impl Target {
    /// Returns the state in a backup of everything.
    pub(super) fn of_backup(snapshot: &mut dyn Snapshot) -> Result<Target> {
        const PAGE: usize = 1000;
        let mut versions = Vec::new();
        loop {
            let page = snapshot.next_entries(PAGE)?;
            if page.is_empty() {
                return Ok(Target { versions, proven: true });
            }
            versions.extend(page.into_iter().map(|entry| TargetVersion {
                base: entry.base,
                ordinal: Some(entry.ordinal),
                record: entry.record,
            }));
        }
    }

    /// Returns the state in a backup of the records that is proven to be this program's.
    pub(super) fn of_records(file: RegistryFile) -> Target {
        let listed = file
            .versions
            .into_iter()
            .flat_map(|(base, entries)| entries.into_iter().map(move |entry| (entry.model_id, base.clone())));
        let bases: HashMap<ModelId, ModelName> = listed.collect();
        let version = |record: Record| TargetVersion {
            base: bases.get(&record.model_id).cloned().unwrap_or_else(|| record.model_id.base()),
            ordinal: None,
            record,
        };
        Target { versions: file.models.into_iter().map(version).collect(), proven: true }
    }

    /// Returns the state in a file that nobody can prove: what it says is taken as an adoption takes it, marked as claimed.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) naming the entry that cannot be taken.
    pub(super) fn of_unproven(name: &str, content: RegistryFile) -> Result<Target> {
        let taken = plan(&[NamedFile { name: name.to_owned(), content }], &[])?.taken;
        let version = |taken: seedhouse_core::adopt::Taken| TargetVersion {
            base: taken.base,
            ordinal: None,
            record: taken.record,
        };
        Ok(Target { versions: taken.into_iter().map(version).collect(), proven: false })
    }
}
