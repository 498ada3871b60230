//! What every job store promises, whatever it keeps its jobs in.

#![expect(clippy::unwrap_used, reason = "a promise that is not kept shows as a panic")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use seedhouse_core::{
    Claim, Code, Error, Job, JobError, JobId, JobKind, JobOutcome, JobProgress, JobQuery, JobReport, JobState,
    JobStore, Kind, Lease, LogLine, MOST_ATTEMPTS, NewJob, ProgressUnit, Timestamp,
};
use serde_json::json;

use crate::suite::{Claim as Promise, check};

type Store = Arc<dyn JobStore>;

/// Checks every promise of the port on stores that `make` gives: a new, empty one per promise.
///
/// # Panics
/// When a promise is not kept; the message names each that is not.
pub fn job_store_suite(make: &dyn Fn() -> Store) {
    macro_rules! claims {
        ($($claim:ident,)*) => {
            [$((stringify!($claim), Box::new(|| $claim(make())) as Box<dyn Fn() + '_>),)*]
        };
    }
    let claims: [Promise<'_>; _] = claims![
        job_comes_back_as_it_was_asked_for,
        oldest_job_is_claimed_first_and_once,
        jobs_of_kinds_that_the_worker_cannot_do_are_left,
        many_workers_at_once_claim_every_job_once,
        report_is_kept_and_the_result_too,
        failed_job_says_why,
        job_of_a_lost_worker_is_claimed_again_after_its_lease,
        renewed_lease_holds_longer,
        worker_that_lost_its_lease_cannot_write_any_more,
        job_whose_worker_is_lost_each_time_fails,
        released_job_is_queued_at_once_and_its_attempt_does_not_count,
        queued_job_is_cancelled_at_once,
        worker_of_a_running_job_hears_that_it_is_cancelled,
        cancelled_job_of_a_lost_worker_is_not_begun_again,
        finished_job_is_not_cancelled,
        job_that_leaves_milestones_is_begun_again_as_often_as_needed,
        worker_that_wants_one_job_gets_no_other,
        unknown_job_is_named,
        jobs_are_listed_newest_first_in_pages,
        jobs_are_counted_by_state,
        old_finished_jobs_are_forgotten_and_numbers_are_not_given_again,
    ];
    check("job store", &claims);
}

const LEASE: Duration = Duration::from_secs(30);

/// Returns a time some seconds after the beginning.
fn at(seconds: u64) -> Timestamp {
    let start: Timestamp = "2026-03-01T12:00:00.000001Z".parse().unwrap();
    start.after(Duration::from_secs(seconds)).unwrap()
}

fn enqueue(store: &Store, seconds: u64) -> JobId {
    let request = json!({"作物": "小麦", "n": seconds});
    store.enqueue(NewJob { kind: JobKind::Scrub, request, actor: "小王".into(), at: at(seconds) }).unwrap().id
}

fn claim(store: &Store, seconds: u64) -> Option<(Job, Lease)> {
    let claim =
        Claim { kinds: JobKind::ALL.to_vec(), only: None, worker: "worker one".into(), at: at(seconds), lease: LEASE };
    store.claim(&claim).unwrap()
}

fn finish(store: &Store, lease: &Lease, seconds: u64, outcome: JobOutcome) -> Job {
    store.finish(lease, at(seconds), &JobReport::default(), outcome).unwrap()
}

fn renew(store: &Store, lease: &Lease, seconds: u64) -> bool {
    store.renew(lease, at(seconds), LEASE, &JobReport::default()).unwrap()
}

fn done() -> JobOutcome {
    JobOutcome::Succeeded(json!({"artifacts": 3}))
}

fn job_comes_back_as_it_was_asked_for(store: Store) {
    let id = enqueue(&store, 0);
    let job = store.job(id).unwrap();
    assert_eq!((job.id, job.kind, job.state), (id, JobKind::Scrub, JobState::Queued));
    assert_eq!((job.request, job.actor.as_str()), (json!({"作物": "小麦", "n": 0}), "小王"));
    assert_eq!((job.created_at, job.started_at, job.finished_at), (at(0), None, None));
    assert_eq!((job.attempt, job.cancel_requested, job.log.len()), (0, false, 0));
}

fn oldest_job_is_claimed_first_and_once(store: Store) {
    assert!(claim(&store, 0).is_none());
    let ids = [enqueue(&store, 1), enqueue(&store, 2)];
    for id in ids {
        let (job, lease) = claim(&store, 3).unwrap();
        assert_eq!((job.id, lease.job, job.state, job.attempt), (id, id, JobState::Running, 1));
        assert_eq!(job.started_at, Some(at(3)));
        assert_eq!(store.job(id).unwrap(), job);
        assert!(job.log[0].text.contains("worker one"), "{:?}", job.log);
    }
    assert!(claim(&store, 4).is_none());
}

fn jobs_of_kinds_that_the_worker_cannot_do_are_left(store: Store) {
    enqueue(&store, 0);
    let claim = Claim { kinds: Vec::new(), only: None, worker: "idle".into(), at: at(1), lease: LEASE };
    assert!(store.claim(&claim).unwrap().is_none());
}

fn many_workers_at_once_claim_every_job_once(store: Store) {
    let expected: BTreeSet<JobId> = (0..24).map(|number| enqueue(&store, number)).collect();
    let claimed: Vec<JobId> = thread::scope(|scope| {
        let work = || std::iter::from_fn(|| claim(&store, 30).map(|(job, _)| job.id)).collect::<Vec<_>>();
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(claimed.len(), expected.len(), "{claimed:?}");
    assert_eq!(claimed.into_iter().collect::<BTreeSet<_>>(), expected);
}

fn report_is_kept_and_the_result_too(store: Store) {
    let id = enqueue(&store, 0);
    let (_, lease) = claim(&store, 1).unwrap();
    let progress = JobProgress { stage: "hashing".into(), done: 7, total: Some(9), unit: ProgressUnit::Bytes };
    let log = vec![LogLine { at: at(2), text: "begun".into() }];
    let report = JobReport { progress: Some(progress.clone()), log, ..JobReport::default() };
    assert!(!store.renew(&lease, at(2), LEASE, &report).unwrap());
    assert_eq!(store.job(id).unwrap().progress, Some(progress.clone()));
    let last = LogLine { at: at(3), text: "ended".into() };
    let report = JobReport { log: vec![last.clone()], ..JobReport::default() };
    let job = store.finish(&lease, at(3), &report, done()).unwrap();
    assert_eq!((job.state, job.finished_at), (JobState::Succeeded, Some(at(3))));
    assert_eq!((&job.progress, &job.result), (&Some(progress), &Some(json!({"artifacts": 3}))));
    assert_eq!((job.log.len(), job.log.last()), (3, Some(&last)));
    assert_eq!(store.job(id).unwrap(), job);
    assert!(claim(&store, 1000).is_none(), "what is finished is not begun again");
}

fn failed_job_says_why(store: Store) {
    enqueue(&store, 0);
    let (_, lease) = claim(&store, 1).unwrap();
    let error = JobError { code: Code::Exhausted, message: "the disk is full".into(), hint: Some("free it".into()) };
    let job = finish(&store, &lease, 2, JobOutcome::Failed(error.clone()));
    assert_eq!((job.state, job.error), (JobState::Failed, Some(error)));
}

fn job_of_a_lost_worker_is_claimed_again_after_its_lease(store: Store) {
    let id = enqueue(&store, 0);
    claim(&store, 1).unwrap();
    assert!(claim(&store, 30).is_none(), "the lease has a second left");
    let (job, lease) = claim(&store, 31).unwrap();
    assert_eq!((job.id, job.attempt, job.started_at), (id, 2, Some(at(1))));
    assert!(job.log.iter().any(|line| line.text.contains("lost")), "{:?}", job.log);
    assert_eq!(finish(&store, &lease, 32, done()).state, JobState::Succeeded);
}

fn renewed_lease_holds_longer(store: Store) {
    enqueue(&store, 0);
    let (_, lease) = claim(&store, 1).unwrap();
    assert!(!renew(&store, &lease, 20));
    assert!(claim(&store, 49).is_none());
    assert!(claim(&store, 50).is_some());
}

fn worker_that_lost_its_lease_cannot_write_any_more(store: Store) {
    let id = enqueue(&store, 0);
    let (_, lost) = claim(&store, 1).unwrap();
    let (_, held) = claim(&store, 40).unwrap();
    let assert_refused = |stage: &str| {
        let before = store.job(id).unwrap();
        let report = JobReport { log: vec![LogLine { at: at(41), text: "stale".into() }], ..JobReport::default() };
        for outcome in [done(), JobOutcome::Cancelled, JobOutcome::Released] {
            let error = store.finish(&lost, at(41), &report, outcome).unwrap_err();
            assert!(matches!(error, Error::Changed { .. }), "{stage}: {error}");
            assert!(error.to_string().contains(&format!("job `{id}`")), "{error}");
        }
        assert!(matches!(store.renew(&lost, at(41), LEASE, &report), Err(Error::Changed { .. })), "{stage}");
        assert_eq!(store.job(id).unwrap(), before, "{stage}: nothing is written");
    };
    assert_refused("while the next one works");
    assert!(!renew(&store, &held, 42));
    finish(&store, &held, 43, done());
    assert_refused("when the job is done");
}

fn job_whose_worker_is_lost_each_time_fails(store: Store) {
    let id = enqueue(&store, 0);
    for attempt in 0..u64::from(MOST_ATTEMPTS) {
        assert!(claim(&store, attempt * 100).is_some(), "attempt {attempt}");
    }
    let next = enqueue(&store, 500);
    assert_eq!(claim(&store, 1000).unwrap().0.id, next, "the next one in the queue is not kept waiting");
    let job = store.job(id).unwrap();
    assert_eq!((job.state, job.finished_at, job.attempt), (JobState::Failed, Some(at(1000)), MOST_ATTEMPTS));
    assert!(job.error.unwrap().message.contains("lost 3 times"));
}

fn released_job_is_queued_at_once_and_its_attempt_does_not_count(store: Store) {
    let id = enqueue(&store, 0);
    for round in 0..2 * u64::from(MOST_ATTEMPTS) {
        let (job, lease) = claim(&store, round).unwrap();
        assert_eq!((job.id, job.attempt), (id, 1));
        let released = finish(&store, &lease, round, JobOutcome::Released);
        assert_eq!((released.state, released.attempt, released.finished_at), (JobState::Queued, 0, None));
        let late = store.finish(&lease, at(round), &JobReport::default(), done());
        assert!(matches!(late, Err(Error::Changed { .. })), "what was given back is not finished");
    }
}

fn queued_job_is_cancelled_at_once(store: Store) {
    let id = enqueue(&store, 0);
    let job = store.cancel(id, at(1)).unwrap();
    assert_eq!((job.state, job.finished_at, job.attempt), (JobState::Cancelled, Some(at(1)), 0));
    assert!(claim(&store, 2).is_none());
}

fn worker_of_a_running_job_hears_that_it_is_cancelled(store: Store) {
    for (outcome, state) in [
        (JobOutcome::Cancelled, JobState::Cancelled),
        (JobOutcome::Released, JobState::Cancelled),
        (done(), JobState::Succeeded),
    ] {
        let id = enqueue(&store, 0);
        let (_, lease) = claim(&store, 1).unwrap();
        for _ in 0..2 {
            let job = store.cancel(id, at(2)).unwrap();
            assert_eq!((job.state, job.cancel_requested), (JobState::Running, true));
        }
        assert!(renew(&store, &lease, 3));
        assert_eq!(finish(&store, &lease, 4, outcome).state, state);
    }
}

fn cancelled_job_of_a_lost_worker_is_not_begun_again(store: Store) {
    let id = enqueue(&store, 0);
    claim(&store, 1).unwrap();
    store.cancel(id, at(2)).unwrap();
    assert!(claim(&store, 40).is_none());
    assert_eq!(store.job(id).unwrap().state, JobState::Cancelled);
}

fn finished_job_is_not_cancelled(store: Store) {
    let id = enqueue(&store, 0);
    let (_, lease) = claim(&store, 1).unwrap();
    finish(&store, &lease, 2, done());
    let error = store.cancel(id, at(3)).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.to_string().contains(&format!("job `{id}` is `succeeded`")), "{error}");
}

fn job_that_leaves_milestones_is_begun_again_as_often_as_needed(store: Store) {
    let id = enqueue(&store, 0);
    let report = JobReport { milestone: true, figures: Some(json!({"loss": 0.5})), ..JobReport::default() };
    let mut now = 1;
    for attempt in 1..=3 * MOST_ATTEMPTS {
        let (job, lease) = claim(&store, now).unwrap();
        assert_eq!(job.attempt, attempt);
        store.renew(&lease, at(now + 1), LEASE, &report).unwrap();
        now += 40;
    }
    assert_eq!(store.job(id).unwrap().figures, Some(json!({"loss": 0.5})));
    // Without one it ends as any other.
    for _ in 1..MOST_ATTEMPTS {
        claim(&store, now).unwrap();
        now += 40;
    }
    claim(&store, now).unwrap();
    assert!(claim(&store, now + 40).is_none());
    assert_eq!(store.job(id).unwrap().state, JobState::Failed);
}

fn worker_that_wants_one_job_gets_no_other(store: Store) {
    let (first, second) = (enqueue(&store, 0), enqueue(&store, 1));
    let only = |id: JobId, seconds: u64| {
        let kinds = JobKind::ALL.to_vec();
        let claim = Claim { kinds, only: Some(id), worker: "worker one".into(), at: at(seconds), lease: LEASE };
        store.claim(&claim).unwrap().map(|(job, _)| job.id)
    };
    assert_eq!(only(second, 2), Some(second));
    assert_eq!(only(second, 3), None, "it is claimed");
    assert_eq!(only(JobId(u64::MAX), 3), None);
    assert_eq!(claim(&store, 4).map(|(job, _)| job.id), Some(first));
}

fn unknown_job_is_named(store: Store) {
    for error in [store.job(JobId(7)).unwrap_err(), store.cancel(JobId(u64::MAX), at(0)).unwrap_err()] {
        assert!(matches!(error, Error::NotFound { kind: Kind::Job, .. }), "{error}");
    }
}

fn jobs_are_listed_newest_first_in_pages(store: Store) {
    let ids: Vec<JobId> = (0..5).map(|number| enqueue(&store, number)).collect();
    store.cancel(ids[1], at(9)).unwrap();
    store.cancel(ids[3], at(9)).unwrap();
    let listed = |query: JobQuery| store.jobs(&query).unwrap().iter().map(|job| job.id).collect::<Vec<_>>();
    let first = listed(JobQuery { limit: 2, ..JobQuery::default() });
    assert_eq!(first, [ids[4], ids[3]]);
    enqueue(&store, 10);
    let rest = listed(JobQuery { limit: 9, before: Some(first[1]), ..JobQuery::default() });
    assert_eq!(rest, [ids[2], ids[1], ids[0]]);
    let cancelled = JobQuery { state: Some(JobState::Cancelled), kind: Some(JobKind::Scrub), before: None, limit: 9 };
    assert_eq!(listed(cancelled), [ids[3], ids[1]]);
    assert!(listed(JobQuery { state: Some(JobState::Failed), limit: 9, ..JobQuery::default() }).is_empty());
}

fn jobs_are_counted_by_state(store: Store) {
    assert!(store.job_counts().unwrap().is_empty());
    let ids: Vec<JobId> = (0..4).map(|number| enqueue(&store, number)).collect();
    claim(&store, 5).unwrap();
    store.cancel(ids[2], at(6)).unwrap();
    let counts: Vec<(JobState, u64)> = store.job_counts().unwrap().into_iter().collect();
    assert_eq!(counts, [(JobState::Queued, 2), (JobState::Running, 1), (JobState::Cancelled, 1)]);
}

fn old_finished_jobs_are_forgotten_and_numbers_are_not_given_again(store: Store) {
    let ids: Vec<JobId> = (0..6).map(|number| enqueue(&store, number)).collect();
    for id in &ids[1..] {
        store.cancel(*id, at(9)).unwrap();
    }
    assert_eq!(store.prune(2).unwrap(), 3);
    assert_eq!(store.prune(2).unwrap(), 0);
    let left: Vec<JobId> =
        store.jobs(&JobQuery { limit: 9, ..JobQuery::default() }).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(left, [ids[5], ids[4], ids[0]], "the queued one stays whatever its age");
    store.prune(0).unwrap();
    assert!(enqueue(&store, 10) > ids[5]);
}
