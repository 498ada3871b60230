//! The adapters through their front doors: the behaviour suites of the ports, and what only one adapter promises.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also within its own small functions")]

mod jobs;
mod local_artifacts;
mod metadata_file;
mod registering;
mod searching;
mod settled;
mod sqlite;
mod tokens;

use std::cell::Cell;
use std::sync::Arc;

use seedhouse_store::{LocalArtifacts, MemoryStore, SqliteStore};
use seedhouse_testkit::artifact_store::artifact_store_suite;
use seedhouse_testkit::metadata_store::metadata_store_suite;

use crate::settled::Settled;

#[test]
fn memory_store_keeps_every_promise_of_the_port() {
    metadata_store_suite(&|| Arc::new(MemoryStore::new()));
}

#[test]
fn sqlite_store_keeps_every_promise_of_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    metadata_store_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(SqliteStore::open(&folder.path().join(format!("{}.db", count.get()))).unwrap())
    });
    assert!(count.get() > 30, "each promise is checked on a store of its own");
}

#[test]
fn sqlite_store_keeps_every_promise_with_everything_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let count = Cell::new(0);
    metadata_store_suite(&|| {
        count.set(count.get() + 1);
        Arc::new(Settled::open(&folder.path().join(format!("{}.db", count.get()))))
    });
}

#[test]
fn local_artifacts_keep_every_promise_of_the_port() {
    artifact_store_suite(&|| {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalArtifacts::open(folder.path()).unwrap();
        (folder, Arc::new(store))
    });
}
