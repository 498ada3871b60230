//! Changes that are made all or none, and restorations, which are made that way.

use std::sync::Arc;

use seedhouse_core::{
    Action, AliasMove, Change, Deletion, DeletionGuard, Digest, Edit, Entry, Error, ExpectedHolder, MetadataStore,
    Restoration, Result, Timestamp, Update,
};

use super::{apply, labelled, register, registration};

type Store = Arc<dyn MetadataStore>;

fn change(action: Action) -> Change {
    Change { at: Timestamp::now(), actor: "suite".into(), reason: Some("together".into()), action }
}

fn describe(model_id: &str, text: &str) -> Action {
    let edits = vec![Edit::Description(text.into())];
    Action::Update(Update { model_id: model_id.parse().unwrap(), expected_revision: None, edits })
}

fn delete(model_id: &str) -> Action {
    Action::Delete(Deletion { model_id: model_id.parse().unwrap(), guard: DeletionGuard::Force })
}

fn point(alias: &str, model_id: &str) -> Action {
    let (alias, model_id) = (alias.parse().unwrap(), model_id.parse().unwrap());
    Action::MoveAlias(AliasMove { alias, model_id, expected: ExpectedHolder::Any })
}

fn restoration(entry: &Entry) -> Restoration {
    Restoration { base: entry.base.clone(), ordinal: Some(entry.ordinal), record: entry.record.clone() }
}

fn restore(store: &Store, restoration: Restoration) -> Result<Entry> {
    let changes = vec![change(Action::Restore(Box::new(restoration)))];
    store.apply_all(changes, None).map(|mut applied| applied.pop().unwrap().entry)
}

fn found(store: &Store, reference: &str) -> Result<Entry> {
    store.version(&reference.parse().unwrap())
}

/// Everything that a change may touch.
fn everything(store: &Store) -> impl PartialEq + std::fmt::Debug {
    let events = store.events(0, usize::MAX).unwrap();
    (store.shown().unwrap(), store.deleted().unwrap(), events, store.statistics().unwrap())
}

pub(super) fn changes_made_together_are_all_made_in_their_order(store: Store) {
    let actions = [
        Action::Register(Box::new(labelled("小麦", "1"))),
        describe("小麦_v1", "first"),
        describe("小麦_v1", "second"),
        point("best", "小麦_v1"),
    ];
    let applied = store.apply_all(actions.map(change).into(), Some(0)).unwrap();
    assert_eq!(applied.iter().map(|applied| applied.revision).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(found(&store, "小麦@best").unwrap().record.description(), "second");
    assert!(store.apply_all(Vec::new(), Some(4)).unwrap().is_empty());
}

pub(super) fn one_that_fails_undoes_those_before_it(store: Store) {
    register(&*store, labelled("m", "1"));
    let before = everything(&store);
    let mut with_key = labelled("n", "1");
    with_key.idempotency_key = Some("key".into());
    let actions = [
        describe("m_v1", "changed"),
        Action::Register(Box::new(with_key.clone())),
        point("best", "m_v1"),
        describe("missing_v1", "x"),
        describe("m_v1", "never reached"),
    ];
    let error = store.apply_all(actions.map(change).into(), None).unwrap_err();
    assert!(matches!(&error, Error::NotFound { name, .. } if name == "missing_v1"), "{error}");
    assert_eq!(everything(&store), before);
    assert!(found(&store, "m@best").is_err() && found(&store, "n").is_err());
    // Nor is the idempotency key remembered.
    assert_eq!(register(&*store, with_key).revision, 2);
}

pub(super) fn changes_for_another_revision_are_refused(store: Store) {
    register(&*store, labelled("m", "1"));
    let before = everything(&store);
    for expected in [0, 2] {
        let error = store.apply_all(vec![change(describe("m_v1", "x"))], Some(expected)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Changed { .. }), "{text}");
        assert!(text.contains(&format!("revision {expected}")) && text.contains("revision 1"), "{text}");
    }
    assert_eq!(everything(&store), before);
}

pub(super) fn restored_version_is_what_it_was_and_the_history_says_so(store: Store) {
    let first = register(&*store, labelled("小麦", "1"));
    apply(&*store, describe("小麦_v1", "wrong")).unwrap();
    apply(&*store, point("best", "小麦_v1")).unwrap();
    apply(&*store, delete("小麦_v1")).unwrap();
    let restored = restore(&store, restoration(&first)).unwrap();
    assert!(!restoration(&first).changes(&restored), "{restored:?}");
    assert!(restored.record.updated_at >= first.record.updated_at && restored.revision > first.revision);
    assert_eq!(found(&store, "小麦_v1").unwrap(), restored);
    let event = store.history("小麦_v1").unwrap().pop().unwrap().happening;
    assert_eq!((event.action.as_str(), event.reason.as_deref()), ("restore", Some("together")));
    assert_eq!(event.after, serde_json::to_value(&restored.record).unwrap());
    assert_eq!(event.before["description"], "wrong");
}

pub(super) fn restored_deletion_hides_the_version_and_removes_its_aliases(store: Store) {
    let mut hidden = restoration(&register(&*store, labelled("m", "1")));
    let long_ago = Timestamp::parse("2001-01-01T00:00:00Z").unwrap().0;
    hidden.record.set_deleted_at(Some(long_ago));
    apply(&*store, point("best", "m_v1")).unwrap();
    let restored = restore(&store, hidden.clone()).unwrap();
    let deleted_at = restored.record.deleted_at().unwrap();
    assert!(deleted_at > long_ago, "the retention of its bytes begins with the restoration");
    assert!(found(&store, "m_v1").is_err() && found(&store, "m@best").is_err());
    assert_eq!(store.history("m@best").unwrap().last().unwrap().happening.action, "remove_alias");
    assert_eq!(restore(&store, hidden).unwrap().record.deleted_at(), Some(deleted_at), "and not again");
}

pub(super) fn missing_version_is_added_only_at_its_place(store: Store) {
    let model = register(&*store, registration("other"));
    let mut missing = restoration(&model);
    missing.base = "m".parse().unwrap();
    missing.record.model_id = "m_v7".parse().unwrap();
    missing.record.version = "7".parse().unwrap();
    missing.ordinal = Some(2);
    let error = restore(&store, missing.clone()).unwrap_err();
    assert!(matches!(error, Error::NotRestorable { .. }), "{error}");
    assert!(error.to_string().contains("ordinal is 2") && error.to_string().contains("is 1"), "{error}");
    missing.ordinal = Some(1);
    assert_eq!(restore(&store, missing).unwrap().ordinal, 1);
    assert_eq!(store.history("m_v7").unwrap()[0].happening.action, "restore");
    assert_eq!(register(&*store, registration("m")).ordinal, 2);
}

pub(super) fn restoration_of_another_version_of_the_same_name_is_refused(store: Store) {
    let mut other = restoration(&register(&*store, registration("m")));
    other.record.fields.insert("digest".into(), Digest::of("other bytes").to_string().into());
    let before = everything(&store);
    let error = restore(&store, other).unwrap_err();
    assert!(matches!(error, Error::NotRestorable { .. }), "{error}");
    assert!(error.to_string().contains(&Digest::of("other bytes").to_string()), "{error}");
    assert_eq!(everything(&store), before);
}
