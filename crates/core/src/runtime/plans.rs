//! Plans: what a runtime keeps of the work of compiling a model, in figures and by name.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Digest;

/// What came of the plans of a runtime since it was started, and what of them is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PlanStatistics {
    /// Loads that used the packed weights of a version that was loaded already.
    pub memory_hits: u64,
    /// Loads that mapped a plan from the disk.
    pub disk_hits: u64,
    /// Loads that compiled a plan, by the reason, which is of a closed set.
    pub misses: BTreeMap<&'static str, u64>,
    /// The time that compiling took.
    pub compile_micros: u64,
    /// The time that mapping and checking plans took.
    pub map_micros: u64,
    /// Plans that could not be written.
    pub failed_writes: u64,
    /// Plans on the disk.
    pub stored: u64,
    /// The sum of their sizes.
    pub stored_bytes: u64,
}

impl PlanStatistics {
    /// Adds the figures of another runtime.
    pub fn add(&mut self, other: &PlanStatistics) {
        self.memory_hits += other.memory_hits;
        self.disk_hits += other.disk_hits;
        for (reason, count) in &other.misses {
            *self.misses.entry(reason).or_default() += count;
        }
        self.compile_micros += other.compile_micros;
        self.map_micros += other.map_micros;
        self.failed_writes += other.failed_writes;
        self.stored += other.stored;
        self.stored_bytes += other.stored_bytes;
    }
}

/// A plan on the disk. It can be made again, so it may be removed at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredPlan {
    /// What [`Runtime::remove_plan`](super::Runtime::remove_plan) takes.
    pub name: String,
    /// Its size.
    pub size_bytes: u64,
    /// The files that it was compiled from, or why it will not be used.
    pub made_of: Result<Vec<Digest>, String>,
}
