//! What SQLite promises beyond the port: durability, several openers, and files that are not its own.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use seedhouse_core::{Code, Error, MetadataStore, Query};
use seedhouse_store::SqliteStore;

use crate::registering::register;

#[test]
fn reopening_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way/seedhouse.db");
    let store = SqliteStore::open(&path).unwrap();
    for base in ["小麦", "b", "小麦"] {
        register(&store, base).unwrap();
    }
    let everything = |store: &SqliteStore| {
        let entries = store.search(&Query::default()).unwrap().entries;
        (entries, store.events(0, 10).unwrap(), store.statistics().unwrap(), store.revision().unwrap())
    };
    let before = everything(&store);
    drop(store);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(everything(&store), before);
    let next = register(&store, "小麦").unwrap();
    assert_eq!((next.entry.ordinal, next.revision), (3, 4));
    store.events(3, 1).unwrap()[0].check(before.1.last().map(|event| (event.sequence, event.digest)).as_ref()).unwrap();
}

#[test]
fn two_stores_on_one_file_give_ordinals_without_gaps() {
    const THREADS: usize = 4;
    const EACH: usize = 25;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let stores = [SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap()];
    thread::scope(|scope| {
        for store in &stores {
            for _ in 0..THREADS {
                scope.spawn(move || (0..EACH).for_each(|_| drop(register(store, "并发").unwrap())));
            }
        }
    });
    let total = (stores.len() * THREADS * EACH) as u64;
    for store in &stores {
        assert_eq!(store.revision().unwrap(), total, "each sees the changes of the other");
        let mut ordinals: Vec<u64> =
            store.versions(&"并发".parse().unwrap()).unwrap().iter().map(|entry| entry.ordinal).collect();
        ordinals.sort_unstable();
        assert_eq!(ordinals, (1..=total).collect::<Vec<_>>());
        let mut last = None;
        for event in store.events(0, usize::MAX).unwrap() {
            event.check(last.as_ref()).unwrap();
            last = Some((event.sequence, event.digest));
        }
    }
}

#[test]
fn many_openers_of_a_new_file_all_succeed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| register(&SqliteStore::open(&path).unwrap(), "m").unwrap());
        }
    });
    assert_eq!(SqliteStore::open(&path).unwrap().revision().unwrap(), 8);
}

#[test]
fn opening_an_existing_database_does_not_wait_for_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    register(&SqliteStore::open(&path).unwrap(), "m").unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(store.revision().unwrap(), 1);
    assert!(begun.elapsed() < Duration::from_secs(4), "opening took {:?}", begun.elapsed());
}

#[test]
fn process_that_writes_now_and_then_gets_its_turn_beside_one_that_never_stops() {
    const THREADS: usize = 64;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let [busy, other] = [SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap()];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    register(&busy, "m").unwrap();
                }
            });
        }
        // Two batches of the busy one may be under way; each has at most one change per thread.
        let passed = (0..20).map(|_| {
            let before = other.revision().unwrap();
            register(&other, "n").unwrap();
            other.revision().unwrap() - before
        });
        let passed: Vec<u64> = passed.collect();
        stop.store(true, Ordering::Relaxed);
        let most = passed.iter().max().unwrap();
        assert!(*most <= 3 * THREADS as u64, "so many changes of the busy one went before: {passed:?}");
    });
}

#[test]
fn database_of_a_newer_program_is_refused_with_both_numbers_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    register(&SqliteStore::open(&path).unwrap(), "m").unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert_eq!(error.code(), Code::Unsupported);
    let text = error.to_string();
    assert!(text.contains("layout 7") && text.contains("up to 3") && text.contains("seedhouse.db"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn file_that_is_no_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in [
        ("short", b"not a database".to_vec()),
        ("long", b"not a database ".repeat(1000)),
        ("zeros", vec![0; 8192]),
        ("half", [b"SQLite format 3\0".as_slice(), &[7; 5000]].concat()),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, &content).unwrap();
        let error = SqliteStore::open(&path).err().unwrap_or_else(|| panic!("`{name}` was opened"));
        assert!(matches!(error, Error::CorruptState { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read(&path).unwrap(), content, "{name}");
    }
}

#[test]
fn database_of_another_program_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE version (id INTEGER); PRAGMA user_version = 1;").unwrap();
    other.close().unwrap();
    let before = fs::read(&path).unwrap();
    let error = SqliteStore::open(&path).err().unwrap();
    assert!(error.to_string().contains("another program"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn damaged_row_is_reported_and_not_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let store = SqliteStore::open(&path).unwrap();
    for _ in 0..2 {
        register(&store, "小麦").unwrap();
    }
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE version SET record = '{\"model_id\": 7}' WHERE ordinal = 1", []).unwrap();
    let error = store.search(&Query::default()).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.to_string().contains("version 1 of `小麦`"), "{error}");
    assert!(store.version(&"小麦/2".parse().unwrap()).is_ok());
}

#[test]
fn edited_event_is_found_by_its_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seedhouse.db");
    let store = SqliteStore::open(&path).unwrap();
    register(&store, "m").unwrap();
    store.events(0, 1).unwrap()[0].check(None).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute("UPDATE event SET actor = 'nobody'", []).unwrap();
    assert!(store.events(0, 1).unwrap()[0].check(None).is_err());
}
