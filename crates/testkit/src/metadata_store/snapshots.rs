//! The whole state at one revision, and another store that takes it over.

use std::sync::Arc;

use seedhouse_core::{
    Action, AliasMove, Deletion, DeletionGuard, Entry, Error, Event, ExpectedHolder, MetadataStore, Query,
    RememberedKey, Result, Snapshot,
};
use serde_json::json;

use super::{apply, ids, labelled, register, registration, try_register};

/// The first store is looked at, the second one is filled.
type Stores = [Arc<dyn MetadataStore>; 2];

/// A state at hand, so that a claim can damage it.
#[derive(Debug, Clone, PartialEq)]
struct State {
    revision: u64,
    events: Vec<Event>,
    entries: Vec<Entry>,
    keys: Vec<RememberedKey>,
}

impl State {
    /// Reads in pages of two, so that pages matter.
    fn of(snapshot: &mut dyn Snapshot) -> State {
        fn all<T>(mut next: impl FnMut() -> Result<Vec<T>>) -> Vec<T> {
            let pages = std::iter::from_fn(|| Some(next().unwrap()).filter(|page| !page.is_empty()));
            pages.inspect(|page| assert!(page.len() <= 2)).flatten().collect()
        }
        State {
            revision: snapshot.revision(),
            entries: all(|| snapshot.next_entries(2)),
            events: all(|| snapshot.next_events(2)),
            keys: all(|| snapshot.next_keys(2)),
        }
    }
}

impl Snapshot for State {
    fn revision(&self) -> u64 {
        self.revision
    }

    fn next_events(&mut self, limit: usize) -> Result<Vec<Event>> {
        Ok(self.events.drain(..limit.min(self.events.len())).collect())
    }

    fn next_entries(&mut self, limit: usize) -> Result<Vec<Entry>> {
        Ok(self.entries.drain(..limit.min(self.entries.len())).collect())
    }

    fn next_keys(&mut self, limit: usize) -> Result<Vec<RememberedKey>> {
        Ok(self.keys.drain(..limit.min(self.keys.len())).collect())
    }
}

fn state_of(store: &Arc<dyn MetadataStore>) -> State {
    State::of(&mut *store.snapshot().unwrap())
}

/// Some of everything: three versions of two bases, one deleted, an alias, keys.
fn write_some(store: &dyn MetadataStore) {
    for (base, key) in [("小麦", "乙"), ("m", "a"), ("小麦", "b")] {
        let mut registration = registration(base);
        registration.idempotency_key = Some(key.into());
        registration.fields.insert("metrics".into(), json!({"f1": 0.1, "深度": [1, null]}));
        register(store, registration);
    }
    let (alias, model_id) = ("best".parse().unwrap(), "小麦_v1".parse().unwrap());
    apply(store, Action::MoveAlias(AliasMove { alias, model_id, expected: ExpectedHolder::Any })).unwrap();
    let deletion = Deletion { model_id: "m_v1".parse().unwrap(), guard: DeletionGuard::Force };
    apply(store, Action::Delete(deletion)).unwrap();
}

pub(super) fn snapshot_does_not_see_what_is_written_later([store, _]: Stores) {
    write_some(&*store);
    let mut snapshot = store.snapshot().unwrap();
    let before = state_of(&store);
    register(&*store, registration("小麦"));
    register(&*store, registration("new"));
    assert_eq!(State::of(&mut *snapshot), before);
    assert_eq!((before.revision, before.events.len(), before.entries.len(), before.keys.len()), (5, 5, 3, 3));
    assert!(before.keys.is_sorted_by_key(|key| &key.key));
    drop(snapshot);
    assert_eq!(state_of(&store).revision, 7);
}

pub(super) fn snapshot_of_an_empty_store_is_empty([store, other]: Stores) {
    let mut state = state_of(&store);
    assert_eq!(state, State { revision: 0, events: vec![], entries: vec![], keys: vec![] });
    assert_eq!(other.fill(&mut state).unwrap(), 0);
}

