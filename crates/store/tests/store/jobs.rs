//! The job stores: the behaviour suite of the port, and what SQLite promises beyond it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use seedhouse_core::{Claim, Code, Job, JobId, JobKind, JobQuery, JobStore, NewJob, Timestamp};
use seedhouse_store::{MemoryJobs, SqliteStore};
use seedhouse_testkit::job_store::job_store_suite;
use serde_json::json;

fn enqueue(store: &SqliteStore) -> Job {
    let new = NewJob { kind: JobKind::Scrub, request: json!({}), actor: "test".into(), at: Timestamp::now() };
    store.enqueue(new).unwrap()
}

#[test]
fn memory_jobs_keep_every_promise_of_the_port() {
    job_store_suite(&|| Arc::new(MemoryJobs::new()));
}

#[test]
fn sqlite_jobs_keep_every_promise_of_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    job_store_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(SqliteStore::open(&folder.path().join(format!("{}.db", count.get()))).unwrap())
    });
    assert!(count.get() > 15, "each promise is checked on a store of its own");
}

#[test]
fn two_stores_on_one_file_claim_each_job_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let stores = [SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap()];
    let expected: Vec<JobId> = (0..20).map(|number| enqueue(&stores[number % 2]).id).collect();
    let claim = |store: &SqliteStore| {
        let lease = Duration::from_secs(60);
        let claim = Claim { kinds: JobKind::ALL.to_vec(), only: None, worker: "w".into(), at: Timestamp::now(), lease };
        store.claim(&claim).unwrap().map(|(job, _)| job.id)
    };
    let mut claimed: Vec<JobId> = std::thread::scope(|scope| {
        let workers =
            stores.each_ref().map(|store| scope.spawn(move || std::iter::from_fn(|| claim(store)).collect::<Vec<_>>()));
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    claimed.sort();
    assert_eq!(claimed, expected);
}

#[test]
fn jobs_outlive_the_store_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let job = enqueue(&SqliteStore::open(&path).unwrap());
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.job(job.id).unwrap(), job);
    Connection::open(&path).unwrap().execute("UPDATE job SET job = replace(job, 'scrub', 'conquer')", []).unwrap();
    let all = JobQuery { limit: 9, ..JobQuery::default() };
    for error in [store.job(job.id).unwrap_err(), store.jobs(&all).unwrap_err()] {
        assert_eq!(error.code(), Code::Corrupt);
        assert!(error.to_string().contains("job 1") && error.to_string().contains("conquer"), "{error}");
    }
}
