//! The job port: the queue of long work, shared by all workers of a registry.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Claim, Job, JobId, JobOutcome, JobQuery, JobReport, JobState, Lease, NewJob, Result, Timestamp};

/// Keeps jobs. Calls block; implementations are shared between threads, and may share their data with other processes.
///
/// Every adapter runs the behaviour suite in `seedhouse-testkit`.
pub trait JobStore: Send + Sync {
    /// Adds a job durably, queued.
    fn enqueue(&self, job: NewJob) -> Result<Job>;

    /// Gives the worker the oldest job that it can do: a queued one, or one whose worker was not heard of until its lease ended.
    /// No job is given to two.
    ///
    /// A job whose worker was lost ends here instead when it was begun [`MOST_ATTEMPTS`](crate::MOST_ATTEMPTS) times, or when
    /// somebody asked to cancel it.
    fn claim(&self, claim: &Claim) -> Result<Option<(Job, Lease)>>;

    /// Keeps the lease for this much longer, writes down what the worker reports, and returns whether somebody asked to
    /// cancel the job.
    ///
    /// # Errors
    /// [`Error::Changed`](crate::Error::Changed) when the worker has lost the job.
    fn renew(&self, lease: &Lease, at: Timestamp, longer: Duration, report: &JobReport) -> Result<bool>;

    /// Ends the attempt durably.
    ///
    /// # Errors
    /// [`Error::Changed`](crate::Error::Changed) when the worker has lost the job; nothing is written then.
    fn finish(&self, lease: &Lease, at: Timestamp, report: &JobReport, outcome: JobOutcome) -> Result<Job>;

    /// Cancels a queued job at once, and asks the worker of a running one to end it. Asking twice is fine.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); [`Error::JobFinished`](crate::Error::JobFinished).
    fn cancel(&self, id: JobId, at: Timestamp) -> Result<Job>;

    /// Returns a job.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    fn job(&self, id: JobId) -> Result<Job>;

    /// Returns the jobs that match, newest first, as far as the limit goes.
    fn jobs(&self, query: &JobQuery) -> Result<Vec<Job>>;

    /// Returns how many jobs there are in each state that any is in.
    fn job_counts(&self) -> Result<BTreeMap<JobState, u64>>;

    /// Forgets all finished jobs but the newest `keep`, and returns how many.
    fn prune(&self, keep: usize) -> Result<u64>;
}
