//! What may happen to a job, decided here once for every adapter; an adapter finds the job and writes down what came out,
//! both in one transaction.

use std::time::Duration;

use seedhouse_core::{
    Claim, Code, Error, Job, JobError, JobId, JobOutcome, JobReport, JobState, Lease, LogLine, MOST_ATTEMPTS, NewJob,
    Result, Timestamp,
};

/// A job and who has it.
#[derive(Debug, Clone)]
pub(crate) struct StoredJob {
    /// What everybody sees.
    pub(crate) job: Job,
    /// Grows with every claim.
    pub(crate) epoch: u64,
    /// Until when the worker need not be heard of, while one has the job.
    pub(crate) lease_until: Option<Timestamp>,
}

impl StoredJob {
    /// Returns a job that was just asked for.
    pub(crate) fn new(id: JobId, new: NewJob) -> StoredJob {
        let NewJob { kind, request, actor, at } = new;
        let job = Job {
            id,
            kind,
            state: JobState::Queued,
            request,
            progress: None,
            figures: None,
            result: None,
            error: None,
            actor,
            created_at: at,
            started_at: None,
            finished_at: None,
            attempt: 0,
            milestone_attempt: 0,
            cancel_requested: false,
            log: Vec::new(),
        };
        StoredJob { job, epoch: 0, lease_until: None }
    }

    /// Returns whether a worker that looks for a job may have this one, or has to end it.
    pub(crate) fn is_claimable(&self, claim: &Claim) -> bool {
        let is_free = match self.job.state {
            JobState::Queued => true,
            JobState::Running => self.lease_until.is_none_or(|until| until <= claim.at),
            JobState::Succeeded | JobState::Failed | JobState::Cancelled => false,
        };
        is_free && claim.kinds.contains(&self.job.kind) && claim.only.is_none_or(|only| only == self.job.id)
    }

    /// Gives a claimable job to the worker; `None` when it ended instead.
    pub(crate) fn claim(&mut self, claim: &Claim) -> Result<Option<Lease>> {
        let until = lease_end(claim.at, claim.lease)?;
        if self.job.state == JobState::Running {
            self.log(claim.at, format!("the worker of attempt {} was lost", self.job.attempt));
            if self.job.cancel_requested {
                self.end(JobState::Cancelled, claim.at);
                return Ok(None);
            }
            let in_vain = self.job.attempt.saturating_sub(self.job.milestone_attempt);
            if in_vain >= MOST_ATTEMPTS {
                self.job.error = Some(lost_too_often(in_vain));
                self.end(JobState::Failed, claim.at);
                return Ok(None);
            }
        }
        self.epoch += 1;
        self.lease_until = Some(until);
        let job = &mut self.job;
        job.state = JobState::Running;
        job.attempt += 1;
        job.progress = None;
        job.started_at.get_or_insert(claim.at);
        self.log(claim.at, format!("attempt {} begun by {}", self.job.attempt, claim.worker));
        Ok(Some(Lease { job: self.job.id, epoch: self.epoch }))
    }

    /// Keeps the lease and returns whether somebody asked to cancel the job.
    pub(crate) fn renew(&mut self, lease: &Lease, at: Timestamp, longer: Duration, report: &JobReport) -> Result<bool> {
        self.check_held(lease)?;
        self.lease_until = Some(lease_end(at, longer)?);
        self.write(report);
        Ok(self.job.cancel_requested)
    }

    /// Ends the attempt.
    pub(crate) fn finish(
        &mut self,
        lease: &Lease,
        at: Timestamp,
        report: &JobReport,
        outcome: JobOutcome,
    ) -> Result<()> {
        self.check_held(lease)?;
        self.write(report);
        match outcome {
            JobOutcome::Succeeded(result) => {
                self.job.result = Some(result);
                self.end(JobState::Succeeded, at);
            }
            JobOutcome::Failed(error) => {
                self.log(at, format!("failed: {}", error.message));
                self.job.error = Some(error);
                self.end(JobState::Failed, at);
            }
            JobOutcome::Cancelled => self.end(JobState::Cancelled, at),
            JobOutcome::Released if self.job.cancel_requested => self.end(JobState::Cancelled, at),
            JobOutcome::Released => {
                self.log(at, format!("attempt {} was given back: its worker had to leave", self.job.attempt));
                self.job.state = JobState::Queued;
                self.job.attempt -= 1;
                self.lease_until = None;
            }
        }
        Ok(())
    }

    /// Ends a queued job, or asks the worker of a running one to.
    pub(crate) fn cancel(&mut self, at: Timestamp) -> Result<()> {
        match self.job.state {
            JobState::Queued => {
                self.job.cancel_requested = true;
                self.end(JobState::Cancelled, at);
            }
            JobState::Running if self.job.cancel_requested => {}
            JobState::Running => {
                self.job.cancel_requested = true;
                self.log(at, "somebody asked to cancel it".into());
            }
            state @ (JobState::Succeeded | JobState::Failed | JobState::Cancelled) => {
                return Err(Error::JobFinished { id: self.job.id.to_string(), state });
            }
        }
        Ok(())
    }

    /// A worker that stalled until its lease ended must not write over the next one, nor over the end of the job.
    fn check_held(&self, lease: &Lease) -> Result<()> {
        if self.job.state == JobState::Running && self.epoch == lease.epoch {
            return Ok(());
        }
        Err(Error::Changed {
            what: format!("job `{}`", self.job.id),
            expected: format!("lease {}", lease.epoch),
            actual: format!("lease {} and {}", self.epoch, self.job.state),
        })
    }

    fn write(&mut self, report: &JobReport) {
        if report.progress.is_some() {
            self.job.progress.clone_from(&report.progress);
        }
        if report.figures.is_some() {
            self.job.figures.clone_from(&report.figures);
        }
        if report.milestone {
            self.job.milestone_attempt = self.job.attempt;
        }
        self.job.add_log(report.log.iter().cloned());
    }

    fn log(&mut self, at: Timestamp, text: String) {
        self.job.add_log([LogLine { at, text }]);
    }

    fn end(&mut self, state: JobState, at: Timestamp) {
        self.job.state = state;
        self.job.finished_at = Some(at);
        self.lease_until = None;
    }
}

fn lease_end(at: Timestamp, lease: Duration) -> Result<Timestamp> {
    let too_long = || Error::invalid("lease", format!("{} s", lease.as_secs()), "must end before the year 10000");
    at.after(lease).ok_or_else(too_long)
}

fn lost_too_often(attempts: u32) -> JobError {
    JobError {
        code: Code::Internal,
        message: format!("its worker was lost {attempts} times, each time before it could say why"),
        hint: Some("the server's log may say why it ended".into()),
    }
}
