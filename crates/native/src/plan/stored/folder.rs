//! All plans of a registry: a file each, named by its key. The folder is a cache, so deleting it is always safe.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use seedhouse_core::runtime::StoredPlan;
use seedhouse_core::{Error, Result};
use seedhouse_kernels::Pool;

use super::key::PlanKey;
use super::{Unusable, read, write};
use crate::plan::parts::PackedParts;

const ENDING: &str = ".plan";

/// How a file ends that is being written.
pub(super) const TEMPORARY: &str = ".plan-in-progress";

/// A file in progress is locked right after it is made; one that is older and not locked was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// A folder of plans.
#[derive(Debug)]
pub(crate) struct PlanFolder {
    path: PathBuf,
}

impl PlanFolder {
    /// The folder need not exist; the first plan makes it.
    pub(crate) fn new(path: PathBuf) -> PlanFolder {
        PlanFolder { path }
    }

    /// Maps the plan of a key.
    pub(crate) fn read(&self, key: &PlanKey, pool: &Pool) -> std::result::Result<PackedParts, Unusable> {
        read::read(&self.file(key), key, pool)
    }

    /// Writes the plan of a key, in the place of what stands there. Returns its size.
    pub(crate) fn write(&self, key: &PlanKey, parts: &PackedParts) -> io::Result<u64> {
        write::write(&self.file(key), key, parts)
    }

    /// Returns the file of a key.
    pub(crate) fn file(&self, key: &PlanKey) -> PathBuf {
        self.path.join(format!("{}{ENDING}", key.name()))
    }

    /// Returns how many plans there are, and the sum of their sizes.
    pub(crate) fn sizes(&self) -> Result<(u64, u64)> {
        let mut sizes = (0, 0);
        for path in self.files()? {
            if let (true, Some(size_bytes)) = (is_plan(&path), size_of(&path)?) {
                sizes = (sizes.0 + 1, sizes.1 + size_bytes);
            }
        }
        Ok(sizes)
    }

    /// Returns all plans, and files that were left behind by writers that were killed.
    pub(crate) fn list(&self) -> Result<Vec<StoredPlan>> {
        let mut plans = Vec::new();
        for path in self.files()? {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let made_of = if name.ends_with(ENDING) {
                read::read_header(&path).map(|header| header.made_of()).map_err(|unusable| unusable.reason().to_owned())
            } else if name.ends_with(TEMPORARY) && is_left_behind(&path) {
                Err("whoever wrote it did not come to the end".into())
            } else {
                continue;
            };
            if let Some(size_bytes) = size_of(&path)? {
                plans.push(StoredPlan { name: name.to_owned(), size_bytes, made_of });
            }
        }
        plans.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(plans)
    }

    /// Removes one of the files that [`PlanFolder::list`] names.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let is_plain = !name.contains('/') && (name.ends_with(ENDING) || name.ends_with(TEMPORARY));
        if !is_plain {
            return Err(Error::invalid("plan", name, format!("must be a file name that ends in `{ENDING}`")));
        }
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
            _ => Ok(()),
        }
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.path) {
            // The first plan makes the folder; where something is in the way, writing one says so.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            entries => entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
        };
        entries.map_err(Error::io("list", &self.path))
    }
}

/// Returns `None` for a file that was removed or replaced meanwhile.
fn size_of(path: &Path) -> Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}

fn is_left_behind(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    let age = file.metadata().and_then(|found| found.modified()).ok().and_then(|modified| modified.elapsed().ok());
    age.is_some_and(|age| age > LEFT_BEHIND) && file.try_lock().is_ok()
}

/// Names that are no text are not ours.
fn is_plan(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(ENDING))
}
