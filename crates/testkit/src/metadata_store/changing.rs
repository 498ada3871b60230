//! Changes to versions that exist: updates, aliases, deletion, and what they leave in the history.

use std::sync::Arc;

use seedhouse_core::{
    Action, Adoption, AliasMove, AliasRemoval, Completion, Damage, DamagedFile, Deletion, DeletionGuard, Digest, Edit,
    Entry, Error, Examination, ExpectedHolder, FileEntry, Framework, Kind, Manifest, MetadataStore, Query,
    Registration, Result, SetAside, Status, Timestamp, Update, VisitOrder,
};
use serde_json::{Value, json};

use super::{apply, ids, labelled, register, registration, try_register};

type Store = Arc<dyn MetadataStore>;

fn update(store: &Store, model_id: &str, expected_revision: Option<u64>, edits: Vec<Edit>) -> Result<Entry> {
    let update = Update { model_id: model_id.parse().unwrap(), expected_revision, edits };
    apply(&**store, Action::Update(update)).map(|applied| applied.entry)
}

fn point(store: &Store, alias: &str, model_id: &str, expected: ExpectedHolder) -> Result<Entry> {
    let alias_move = AliasMove { alias: alias.parse().unwrap(), model_id: model_id.parse().unwrap(), expected };
    apply(&**store, Action::MoveAlias(alias_move)).map(|applied| applied.entry)
}

fn delete(store: &Store, model_id: &str, guard: DeletionGuard) -> Result<Entry> {
    let deletion = Deletion { model_id: model_id.parse().unwrap(), guard };
    apply(&**store, Action::Delete(deletion)).map(|applied| applied.entry)
}

fn found(store: &Store, reference: &str) -> Result<String> {
    store.version(&reference.parse().unwrap()).map(|entry| entry.record.model_id.to_string())
}

pub(super) fn update_changes_the_record_and_its_revision(store: Store) {
    let before = register(&*store, registration("小麦"));
    let tag = Edit::Tag { key: "作物".into(), value: Some("小麦".into()) };
    let metric = Edit::ClaimedMetric { name: "accuracy".into(), value: 0.92 };
    let edits = vec![Edit::Status(Status::Stopped), Edit::Name("新名".into()), tag, metric];
    let after = update(&store, "小麦_v1", Some(before.revision), edits).unwrap();
    assert_eq!((after.record.status, after.record.name.as_str()), (Status::Stopped, "新名"));
    assert_eq!(after.record.fields["tags"], json!({"作物": "小麦"}));
    assert_eq!(after.record.fields["accuracy"], 0.92);
    assert_eq!((after.record.created_at, after.ordinal), (before.record.created_at, before.ordinal));
    assert!(after.record.updated_at >= before.record.updated_at && after.revision > before.revision);
    assert_eq!(store.version(&"小麦_v1".parse().unwrap()).unwrap(), after);
    let query = Query { filter: "status = stopped".parse().unwrap(), ..Query::default() };
    assert_eq!(ids(&store.search(&query).unwrap().entries), ["小麦_v1"]);
}

pub(super) fn update_of_an_older_revision_is_refused(store: Store) {
    let first = register(&*store, registration("m"));
    let second = update(&store, "m_v1", None, vec![Edit::Description("two".into())]).unwrap();
    let error = update(&store, "m_v1", Some(first.revision), vec![Edit::Description("three".into())]).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Changed { .. }), "{text}");
    assert!(text.contains(&first.revision.to_string()) && text.contains(&second.revision.to_string()), "{text}");
    assert_eq!(store.version(&"m_v1".parse().unwrap()).unwrap(), second);
}

pub(super) fn step_outside_the_status_table_is_refused_and_leaves_no_trace(store: Store) {
    let entry = register(&*store, registration("m"));
    let revision = store.revision().unwrap();
    let edits = vec![Edit::Description("half".into()), Edit::Status(Status::Trained)];
    assert!(matches!(update(&store, "m_v1", None, edits), Err(Error::StatusChange { .. })));
    assert_eq!(store.version(&"m_v1".parse().unwrap()).unwrap(), entry);
    assert_eq!(store.revision().unwrap(), revision);
}

