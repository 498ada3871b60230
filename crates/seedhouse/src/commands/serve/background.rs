//! What a server does beside answering: jobs, the scrub that comes round, and the sweep of uploads.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use seedhouse_core::{Error, JobKind, Result};
use seedhouse_service::{DEFAULT_BYTES_PER_SECOND, ScrubRequest, Service, Worker};

/// How often it is looked whether a scrub is due; other processes may have asked for one.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How the background works.
#[derive(Debug, Clone)]
pub(in crate::commands) struct BackgroundOptions {
    /// How many jobs are done at once.
    pub(in crate::commands) workers: usize,
    /// How long a job stays with a worker that says nothing.
    pub(in crate::commands) lease: Duration,
    /// How often a scrub is asked for, if at all.
    pub(in crate::commands) scrub_every: Option<Duration>,
}

impl Default for BackgroundOptions {
    fn default() -> BackgroundOptions {
        BackgroundOptions { workers: 1, lease: Duration::from_secs(30), scrub_every: None }
    }
}

/// The threads in the background. Whoever starts them stops them.
pub(super) struct Background {
    service: Arc<Service>,
    threads: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the system gives none.
    pub(super) fn start(service: &Arc<Service>, options: &BackgroundOptions) -> Result<Background> {
        let mut background = Background { service: service.clone(), threads: Vec::new() };
        for number in 1..=options.workers {
            let name = format!("worker {number} of process {}", std::process::id());
            let kinds = JobKind::ALL.into_iter().filter(|kind| !kind.is_computing()).collect();
            let worker = Worker { name, kinds, lease: options.lease };
            background.spawn("job worker", move |service| service.work(&worker))?;
        }
        if options.workers > 0 {
            let name = format!("computing worker of process {}", std::process::id());
            let kinds = JobKind::ALL.into_iter().filter(|kind| kind.is_computing()).collect();
            let worker = Worker { name, kinds, lease: options.lease };
            background.spawn("computing worker", move |service| compute(service, &worker))?;
        }
        if let Some(every) = options.scrub_every {
            background.spawn("scrub schedule", move |service| schedule(service, every))?;
        }
        background.spawn("upload sweep", sweep)?;
        background.spawn("slots", tend_slots)?;
        background.spawn("shadows", Service::work_on_shadows)?;
        Ok(background)
    }

    fn spawn(&mut self, name: &str, run: impl FnOnce(&Service) + Send + 'static) -> Result<()> {
        let service = self.service.clone();
        let thread = thread::Builder::new().name(name.into()).spawn(move || run(&service));
        let refused =
            |error: std::io::Error| Error::Unavailable { what: format!("a thread: {name}"), reason: error.to_string() };
        self.threads.push(thread.map_err(refused)?);
        Ok(())
    }

    /// Waits until everybody who was told to stop has, but not longer than this. A job that does not look in time is begun
    /// again when its lease is over.
    pub(super) fn join_within(self, longest: Duration) {
        const STEP: Duration = Duration::from_millis(10);
        let mut waited = Duration::ZERO;
        while self.threads.iter().any(|thread| !thread.is_finished()) && waited < longest {
            thread::sleep(STEP);
            waited += STEP;
        }
        for thread in self.threads.into_iter().filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                tracing::error!("a thread in the background panicked");
            }
        }
    }
}

/// How far a computing job stands back: a thread of this niceness gets about a tenth of a core that an answer wants as well.
const NICENESS: i32 = 10;

/// Does computing jobs, one at a time. The threads that they start have the priority of this one.
fn compute(service: &Service, worker: &Worker) {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::warn!(error = &error as &dyn std::error::Error, "computing jobs have the priority of everything else");
    }
    service.work(worker);
}

fn tend_slots(service: &Service) {
    service.preload();
    while !service.stop().is_set() {
        service.tend_slots();
        service.stop().wait(service.tending_pause());
    }
}

/// How often expired uploads are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);

fn sweep(service: &Service) {
    while !service.stop().is_set() {
        match service.sweep_uploads() {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed expired uploads"),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot remove expired uploads");
            }
        }
        service.stop().wait(SWEEP_EVERY);
    }
}

fn schedule(service: &Service, every: Duration) {
    let request =
        ScrubRequest { bytes_per_second: DEFAULT_BYTES_PER_SECOND, repair_from: None, actor: "seedhouse".into() };
    while !service.stop().is_set() {
        match service.submit_scrub_if_due(every, &request) {
            Ok(Some(job)) => tracing::info!(job.id = %job.id, "a scrub is due"),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot ask for a scrub that is due");
            }
        }
        service.stop().wait(LOOK_EVERY.min(every));
    }
}
