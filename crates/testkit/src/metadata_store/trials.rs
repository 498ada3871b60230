//! Trials of aliases: they are kept, end when the alias moves, and have events of their own.

use std::sync::Arc;

use seedhouse_core::{
    Action, AliasMove, AliasRemoval, Code, Deletion, DeletionGuard, Edit, Entry, ExpectedHolder, MetadataStore, Result,
    Share, Status, Trial, TrialKind, TrialSetting, Update,
};
use serde_json::{Value, json};

use super::{apply, labelled, register};

type Store = Arc<dyn MetadataStore>;

fn trial(model_id: &str, share: f64) -> Trial {
    Trial { model_id: model_id.parse().unwrap(), share: Share::try_from(share).unwrap() }
}

fn set(store: &Store, alias: &str, kind: TrialKind, trial: Option<Trial>) -> Result<Entry> {
    let setting = TrialSetting { base: "m".parse().unwrap(), alias: alias.parse().unwrap(), kind, trial };
    apply(&**store, Action::SetTrial(setting)).map(|applied| applied.entry)
}

fn point(store: &Store, model_id: &str) -> Entry {
    let (alias, model_id) = ("冠军".parse().unwrap(), model_id.parse().unwrap());
    apply(&**store, Action::MoveAlias(AliasMove { alias, model_id, expected: ExpectedHolder::Any })).unwrap().entry
}

/// Three versions of `m`, of which the alias points at the first, and one of another model.
fn registered(store: &Store) {
    for version in ["1", "2", "3"] {
        register(&**store, labelled("m", version));
    }
    register(&**store, labelled("other", "1"));
    point(store, "m_v1");
}

fn events(store: &Store) -> Vec<(String, Value, Value)> {
    let events = store.history("m@冠军").unwrap().into_iter();
    events.map(|event| (event.happening.action, event.happening.before, event.happening.after)).collect()
}

fn shown(store: &Store) -> Entry {
    store.version(&"m@冠军".parse().unwrap()).unwrap()
}

pub(super) fn trials_are_read_with_their_alias_and_have_events(store: Store) {
    registered(&store);
    set(&store, "冠军", TrialKind::Canary, Some(trial("m_v2", 0.25))).unwrap();
    set(&store, "冠军", TrialKind::Shadow, Some(trial("m_v3", 1.0))).unwrap();
    let changed = set(&store, "冠军", TrialKind::Canary, Some(trial("m_v2", 0.5))).unwrap();
    let expected = json!({"冠军": {
        "canary": {"model_id": "m_v2", "weight": 0.5}, "shadow": {"model_id": "m_v3", "share": 1.0},
    }});
    assert_eq!(changed.record.fields["trials"], expected);
    assert_eq!((shown(&store), changed.revision), (changed.clone(), store.revision().unwrap()));

    let revision = store.revision().unwrap();
    set(&store, "冠军", TrialKind::Canary, Some(trial("m_v2", 0.5))).unwrap();
    assert_eq!(store.revision().unwrap(), revision, "what is there already is no change");
    // A change of the version does not touch them.
    let edits = vec![Edit::Status(Status::Stopped)];
    let update = Update { model_id: "m_v1".parse().unwrap(), expected_revision: None, edits };
    apply(&*store, Action::Update(update)).unwrap();
    assert_eq!(shown(&store).record.fields["trials"], expected);

    set(&store, "冠军", TrialKind::Canary, None).unwrap();
    set(&store, "冠军", TrialKind::Shadow, None).unwrap();
    assert!(!shown(&store).record.fields.contains_key("trials"));
    let canary = |weight: f64| json!({"model_id": "m_v2", "weight": weight});
    let shadow = json!({"model_id": "m_v3", "share": 1.0});
    let expected = [
        ("move_alias", Value::Null, json!("m_v1")),
        ("set_canary", Value::Null, canary(0.25)),
        ("set_shadow", Value::Null, shadow.clone()),
        ("set_canary", canary(0.25), canary(0.5)),
        ("end_canary", canary(0.5), Value::Null),
        ("end_shadow", shadow, Value::Null),
    ];
    assert_eq!(events(&store), expected.map(|(action, before, after)| (action.to_owned(), before, after)));
}

pub(super) fn trials_end_when_the_alias_moves_or_goes(store: Store) {
    registered(&store);
    set(&store, "冠军", TrialKind::Canary, Some(trial("m_v2", 0.1))).unwrap();
    point(&store, "m_v1");
    assert!(shown(&store).record.fields.contains_key("trials"), "it did not move");
    let moved = point(&store, "m_v2");
    let left = store.version(&"m_v1".parse().unwrap()).unwrap();
    for entry in [&moved, &left] {
        assert!(!entry.record.fields.contains_key("trials"), "{:?}", entry.record.fields);
    }
    set(&store, "冠军", TrialKind::Shadow, Some(trial("m_v1", 1.0))).unwrap();
    let (base, alias) = ("m".parse().unwrap(), "冠军".parse().unwrap());
    apply(&*store, Action::RemoveAlias(AliasRemoval { base, alias })).unwrap();
    let left = store.version(&"m_v2".parse().unwrap()).unwrap();
    assert!(!left.record.fields.contains_key("trials"), "{:?}", left.record.fields);
    let actions: Vec<String> = events(&store).into_iter().map(|(action, ..)| action).collect();
    let expected = ["move_alias", "set_canary", "end_canary", "move_alias", "set_shadow", "end_shadow", "remove_alias"];
    assert_eq!(actions, expected);
}

pub(super) fn trials_of_what_cannot_be_tried_are_refused(store: Store) {
    registered(&store);
    let cases = [
        ("nobody", "m_v2", Code::NotFound, "`m@nobody`"),
        ("冠军", "m_v9", Code::NotFound, "`m_v9`"),
        ("冠军", "other_v1", Code::Invalid, "`other`"),
        ("冠军", "m_v1", Code::Invalid, "`m@冠军`"),
    ];
    let revision = store.revision().unwrap();
    for (alias, model_id, code, part) in cases {
        let error = set(&store, alias, TrialKind::Canary, Some(trial(model_id, 0.5))).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(store.revision().unwrap(), revision);
}

pub(super) fn version_that_is_tried_is_not_deleted_unless_forced(store: Store) {
    registered(&store);
    set(&store, "冠军", TrialKind::Canary, Some(trial("m_v2", 0.5))).unwrap();
    let delete = |guard| apply(&*store, Action::Delete(Deletion { model_id: "m_v2".parse().unwrap(), guard }));
    let error = delete(DeletionGuard::RefuseIfNeeded).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.to_string().contains("canary of alias `m@冠军`"), "{error}");
    delete(DeletionGuard::Force).unwrap();
    assert_eq!(shown(&store).record.trial(&"冠军".parse().unwrap(), TrialKind::Canary), None);
}