pub(super) fn alias_points_at_one_version_and_moves(store: Store) {
    register(&*store, labelled("m", "1"));
    register(&*store, labelled("m", "2"));
    register(&*store, labelled("other", "1"));
    point(&store, "冠军", "m_v1", ExpectedHolder::Exactly(None)).unwrap();
    point(&store, "冠军", "other_v1", ExpectedHolder::Any).unwrap();
    assert_eq!(found(&store, "m@冠军").unwrap(), "m_v1");
    assert_eq!(found(&store, "other@冠军").unwrap(), "other_v1");
    let expected = ExpectedHolder::Exactly(Some("m_v1".parse().unwrap()));
    let moved = point(&store, "冠军", "m_v2", expected).unwrap();
    assert_eq!(moved.record.fields["aliases"], json!(["冠军"]));
    assert_eq!(found(&store, "m@冠军").unwrap(), "m_v2");
    let left = store.version(&"m_v1".parse().unwrap()).unwrap();
    assert!(!left.record.fields.contains_key("aliases"));
    assert_eq!(left.revision, moved.revision);
}

pub(super) fn version_without_files_gets_them_once(store: Store) {
    register(&*store, Registration { manifest: None, status: Status::Training, ..registration("m") });
    let file = |path: &str| FileEntry { path: path.parse().unwrap(), size_bytes: 3, digest: Digest::of("abc") };
    let complete = |path: &str| {
        let completion = Completion {
            model_id: "m_v1".parse().unwrap(),
            manifest: Manifest::new(vec![file(path)]).unwrap(),
            framework: Framework::Safetensors,
            fields: json!({"metadata": {"d_model": 8}, "claims": null}).as_object().unwrap().clone(),
            edits: vec![Edit::Status(Status::Trained)],
        };
        apply(&*store, Action::Complete(Box::new(completion))).map(|applied| applied.entry)
    };
    let completed = complete("model.safetensors").unwrap();
    assert_eq!((completed.record.status, &completed.record.framework), (Status::Trained, &Framework::Safetensors));
    assert_eq!(completed.record.fields["metadata"], json!({"d_model": 8}));
    assert_eq!(completed.record.conventional_name().as_deref(), Some("m_v1.safetensors"));
    assert_eq!(store.version(&"m_v1".parse().unwrap()).unwrap(), completed);
    let digest = completed.record.digest().unwrap();
    assert_eq!(found(&store, &format!("m@{digest}")).unwrap(), "m_v1", "it is found by its bytes");
    let error = complete("other.safetensors").unwrap_err();
    assert!(matches!(error, Error::Changed { .. }) && error.to_string().contains(&digest.to_string()), "{error}");
    assert_eq!(store.version(&"m_v1".parse().unwrap()).unwrap(), completed, "nothing was changed");
}

pub(super) fn alias_move_from_another_holder_is_refused(store: Store) {
    register(&*store, labelled("m", "1"));
    register(&*store, labelled("m", "2"));
    point(&store, "best", "m_v1", ExpectedHolder::Any).unwrap();
    for expected in [None, Some("m_v2".parse().unwrap())] {
        let error = point(&store, "best", "m_v2", ExpectedHolder::Exactly(expected)).unwrap_err();
        assert!(error.to_string().contains("`m@best`") && error.to_string().contains("`m_v1`"), "{error}");
    }
    assert_eq!(found(&store, "m@best").unwrap(), "m_v1");
}

pub(super) fn what_is_set_aside_stands_in_the_history_and_changes_no_version(store: Store) {
    let entry = register(&*store, registration("小麦"));
    let set_aside = |model_id: &str| SetAside {
        model_id: model_id.parse().unwrap(),
        values: vec![json!({"record": {"name": "一"}}), json!({"record": {"name": "二"}})],
    };
    assert_eq!(apply(&*store, Action::SetAside(set_aside("小麦_v1"))).unwrap().entry, entry);
    assert_eq!(store.version(&"小麦_v1".parse().unwrap()).unwrap(), entry);
    let history = store.history("小麦_v1").unwrap();
    let aside: Vec<_> = history.iter().filter(|event| event.happening.action == "set_aside").collect();
    assert_eq!(aside.len(), 2);
    assert_eq!(aside[1].happening.after["record"]["name"], "二");
    let missing = apply(&*store, Action::SetAside(set_aside("rice_v1"))).unwrap_err();
    assert!(matches!(missing, Error::NotFound { kind: Kind::ModelId, .. }), "{missing}");
}

