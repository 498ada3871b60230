//! Which weights are packed already. Loads of one version share them; the first of a process maps them from the disk, and the first of
//! all packs them and leaves them there.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use seedhouse_core::Result;
use seedhouse_core::runtime::{LocalFiles, PlanStatistics, StoredPlan};
use seedhouse_kernels::Pool;

use super::compile::{Plan, pack};
use super::options::PlanOptions;
use super::parts::{Mismatch, PackedParts};
use super::stored::{PlanFolder, PlanKey, Unusable};
use crate::decoder::DecoderModel;

/// The plans of a process.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    options: PlanOptions,
    folder: Option<PlanFolder>,
    /// What is in use, by the name of the key. Whoever holds the inner lock looks for parts or makes them, and others wait for it.
    in_use: Mutex<HashMap<String, Arc<Mutex<Weak<PackedParts>>>>>,
    statistics: Mutex<PlanStatistics>,
}

impl Plans {
    pub(crate) fn new(options: PlanOptions, folder: Option<PathBuf>) -> Plans {
        Plans { options, folder: folder.map(PlanFolder::new), ..Plans::default() }
    }

    /// Makes the plan of a model, packing its weights where nobody has done that. The caller has verified the digests of `files`.
    ///
    /// # Errors
    /// [`Error::Malformed`](seedhouse_core::Error::Malformed) for weights that are not finite.
    pub(crate) fn plan(&self, files: &LocalFiles, model: &DecoderModel, pool: &Pool) -> Result<Plan> {
        let key = PlanKey::new(files, &self.options);
        let place = self.place(&key);
        let mut in_use = lock(&place);
        let found = match in_use.upgrade() {
            Some(parts) => Ok(parts),
            None => self.read(&key, pool),
        };
        let plan = found.and_then(|parts| {
            let is_fresh = parts.take_freshness();
            let plan = Plan::new(model, self.options, pool.level(), parts);
            let plan = plan.map_err(|Mismatch(reason)| Unusable::OtherPlan(reason))?;
            self.count_hit(&key, &plan, is_fresh);
            Ok(plan)
        });
        let plan = match plan {
            Ok(plan) => plan,
            Err(unusable) => self.compile(&key, &unusable, model, pool)?,
        };
        *in_use = Arc::downgrade(&plan.parts);
        Ok(plan)
    }

    /// Maps what there is on the disk, and keeps it for [`Plans::plan`] until the returned value is dropped.
    pub(crate) fn fetch(&self, files: &LocalFiles, pool: &Pool) -> Option<Arc<PackedParts>> {
        let key = PlanKey::new(files, &self.options);
        let place = self.place(&key);
        let mut in_use = lock(&place);
        if let Some(parts) = in_use.upgrade() {
            return Some(parts);
        }
        // Why there is none says whoever needs it.
        let parts = self.read(&key, pool).ok()?;
        *in_use = Arc::downgrade(&parts);
        Some(parts)
    }

    /// Returns how plans are compiled.
    pub(crate) fn options(&self) -> PlanOptions {
        self.options
    }

    /// Returns whether there is a folder of plans to look into.
    pub(crate) fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// Returns what came of plans so far, and what is on the disk.
    pub(crate) fn statistics(&self) -> Result<PlanStatistics> {
        let mut statistics = lock(&self.statistics).clone();
        if let Some(folder) = &self.folder {
            (statistics.stored, statistics.stored_bytes) = folder.sizes()?;
        }
        Ok(statistics)
    }

    /// Returns the plans on the disk.
    pub(crate) fn stored(&self) -> Result<Vec<StoredPlan>> {
        self.folder.as_ref().map_or(Ok(Vec::new()), PlanFolder::list)
    }

    /// Removes one of them.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.remove(name))
    }

    fn place(&self, key: &PlanKey) -> Arc<Mutex<Weak<PackedParts>>> {
        let mut in_use = lock(&self.in_use);
        // A place that nobody waits at and whose parts are gone says nothing.
        in_use.retain(|_, place| Arc::strong_count(place) > 1 || lock(place).strong_count() > 0);
        Arc::clone(in_use.entry(key.name()).or_default())
    }

    fn read(&self, key: &PlanKey, pool: &Pool) -> std::result::Result<Arc<PackedParts>, Unusable> {
        let Some(folder) = &self.folder else { return Err(Unusable::Absent) };
        let begun = Instant::now();
        let parts = folder.read(key, pool)?;
        lock(&self.statistics).map_micros += micros(begun.elapsed());
        tracing::debug!(seconds = begun.elapsed().as_secs_f64(), "mapped and checked a plan");
        Ok(Arc::new(parts))
    }

    fn count_hit(&self, key: &PlanKey, plan: &Plan, is_fresh: bool) {
        let mut statistics = lock(&self.statistics);
        let place = match is_fresh {
            true => {
                statistics.disk_hits += 1;
                "disk"
            }
            false => {
                statistics.memory_hits += 1;
                "memory"
            }
        };
        tracing::info!(plan.name = key.name(), plan.bytes = plan.parts.matrix_bytes(), place, "found a plan");
    }

    fn compile(&self, key: &PlanKey, unusable: &Unusable, model: &DecoderModel, pool: &Pool) -> Result<Plan> {
        if *unusable != Unusable::Absent {
            let (name, reason) = (key.name(), unusable.reason());
            tracing::warn!(plan.name = name, reason, "cannot use a plan, compiling it anew");
        }
        let begun = Instant::now();
        let parts = Arc::new(pack(model, self.options, pool)?);
        parts.take_freshness();
        let seconds = begun.elapsed();
        {
            let mut statistics = lock(&self.statistics);
            *statistics.misses.entry(unusable.code()).or_default() += 1;
            statistics.compile_micros += micros(seconds);
        }
        let (bytes, level) = (parts.matrix_bytes(), pool.level().name());
        tracing::info!(plan.bytes = bytes, seconds = seconds.as_secs_f64(), level, "compiled a plan");
        let parts = self.keep(key, parts, pool);
        Plan::new(model, self.options, pool.level(), parts).map_err(|Mismatch(reason)| {
            seedhouse_core::Error::Internal(format!("a plan does not fit its model: {reason}"))
        })
    }

    /// Leaves parts on the disk, and returns them as they are there: pages of a file need not be kept when memory is short, and lie
    /// together, which small matrices in memory of their own do not. A plan that cannot be kept can be used all the same.
    fn keep(&self, key: &PlanKey, parts: Arc<PackedParts>, pool: &Pool) -> Arc<PackedParts> {
        let Some(folder) = &self.folder else { return parts };
        let begun = Instant::now();
        let kept = match folder.write(key, &parts) {
            Ok(bytes) => {
                tracing::info!(plan.file_bytes = bytes, seconds = begun.elapsed().as_secs_f64(), "wrote a plan");
                self.read(key, pool).map_err(|unusable| unusable.reason().to_owned())
            }
            Err(error) => {
                lock(&self.statistics).failed_writes += 1;
                Err(error.to_string())
            }
        };
        match kept {
            Ok(kept) => {
                kept.take_freshness();
                kept
            }
            Err(reason) => {
                let path = folder.file(key);
                tracing::warn!(path = %path.display(), reason, "cannot keep a plan, the next start compiles it anew");
                parts
            }
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
