//! Jobs in memory, for tests and for registries that end with the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seedhouse_core::{
    Claim, Error, Job, JobId, JobOutcome, JobQuery, JobReport, JobState, JobStore, Kind, Lease, NewJob, Result,
    Timestamp,
};

use crate::job_steps::StoredJob;

/// A job store without a file. It keeps every promise of the port but durability.
#[derive(Default)]
pub struct MemoryJobs {
    state: Mutex<State>,
}

/// Every change is one step on one job, so a panic elsewhere cannot leave half of one.
#[derive(Default)]
struct State {
    last: u64,
    jobs: BTreeMap<JobId, StoredJob>,
}

impl MemoryJobs {
    /// Returns an empty store.
    pub fn new() -> MemoryJobs {
        MemoryJobs::default()
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a step that is undone when it fails.
    fn step<T>(&self, id: JobId, step: impl FnOnce(&mut StoredJob) -> Result<T>) -> Result<(Job, T)> {
        self.with(|state| {
            let stored = state.jobs.get_mut(&id).ok_or_else(|| Error::not_found(Kind::Job, id))?;
            let mut next = stored.clone();
            let told = step(&mut next)?;
            *stored = next;
            Ok((stored.job.clone(), told))
        })
    }
}

impl JobStore for MemoryJobs {
    fn enqueue(&self, job: NewJob) -> Result<Job> {
        self.with(|state| {
            state.last += 1;
            let stored = StoredJob::new(JobId(state.last), job);
            let job = stored.job.clone();
            state.jobs.insert(job.id, stored);
            Ok(job)
        })
    }

    fn claim(&self, claim: &Claim) -> Result<Option<(Job, Lease)>> {
        self.with(|state| {
            for stored in state.jobs.values_mut().filter(|stored| stored.is_claimable(claim)) {
                if let Some(lease) = stored.claim(claim)? {
                    return Ok(Some((stored.job.clone(), lease)));
                }
            }
            Ok(None)
        })
    }

    fn renew(&self, lease: &Lease, at: Timestamp, longer: Duration, report: &JobReport) -> Result<bool> {
        self.step(lease.job, |stored| stored.renew(lease, at, longer, report)).map(|(_, cancel)| cancel)
    }

    fn finish(&self, lease: &Lease, at: Timestamp, report: &JobReport, outcome: JobOutcome) -> Result<Job> {
        self.step(lease.job, |stored| stored.finish(lease, at, report, outcome)).map(|(job, ())| job)
    }

    fn cancel(&self, id: JobId, at: Timestamp) -> Result<Job> {
        self.step(id, |stored| stored.cancel(at)).map(|(job, ())| job)
    }

    fn job(&self, id: JobId) -> Result<Job> {
        self.step(id, |_| Ok(())).map(|(job, ())| job)
    }

    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>> {
        let matches = |job: &&Job| {
            query.state.is_none_or(|state| job.state == state)
                && query.kind.is_none_or(|kind| job.kind == kind)
                && query.before.is_none_or(|before| job.id < before)
        };
        self.with(|state| {
            let newest_first = state.jobs.values().rev().map(|stored| &stored.job);
            Ok(newest_first.filter(matches).take(query.limit).cloned().collect())
        })
    }

    fn job_counts(&self) -> Result<BTreeMap<JobState, u64>> {
        self.with(|state| {
            let mut counts = BTreeMap::new();
            state.jobs.values().for_each(|stored| *counts.entry(stored.job.state).or_default() += 1);
            Ok(counts)
        })
    }

    fn prune(&self, keep: usize) -> Result<u64> {
        self.with(|state| {
            let finished = state.jobs.values().rev().map(|stored| &stored.job).filter(|job| job.state.is_final());
            let old: Vec<JobId> = finished.skip(keep).map(|job| job.id).collect();
            old.iter().for_each(|id| drop(state.jobs.remove(id)));
            Ok(old.len() as u64)
        })
    }
}