pub(super) fn damage_is_marked_and_unmarked_with_an_event_each(store: Store) {
    let before = register(&*store, registration("小麦"));
    let file = DamagedFile {
        path: "权重.bin".parse().unwrap(),
        finding: Damage::Corrupt,
        expected: Digest::of("weights"),
        actual: Some(Digest::of("weighty")),
    };
    let model_id = || "小麦_v1".parse().unwrap();
    let damaged = || Examination { model_id: model_id(), damaged: vec![file.clone()], whole: Vec::new() };
    let whole = || Examination { model_id: model_id(), damaged: Vec::new(), whole: vec![file.path.clone()] };
    let examine = |examination| apply(&*store, Action::Examine(examination)).unwrap().entry;
    assert_eq!(examine(whole()), before, "what is whole anyway is not written");
    let marked = examine(damaged());
    assert!(marked.record.is_corrupt() && marked.revision > before.revision);
    assert_eq!(examine(damaged()), marked, "found again, but nothing new");
    let query = Query { filter: "integrity.state = corrupt".parse().unwrap(), ..Query::default() };
    assert_eq!(store.search(&query).unwrap().entries, std::slice::from_ref(&marked));
    let unmarked = examine(whole());
    assert!(!unmarked.record.is_corrupt() && unmarked.record.restored_at().is_some());
    assert_eq!(store.version(&"小麦_v1".parse().unwrap()).unwrap(), unmarked);
    assert_eq!(store.count(&query, 10).unwrap().number, 0);
    let actions: Vec<String> =
        store.history("小麦_v1").unwrap().into_iter().map(|event| event.happening.action).collect();
    assert_eq!(actions, ["register", "found_corrupt", "found_whole"]);
    let missing = Examination { model_id: "rice_v1".parse().unwrap(), damaged: Vec::new(), whole: Vec::new() };
    assert!(matches!(apply(&*store, Action::Examine(missing)), Err(Error::NotFound { kind: Kind::ModelId, .. })));
}

pub(super) fn removed_alias_is_gone(store: Store) {
    register(&*store, registration("m"));
    point(&store, "best", "m_v1", ExpectedHolder::Any).unwrap();
    let remove = || AliasRemoval { base: "m".parse().unwrap(), alias: "best".parse().unwrap() };
    apply(&*store, Action::RemoveAlias(remove())).unwrap();
    assert!(matches!(found(&store, "m@best"), Err(Error::NotFound { kind: Kind::Version, .. })));
    let again = apply(&*store, Action::RemoveAlias(remove())).unwrap_err();
    assert!(matches!(again, Error::NotFound { kind: Kind::Alias, .. }), "{again}");
}

pub(super) fn deleted_version_is_hidden_and_comes_back_identical(store: Store) {
    let before = register(&*store, labelled("m", "1"));
    let deleted = delete(&store, "m_v1", DeletionGuard::RefuseIfNeeded).unwrap();
    assert!(deleted.record.deleted_at().is_some());
    for reference in ["m", "m_v1", "m/1", "m:1"] {
        assert!(matches!(found(&store, reference), Err(Error::NotFound { kind: Kind::Model, .. })), "{reference}");
    }
    assert!(store.search(&Query::default()).unwrap().entries.is_empty());
    assert!(store.versions(&"m".parse().unwrap()).is_err());
    assert_eq!(store.statistics().unwrap().total_models, 0);
    assert_eq!(store.deleted().unwrap(), std::slice::from_ref(&deleted));
    assert_eq!(store.version_even_deleted(&"m_v1".parse().unwrap()).unwrap(), deleted);
    assert!(matches!(delete(&store, "m_v1", DeletionGuard::Force), Err(Error::NotFound { .. })));

    let back = apply(&*store, Action::Undelete("m_v1".parse().unwrap())).unwrap().entry;
    assert_eq!(back.record.fields, before.record.fields);
    assert_eq!(store.version(&"m".parse().unwrap()).unwrap(), back);
    assert!(apply(&*store, Action::Undelete("m_v1".parse().unwrap())).is_err(), "it is not deleted any more");
}

