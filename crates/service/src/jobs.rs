//! Jobs: asking for long work, looking at it, cancelling it, and the workers that do it.
//!
//! ```text
//! submit ──> JobStore ──claim──> work ──> dispatch (one arm per kind) ──> a use case, which tells a Reporter how far it is
//!                ^                                                           │
//!                └── renew (about once a second), finish ────────────────────┘
//! ```
//!
//! A worker that is killed loses its lease, and the next one begins the job again: use cases leave what they have done in a
//! state that may be repeated.

mod dispatch;
mod reporter;
mod stop;
mod transfers;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use seedhouse_core::{
    Claim, Code, Error, Job, JobError, JobId, JobKind, JobOutcome, JobQuery, Lease, NewJob, Progress, Result,
    Unwatched, panic_text,
};

use crate::Service;
pub use dispatch::JobRequest;
use reporter::{Ending, Reporter};
pub use stop::Stop;
pub use transfers::{BackupJob, ExportFormat, ExportJob, ExportedFile, ImportJob, RestoreJob, RestoreOrigin};

/// How many finished jobs are remembered.
const MOST_FINISHED: usize = 1000;

/// How often an idle worker looks for a job: one read of an index.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often an idle worker looks for trainings that ended without a word.
const SETTLE_EVERY: Duration = Duration::from_secs(10);

/// How long a worker waits after the job store failed.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// One of those who do jobs.
#[derive(Debug, Clone)]
pub struct Worker {
    /// How the logs of jobs name it.
    pub name: String,
    /// What it does.
    pub kinds: Vec<JobKind>,
    /// How long a job stays its own without a word from it. The use cases speak several times a second.
    pub lease: Duration,
}

impl Service {
    /// Asks for work that a worker will do.
    ///
    /// # Errors
    /// Those of the job store.
    pub fn submit<R: JobRequest>(&self, request: &R, actor: &str) -> Result<Job> {
        // Jobs only grow in number here, so this keeps them few.
        self.jobs.prune(MOST_FINISHED)?;
        let request = serde_json::to_value(request).map_err(|error| Error::Internal(error.to_string()))?;
        self.jobs.enqueue(NewJob { kind: R::KIND, request, actor: actor.to_owned(), at: self.clock.now() })
    }

    /// Returns a job.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn job(&self, id: JobId) -> Result<Job> {
        self.jobs.job(id)
    }

    /// Returns the jobs that match, newest first, and the last of them if there are more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit of 0.
    pub fn list_jobs(&self, query: &JobQuery) -> Result<(Vec<Job>, Option<JobId>)> {
        if query.limit == 0 {
            return Err(Error::invalid("limit", 0, "must be at least 1"));
        }
        let mut jobs = self.jobs.jobs(&JobQuery { limit: query.limit.saturating_add(1), ..query.clone() })?;
        let more = jobs.len() > query.limit;
        jobs.truncate(query.limit);
        let next = if more { jobs.last().map(|job| job.id) } else { None };
        Ok((jobs, next))
    }

    /// Cancels a queued job at once; a running one ends where its work next looks.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::JobFinished`].
    pub fn cancel_job(&self, id: JobId) -> Result<Job> {
        self.jobs.cancel(id, self.clock.now())
    }

    /// Returns what tells the workers of this process to leave.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }

    /// Does jobs until [`stop`](Service::stop) is set; what it is doing then is given back and queued again.
    pub fn work(&self, worker: &Worker) {
        let mut settled_at = None;
        while !self.stop.is_set() {
            match self.jobs.claim(&self.claim_of(worker, None)) {
                Ok(Some((job, lease))) => self.attempt(&job, lease, worker, &Unwatched),
                Ok(None) => {
                    if worker.kinds.contains(&JobKind::Train) {
                        self.settle_now_and_then(&mut settled_at);
                    }
                    self.stop.wait(LOOK_EVERY);
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot look for jobs");
                    self.stop.wait(PAUSE_AFTER_FAILURE);
                }
            }
        }
    }

    /// Does one job, if it waits or its worker was lost, and tells `watcher` how far it is; returns it as it is then.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Changed`] when another worker has it, or it has ended.
    pub fn work_on(&self, id: JobId, worker: &Worker, watcher: &dyn Progress) -> Result<Job> {
        let Some((job, lease)) = self.jobs.claim(&self.claim_of(worker, Some(id)))? else {
            let job = self.jobs.job(id)?;
            let (what, expected) = (format!("job `{id}`"), "a job that waits, or whose worker was lost".into());
            return Err(Error::Changed { what, expected, actual: format!("one that is {}", job.state) });
        };
        self.attempt(&job, lease, worker, watcher);
        self.jobs.job(id)
    }

    /// Looks after records whose job is over, a few times a minute.
    fn settle_now_and_then(&self, settled_at: &mut Option<Instant>) {
        if settled_at.is_some_and(|at| at.elapsed() < SETTLE_EVERY) {
            return;
        }
        *settled_at = Some(Instant::now());
        if let Err(error) = self.settle_trainings() {
            tracing::error!(error = &error as &dyn std::error::Error, "cannot look after trainings");
        }
    }

    fn claim_of(&self, worker: &Worker, only: Option<JobId>) -> Claim {
        let Worker { name, kinds, lease } = worker;
        Claim { kinds: kinds.clone(), only, worker: name.clone(), at: self.clock.now(), lease: *lease }
    }

    /// Does a job that was claimed, and writes down how it ended.
    fn attempt(&self, job: &Job, lease: Lease, worker: &Worker, watcher: &dyn Progress) {
        let span = tracing::info_span!("job", job.id = %job.id, job.kind = %job.kind);
        let _entered = span.enter();
        tracing::info!(attempt = job.attempt, "began a job");
        let reporter = Reporter::new(self, lease, worker.lease, watcher);
        let ended = catch_unwind(AssertUnwindSafe(|| self.dispatch(job, &reporter)));
        let (report, ending) = reporter.into_parts();
        let outcome = match (ended, ending) {
            (_, Some(Ending::LeaseLost)) => {
                tracing::warn!("another worker has the job: this one was not heard of for too long");
                return;
            }
            (Ok(Ok(result)), _) => JobOutcome::Succeeded(result),
            (Ok(Err(Error::Cancelled)), Some(Ending::CancelAsked)) => JobOutcome::Cancelled,
            (Ok(Err(Error::Cancelled)), None) if self.stop.is_set() => JobOutcome::Released,
            (Ok(Err(error)), _) => JobOutcome::Failed(failure(&error)),
            (Err(panic), _) => JobOutcome::Failed(failure(&panicked(&*panic))),
        };
        match self.jobs.finish(&lease, self.clock.now(), &report, outcome) {
            Ok(job) => tracing::info!(state = %job.state, "ended a job"),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "cannot write down how a job ended, so it will be begun again"
                );
            }
        }
    }
}

/// Returns what is kept of an error. Whoever may read may read this, so faults of ours stay in the log.
pub(crate) fn failure(error: &Error) -> JobError {
    let code = error.code();
    let message = match code {
        // The path would tell where the registry stands.
        _ if error.is_full_disk() => {
            tracing::error!(error = error as &dyn std::error::Error, "a job found the disk full");
            "the disk is full".to_owned()
        }
        Code::Internal => {
            tracing::error!(error = error as &dyn std::error::Error, "a job failed");
            "internal fault; the server's log has the details under the number of the job".to_owned()
        }
        _ => error.to_string(),
    };
    JobError { code, message, hint: error.hint() }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    Error::Internal(format!("a job panicked: {}", panic_text(panic)))
}

#[cfg(test)]
mod tests;
