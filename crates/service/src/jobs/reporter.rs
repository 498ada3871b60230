//! How a use case that runs as a job says how far it is. Saying so keeps the lease, and brings back whether to stop.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seedhouse_core::{Error, JobProgress, JobReport, Lease, LogLine, Progress, ProgressUnit};
use serde_json::Value;

use crate::Service;

/// The job store hears of progress at most this often.
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// The progress of one attempt.
pub(super) struct Reporter<'s> {
    service: &'s Service,
    lease: Lease,
    lease_length: Duration,
    /// Somebody who looks on beside the store.
    watcher: &'s dyn Progress,
    state: Mutex<State>,
}

/// Why the work should end, beside the process that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Somebody asked to cancel the job.
    CancelAsked,
    /// The job belongs to another worker.
    LeaseLost,
}

struct State {
    /// What the store has not been told yet.
    untold: JobReport,
    told_at: Instant,
    ending: Option<Ending>,
}

impl<'s> Reporter<'s> {
    /// Returns the progress of an attempt that was just claimed.
    pub(super) fn new(
        service: &'s Service,
        lease: Lease,
        lease_length: Duration,
        watcher: &'s dyn Progress,
    ) -> Reporter<'s> {
        let state = State { untold: JobReport::default(), told_at: Instant::now(), ending: None };
        Reporter { service, lease, lease_length, watcher, state: Mutex::new(state) }
    }

    /// Returns what the store has not been told, and why the work should have ended.
    pub(super) fn into_parts(self) -> (JobReport, Option<Ending>) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.untold, state.ending)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the store, if it is time to.
    fn beat(&self, state: &mut State) {
        if state.ending.is_some() || state.told_at.elapsed() < LONGEST_SILENCE.min(self.lease_length / 3) {
            return;
        }
        // After a failure, too, the next try is not at once.
        state.told_at = Instant::now();
        let Service { jobs, clock, .. } = self.service;
        match jobs.renew(&self.lease, clock.now(), self.lease_length, &state.untold) {
            Ok(cancel) => {
                state.untold.log.clear();
                state.untold.milestone = false;
                state.ending = cancel.then_some(Ending::CancelAsked);
            }
            Err(Error::Changed { .. } | Error::NotFound { .. }) => state.ending = Some(Ending::LeaseLost),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "cannot renew the lease of a job"),
        }
    }

    fn log(&self, state: &mut State, text: &str) {
        state.untold.log.push(LogLine { at: self.service.clock.now(), text: text.to_owned() });
    }
}

impl Progress for Reporter<'_> {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        self.watcher.stage(name, total, unit);
        let mut state = self.state();
        state.untold.progress = Some(JobProgress { stage: name.to_owned(), done: 0, total, unit });
        self.log(&mut state, name);
        self.beat(&mut state);
    }

    fn advance(&self, amount: u64) {
        self.watcher.advance(amount);
        let mut state = self.state();
        if let Some(progress) = &mut state.untold.progress {
            progress.done = progress.done.saturating_add(amount);
        }
        self.beat(&mut state);
    }

    fn note(&self, text: &str) {
        self.watcher.note(text);
        let mut state = self.state();
        self.log(&mut state, text);
    }

    fn figures(&self, figures: &Value) {
        self.watcher.figures(figures);
        let mut state = self.state();
        state.untold.figures = Some(figures.clone());
        self.beat(&mut state);
    }

    fn milestone(&self) {
        let mut state = self.state();
        state.untold.milestone = true;
        self.beat(&mut state);
    }

    fn is_cancelled(&self) -> bool {
        let mut state = self.state();
        self.beat(&mut state);
        state.ending.is_some() || self.service.stop.is_set()
    }
}
