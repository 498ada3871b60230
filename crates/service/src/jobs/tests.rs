use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use seedhouse_core::{ArtifactStore, Clock, Job, JobState, Kind, RepairSource, RepairSources, SystemClock};
use seedhouse_engine::Engine;
use seedhouse_store::{LocalArtifacts, MemoryJobs, MemoryStore, MemoryTokens};
use tempfile::TempDir;

use super::*;
use crate::{Ports, ScrubReport, ScrubRequest};

/// Repair sources that end a job in the way that their path names.
struct Trouble;

impl RepairSources for Trouble {
    fn source(&self, path: &Path) -> Result<Box<dyn RepairSource>> {
        match path.to_str() {
            Some("/panic") => panic!("on purpose"),
            Some("/internal") => Err(Error::Internal("the secret path /srv/x".into())),
            _ => Err(Error::not_found(Kind::File, path.display())),
        }
    }
}

struct Fixture {
    service: Arc<Service>,
    _folder: TempDir,
}

/// Returns a service whose only artifact has seven bytes: at one byte per second a scrub takes seven seconds.
fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let artifacts = LocalArtifacts::open(folder.path()).unwrap();
    artifacts.publish(artifacts.stage("model.bin", &mut &b"weights"[..]).unwrap()).unwrap();
    let ports = Ports {
        store: Arc::new(MemoryStore::new()),
        artifacts: Arc::new(artifacts),
        tokens: Arc::new(MemoryTokens::new()),
        jobs: Arc::new(MemoryJobs::new()),
        repairs: Arc::new(Trouble),
        clock: Arc::new(SystemClock),
    };
    Fixture { service: Arc::new(Service::new(ports, Engine::new(Vec::new()))), _folder: folder }
}

fn request(bytes_per_second: u64, repair_from: Option<&str>) -> ScrubRequest {
    ScrubRequest { bytes_per_second, repair_from: repair_from.map(Into::into), actor: "test".into() }
}

fn worker(lease: Duration) -> Worker {
    Worker { name: "test worker".into(), kinds: JobKind::ALL.to_vec(), lease }
}

impl Fixture {
    fn submit(&self, bytes_per_second: u64, repair_from: Option<&str>) -> JobId {
        self.service.submit(&request(bytes_per_second, repair_from), "test").unwrap().id
    }

