//! Which use case does which kind of job: one arm each. A new kind is a variant of [`JobKind`], its request with
//! [`JobRequest`], and an arm here.

use seedhouse_core::{Error, Job, JobKind, Progress, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{EvaluateJob, PullJob, QuantiseJob, ScrubRequest, Service, TrainJob};

/// What is asked of a kind of job.
pub trait JobRequest: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: JobKind;
}

impl JobRequest for ScrubRequest {
    const KIND: JobKind = JobKind::Scrub;
}

impl Service {
    /// Does a job and returns its report.
    pub(super) fn dispatch(&self, job: &Job, progress: &dyn Progress) -> Result<Value> {
        match job.kind {
            JobKind::Scrub => run(job, |request| self.scrub(request, progress)),
            JobKind::Export => run(job, |request| self.run_export(job, request, progress)),
            JobKind::Import => run(job, |request| self.run_import(request, progress)),
            JobKind::Backup => run(job, |request| self.run_backup(job, request, progress)),
            JobKind::Restore => run(job, |request| self.run_restore(request, progress)),
            JobKind::Pull => run(job, |request: PullJob| self.pull(&request, progress)),
            JobKind::Train => run(job, |request: TrainJob| self.run_training(job, &request, progress)),
            JobKind::Evaluate => run(job, |request: EvaluateJob| self.evaluate(&request, progress)),
            JobKind::Quantize => run(job, |request: QuantiseJob| self.quantise(&request, progress)),
        }
    }
}

fn run<Request, Report>(job: &Job, use_case: impl FnOnce(Request) -> Result<Report>) -> Result<Value>
where
    Request: JobRequest,
    Report: Serialize,
{
    let corrupt = |reason: String| Error::CorruptState { what: format!("the request of job {}", job.id), reason };
    let request = serde_json::from_value(job.request.clone()).map_err(|error| corrupt(error.to_string()))?;
    let report = use_case(request)?;
    serde_json::to_value(report).map_err(|error| Error::Internal(format!("a report cannot be written: {error}")))
}