pub(super) fn filled_store_answers_as_the_source_does([source, store]: Stores) {
    write_some(&*source);
    assert_eq!(store.fill(&mut *source.snapshot().unwrap()).unwrap(), source.revision().unwrap());
    assert_eq!(state_of(&store), state_of(&source));
    assert_eq!(store.statistics().unwrap(), source.statistics().unwrap());
    for reference in ["小麦", "小麦/2", "小麦@best", "小麦:1"] {
        let reference = reference.parse().unwrap();
        assert_eq!(store.version(&reference).unwrap(), source.version(&reference).unwrap());
    }
    for filter in ["metrics.f1 = 0.1", "base = '小麦'", "status = ready"] {
        let query = Query { filter: filter.parse().unwrap(), ..Query::default() };
        let found = store.search(&query).unwrap().entries;
        assert_eq!(found, source.search(&query).unwrap().entries);
        assert_eq!(ids(&found), ["小麦_v2", "小麦_v1"], "{filter}: also what searches read is filled");
    }
    assert_eq!(store.history("m_v1").unwrap(), source.history("m_v1").unwrap());
}

pub(super) fn filled_store_goes_on_where_the_source_was([source, store]: Stores) {
    write_some(&*source);
    store.fill(&mut *source.snapshot().unwrap()).unwrap();
    let mut again = registration("小麦");
    again.idempotency_key = Some("乙".into());
    again.fields.insert("metrics".into(), json!({"f1": 0.1, "深度": [1, null]}));
    assert_eq!(register(&*store, again).record.model_id.as_str(), "小麦_v1", "a replay returns the same version");
    let next = register(&*store, registration("小麦"));
    assert_eq!((next.ordinal, next.revision), (3, 6));
    let last = store.events(4, 1).unwrap().pop().map(|event| (event.sequence, event.digest));
    store.events(5, 1).unwrap()[0].check(last.as_ref()).unwrap();
    assert!(try_register(&*store, labelled("m", "1")).is_err(), "names of deleted versions stay taken");
}

pub(super) fn store_that_holds_something_is_not_filled([source, store]: Stores) {
    write_some(&*source);
    register(&*store, registration("x"));
    let before = state_of(&store);
    let error = store.fill(&mut *source.snapshot().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotEmpty { versions: 1, events: 1 }), "{error}");
    assert_eq!(state_of(&store), before);
}

pub(super) fn damaged_state_is_refused_and_nothing_of_it_is_kept([source, store]: Stores) {
    write_some(&*source);
    let whole = state_of(&source);
    type Damage = fn(&mut State);
    let cases: [(&str, Damage); 10] = [
        ("event 3", |state| drop(state.events.remove(1))),
        ("event 2", |state| state.events[1].happening.actor = "nobody".into()),
        ("event 3", |state| state.events.swap(1, 2)),
        ("event 4", |state| drop(state.events.pop())),
        ("revision is 6", |state| state.revision = 6),
        ("ordinal is 2", |state| drop(state.entries.remove(0))),
        ("at revision 99", |state| state.entries[1].revision = 99),
        ("`m_v1`", |state| state.entries.push(Entry { ordinal: 2, ..state.entries[1].clone() })),
        ("`m_v1`, which is not there", |state| drop(state.entries.remove(1))),
        ("key `a`", |state| state.keys.insert(0, RememberedKey { key: "a".into(), ..state.keys[1].clone() })),
    ];
    for (expected, damage) in cases {
        let mut state = whole.clone();
        damage(&mut state);
        let error = store.fill(&mut state).unwrap_err();
        assert!(matches!(error, Error::CorruptState { .. }), "{error}");
        assert!(error.to_string().contains(expected), "`{expected}` is missing in: {error}");
        assert_eq!(store.revision().unwrap(), 0);
        assert!(store.search(&Query::default()).unwrap().entries.is_empty());
    }
    store.fill(&mut whole.clone()).unwrap();
    assert_eq!(state_of(&store), whole);
}