    /// Waits until the job is as it should be.
    fn wait(&self, id: JobId, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        let begun = Instant::now();
        loop {
            let job = self.service.job(id).unwrap();
            if is_so(&job) {
                return job;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "the job never was {what}: {job:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs a worker while `check` runs.
    fn working(&self, lease: Duration, check: impl FnOnce()) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.service.work(&worker(lease)));
            let checked = catch_unwind(AssertUnwindSafe(check));
            self.service.stop().set();
            if let Err(panic) = checked {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

const LEASE: Duration = Duration::from_secs(30);

#[test]
fn job_that_panics_or_fails_is_recorded_and_the_worker_goes_on() {
    let fixture = fixture();
    let panics = fixture.submit(0, Some("/panic"));
    let internal = fixture.submit(0, Some("/internal"));
    let missing = fixture.submit(0, Some("/nowhere"));
    let fine = fixture.submit(0, None);
    fixture.working(LEASE, || {
        let job = fixture.wait(fine, "done", |job| job.state.is_final());
        assert_eq!((job.state, job.error), (JobState::Succeeded, None));
        let report: ScrubReport = serde_json::from_value(job.result.unwrap()).unwrap();
        assert_eq!((report.artifacts, report.size_bytes, report.damaged), (1, 7, 0));
    });
    for (id, code) in [(panics, Code::Internal), (internal, Code::Internal), (missing, Code::NotFound)] {
        let job = fixture.service.job(id).unwrap();
        let error = job.error.unwrap();
        assert_eq!((job.state, error.code), (JobState::Failed, code));
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
    let error = fixture.service.job(missing).unwrap().error.unwrap();
    assert!(error.message.contains("/nowhere"), "{}", error.message);
}

#[test]
fn running_job_is_cancelled_where_its_work_next_looks() {
    let fixture = fixture();
    let id = fixture.submit(1, None);
    fixture.working(LEASE, || {
        fixture.wait(id, "running", |job| job.state == JobState::Running);
        assert_eq!(fixture.service.cancel_job(id).unwrap().state, JobState::Running);
        let begun = Instant::now();
        let job = fixture.wait(id, "cancelled", |job| job.state.is_final());
        assert_eq!((job.state, job.result), (JobState::Cancelled, None));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    });
    let error = fixture.service.cancel_job(id).unwrap_err();
    assert!(error.to_string().contains("`cancelled`"), "{error}");
}

#[test]
fn worker_that_stops_gives_its_job_back_and_the_next_one_does_it() {
    let fixture = fixture();
    let id = fixture.submit(1, None);
    fixture.working(LEASE, || {
        fixture.wait(id, "running", |job| job.state == JobState::Running);
    });
    let job = fixture.service.job(id).unwrap();
    assert_eq!((job.state, job.attempt), (JobState::Queued, 0));
}

#[test]
fn progress_keeps_a_lease_that_is_shorter_than_the_work() {
    let fixture = fixture();
    // Seven bytes at three per second take more than two seconds.
    let id = fixture.submit(3, None);
    fixture.working(Duration::from_millis(600), || {
        let told = fixture.wait(id, "told about", |job| job.progress.is_some());
        assert_eq!(told.progress.unwrap().total, Some(7));
        let job = fixture.wait(id, "done", |job| job.state.is_final());
        assert_eq!((job.state, job.attempt), (JobState::Succeeded, 1));
        assert_eq!(job.progress.unwrap().done, 7);
        assert!(job.finished_at.unwrap() > job.started_at.unwrap().after(Duration::from_secs(2)).unwrap());
    });
}

#[test]
fn attempt_that_lost_its_lease_writes_nothing() {
    let fixture = fixture();
    let id = fixture.submit(0, None);
    let claim = |at| Claim { kinds: JobKind::ALL.to_vec(), only: None, worker: "other".into(), at, lease: LEASE };
    let now = SystemClock.now();
    let (job, lost) = fixture.service.jobs.claim(&claim(now)).unwrap().unwrap();
    fixture.service.jobs.claim(&claim(now.after(2 * LEASE).unwrap())).unwrap().unwrap();
    fixture.service.attempt(&job, lost, &worker(LEASE), &Unwatched);
    let job = fixture.service.job(id).unwrap();
    assert_eq!((job.state, job.attempt, job.result), (JobState::Running, 2, None));
}

#[test]
fn scrub_is_due_when_none_is_under_way_and_the_last_one_is_long_ago() {
    let fixture = fixture();
    let due = |every| fixture.service.submit_scrub_if_due(every, &request(0, None)).unwrap();
    let first = due(Duration::from_secs(3600)).unwrap();
    assert!(due(Duration::from_nanos(1)).is_none(), "one is queued");
    fixture.service.cancel_job(first.id).unwrap();
    assert!(due(Duration::from_secs(3600)).is_none(), "one was asked for a moment ago");
    std::thread::sleep(Duration::from_millis(2));
    assert!(due(Duration::from_millis(1)).is_some());
}

#[test]
fn jobs_come_in_pages_and_a_page_of_nothing_is_refused() {
    let fixture = fixture();
    let ids: Vec<JobId> = (0..3).map(|_| fixture.submit(0, None)).collect();
    let page = |before| {
        let (jobs, next) = fixture.service.list_jobs(&JobQuery { before, limit: 2, ..JobQuery::default() }).unwrap();
        (jobs.iter().map(|job| job.id).collect::<Vec<_>>(), next)
    };
    assert_eq!(page(None), (vec![ids[2], ids[1]], Some(ids[1])));
    assert_eq!(page(Some(ids[1])), (vec![ids[0]], None));
    assert_eq!(fixture.service.list_jobs(&JobQuery::default()).unwrap_err().field(), Some("limit"));
}
