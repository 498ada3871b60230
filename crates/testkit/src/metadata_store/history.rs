//! Revision, events and time.

use std::sync::Arc;

use seedhouse_core::{Event, MetadataStore, Timestamp};

use super::{change_at, labelled, register, registration, try_register};

type Store = Arc<dyn MetadataStore>;

fn check_chain(events: &[Event]) {
    let mut last = None;
    for event in events {
        event.check(last.as_ref()).unwrap();
        last = Some((event.sequence, event.digest));
    }
}

pub(super) fn revision_grows_by_one_per_change(store: Store) {
    assert_eq!(store.revision().unwrap(), 0);
    for expected in 1..=3 {
        let applied = try_register(&*store, registration("m")).unwrap();
        assert_eq!(applied.revision, expected);
        assert_eq!(store.revision().unwrap(), expected);
    }
}

pub(super) fn refused_change_does_not_move_the_revision(store: Store) {
    register(&*store, labelled("m", "1"));
    try_register(&*store, labelled("m", "1")).unwrap_err();
    assert_eq!(store.revision().unwrap(), 1);
    assert_eq!(store.events(0, 10).unwrap().len(), 1);
}

pub(super) fn events_form_an_intact_chain_with_the_records(store: Store) {
    let mut entries = Vec::new();
    for base in ["小麦", "b", "小麦"] {
        let mut registration = registration(base);
        registration.fields.insert("accuracy".into(), 0.1.into());
        registration.fields.insert("描述".into(), "病虫害".into());
        entries.push(register(&*store, registration));
    }
    let events = store.events(0, 100).unwrap();
    check_chain(&events);
    assert_eq!(events.len(), entries.len());
    for (event, entry) in events.iter().zip(&entries) {
        assert_eq!(event.happening.after, serde_json::to_value(&entry.record).unwrap());
        assert_eq!((event.happening.actor.as_str(), event.happening.action.as_str()), ("suite", "register"));
        assert_eq!(event.happening.subject, entry.record.model_id.as_str());
        assert_eq!(event.happening.at, entry.record.updated_at);
    }
}

pub(super) fn events_come_in_pages(store: Store) {
    for _ in 0..5 {
        register(&*store, registration("m"));
    }
    let numbers =
        |after, limit| -> Vec<u64> { store.events(after, limit).unwrap().iter().map(|event| event.sequence).collect() };
    assert_eq!(numbers(0, 2), [1, 2]);
    assert_eq!(numbers(2, 2), [3, 4]);
    assert_eq!(numbers(4, usize::MAX), [5]);
    assert_eq!(numbers(0, 0), [0; 0]);
    assert_eq!(numbers(5, 2), [0; 0]);
    assert_eq!(numbers(u64::MAX, 2), [0; 0]);
}

pub(super) fn time_never_runs_backwards(store: Store) {
    let time = |text: &str| Timestamp::parse(text).unwrap().0;
    let late = time("2026-03-01T12:00:00.000002Z");
    let early = time("2026-03-01T12:00:00.000001Z");
    let later = time("2027-01-01T00:00:00Z");
    for (at, expected) in [(late, late), (early, late), (later, later), (late, later)] {
        let record = store.apply(change_at(at, registration("m"))).unwrap().entry.record;
        assert_eq!((record.created_at, record.updated_at), (expected, expected), "asked at {at}");
        assert_eq!(store.version(&record.model_id.as_str().parse().unwrap()).unwrap().record.created_at, expected);
    }
    let times: Vec<Timestamp> = store.events(0, 10).unwrap().iter().map(|event| event.happening.at).collect();
    assert_eq!(times, [late, late, later, later]);
    check_chain(&store.events(0, 10).unwrap());
}