pub(super) fn visits_show_what_is_not_deleted_in_either_order(store: Store) {
    for base in ["b", "a", "b", "c", "a", "b"] {
        register(&*store, registration(base));
    }
    for model_id in ["b_v1", "c_v1"] {
        delete(&store, model_id, DeletionGuard::RefuseIfNeeded).unwrap();
    }
    let visited = |order: VisitOrder| {
        let mut entries = Vec::new();
        let mut push = |_, entry| {
            entries.push(entry);
            Ok(())
        };
        store.visit_shown(&[order], &mut push).unwrap();
        entries
    };
    assert_eq!(visited(VisitOrder::Registration), store.shown().unwrap());
    assert_eq!(ids(&visited(VisitOrder::Registration)), ["a_v1", "b_v2", "a_v2", "b_v3"]);
    assert_eq!(ids(&visited(VisitOrder::Base)), ["a_v1", "a_v2", "b_v2", "b_v3"]);
    let mut count = 0;
    let ended = store.visit_shown(&[VisitOrder::Base, VisitOrder::Registration], &mut |_, _| {
        count += 1;
        Err(Error::Internal("enough".into()))
    });
    assert_eq!((ended.unwrap_err().to_string().contains("enough"), count), (true, 1));
}

pub(super) fn names_of_deleted_versions_stay_taken(store: Store) {
    register(&*store, labelled("m", "1"));
    delete(&store, "m_v1", DeletionGuard::RefuseIfNeeded).unwrap();
    assert!(matches!(try_register(&*store, labelled("m", "1")), Err(Error::AlreadyExists { .. })));
    let next = register(&*store, registration("m"));
    assert_eq!((next.record.model_id.as_str(), next.ordinal), ("m_v2", 2));
}

pub(super) fn what_is_needed_is_not_deleted_unless_forced(store: Store) {
    register(&*store, labelled("m", "1"));
    let mut child = labelled("m", "2");
    child.fields.insert("parent".into(), "m_v1".into());
    register(&*store, child);
    point(&store, "best", "m_v1", ExpectedHolder::Any).unwrap();
    assert_eq!(ids(&store.children(&"m_v1".parse().unwrap()).unwrap()), ["m_v2"]);
    let error = delete(&store, "m_v1", DeletionGuard::RefuseIfNeeded).unwrap_err().to_string();
    assert!(error.contains("`m@best`") && error.contains("`m_v2`"), "{error}");
    delete(&store, "m_v1", DeletionGuard::Force).unwrap();
    assert!(found(&store, "m@best").is_err());
    let back = apply(&*store, Action::Undelete("m_v1".parse().unwrap())).unwrap().entry;
    assert!(back.record.aliases().is_empty(), "an alias that was removed by force stays removed");
}

pub(super) fn same_idempotency_key_returns_the_same_version(store: Store) {
    let keyed = |description: &str| {
        let mut keyed = Registration { idempotency_key: Some("key-1".into()), ..registration("m") };
        keyed.fields.insert("description".into(), description.into());
        keyed
    };
    assert_eq!(store.remembered("key-1").unwrap(), None);
    let first = register(&*store, keyed("one"));
    let remembered = store.remembered("key-1").unwrap().unwrap();
    assert_eq!(
        (remembered.model_id, remembered.fingerprint),
        (first.record.model_id.clone(), keyed("one").fingerprint())
    );
    let revision = store.revision().unwrap();
    assert_eq!(register(&*store, keyed("one")), first);
    assert_eq!(store.revision().unwrap(), revision, "a replay changes nothing");
    let error = try_register(&*store, keyed("another request")).unwrap_err();
    assert_eq!(error.field(), Some("idempotency_key"));
    assert!(error.to_string().contains("key-1") && error.to_string().contains("m_v1"), "{error}");
}

pub(super) fn adopted_record_keeps_its_times_and_what_was_not_chosen(store: Store) {
    let record: seedhouse_core::Record = serde_json::from_value(json!({
        "model_id": "水稻_v1", "name": "水稻", "type": "vision", "framework": "pytorch", "version": "1.0.0",
        "status": "trained", "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-02-01T00:00:00Z", "未知": null,
    }))
    .unwrap();
    let not_chosen = json!({"model_id": "水稻_v1", "status": "ready"});
    let adoption =
        || Adoption { base: "水稻".parse().unwrap(), record: record.clone(), not_chosen: vec![not_chosen.clone()] };
    let entry = apply(&*store, Action::Adopt(Box::new(adoption()))).unwrap().entry;
    assert_eq!((entry.ordinal, &entry.record), (1, &record));
    let history = store.history("水稻_v1").unwrap();
    let told: Vec<(&str, &Value)> =
        history.iter().map(|event| (event.happening.action.as_str(), &event.happening.after)).collect();
    assert_eq!(told, [("set_aside", &not_chosen), ("adopt", &serde_json::to_value(&record).unwrap())]);
    let revision = store.revision().unwrap();
    assert!(matches!(apply(&*store, Action::Adopt(Box::new(adoption()))), Err(Error::AlreadyExists { .. })));
    assert_eq!(store.revision().unwrap(), revision, "a refused adoption leaves no event");
}

pub(super) fn imported_versions_come_all_or_none(store: Store) {
    let version = |base: &str, model_id: &str, version: &str| Adoption {
        base: base.parse().unwrap(),
        record: serde_json::from_value(json!({
            "model_id": model_id, "name": base, "type": "vision", "framework": "gguf", "version": version,
            "status": "ready", "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-02-01T00:00:00Z",
        }))
        .unwrap(),
        not_chosen: Vec::new(),
    };
    register(&*store, labelled("m", "3"));
    let revision = store.revision().unwrap();
    let refused = [
        ("taken id", vec![version("a", "a_v1", "1"), version("b", "m_v3", "3")]),
        ("taken label", vec![version("a", "a_v1", "1"), version("m", "special", "3")]),
        ("name of another model", vec![version("a", "a_v1", "1"), version("b", "m", "3")]),
        ("same id twice", vec![version("a", "a_v1", "1"), version("b", "a_v1", "2")]),
        ("same label twice", vec![version("a", "a_v1", "1"), version("a", "other", "1")]),
        ("id that is another's base", vec![version("a", "x", "1"), version("x", "x_v1", "1")]),
        ("nothing", vec![]),
    ];
    for (name, adoptions) in refused {
        assert!(apply(&*store, Action::Import(adoptions)).is_err(), "{name}");
        assert_eq!(store.revision().unwrap(), revision, "{name} leaves no event");
        assert!(store.version(&"a_v1".parse().unwrap()).is_err(), "{name} leaves no version");
    }
    let both = vec![version("m", "m_v1", "1"), version("m", "m_v9", "9")];
    let records: Vec<_> = both.iter().map(|adoption| adoption.record.clone()).collect();
    apply(&*store, Action::Import(both)).unwrap();
    for (record, ordinal) in records.iter().zip([2, 3]) {
        let entry = store.version(&record.model_id.as_str().parse().unwrap()).unwrap();
        assert_eq!((&entry.record, entry.ordinal), (record, ordinal), "kept with its own times");
        assert_eq!(store.history(record.model_id.as_str()).unwrap()[0].happening.action, "import");
    }
}

pub(super) fn history_of_a_models_aliases_is_of_no_other_model(store: Store) {
    for base in ["a", "ab", "小麦"] {
        let model_id = register(&*store, registration(base)).record.model_id;
        for alias in ["best", "冠军"] {
            point(&store, alias, model_id.as_str(), ExpectedHolder::Any).unwrap();
        }
    }
    let removal = AliasRemoval { base: "a".parse().unwrap(), alias: "best".parse().unwrap() };
    apply(&*store, Action::RemoveAlias(removal)).unwrap();
    let subjects = |base: &str| -> Vec<String> {
        let events = store.alias_history(&base.parse().unwrap()).unwrap();
        events.into_iter().map(|event| event.happening.subject).collect()
    };
    assert_eq!(subjects("a"), ["a@best", "a@冠军", "a@best"]);
    assert_eq!(subjects("小麦"), ["小麦@best", "小麦@冠军"]);
    assert!(subjects("nobody").is_empty());
}

pub(super) fn history_of_a_subject_is_its_events(store: Store) {
    let earlier = Timestamp::now();
    register(&*store, registration("a"));
    register(&*store, registration("b"));
    point(&store, "best", "a_v1", ExpectedHolder::Any).unwrap();
    update(&store, "a_v1", None, vec![Edit::Status(Status::Stopped)]).unwrap();
    let actions = |subject: &str| -> Vec<String> {
        store.history(subject).unwrap().into_iter().map(|event| event.happening.action).collect()
    };
    assert_eq!(actions("a_v1"), ["register", "update"]);
    assert_eq!(actions("a@best"), ["move_alias"]);
    assert!(actions("nobody").is_empty());
    let update = &store.history("a_v1").unwrap()[1].happening;
    assert_eq!((&update.before["status"], &update.after["status"]), (&json!("ready"), &json!("stopped")));
    assert_eq!((update.actor.as_str(), update.reason.as_deref()), ("suite", Some("suite")));
    assert!(update.at >= earlier);
}
