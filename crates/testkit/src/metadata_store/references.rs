//! Which version a reference means, and what is said when it means none.

use std::sync::Arc;

use seedhouse_core::{
    Action, AliasMove, Damage, DamagedFile, Digest, Error, Examination, ExpectedHolder, FileEntry, Kind, Manifest,
    MetadataStore, Reference, Registration, Status,
};

use super::{apply, ids, labelled, register, registration, try_register};

type Store = Arc<dyn MetadataStore>;

fn found(store: &Store, text: &str) -> String {
    let reference: Reference = text.parse().unwrap();
    store.version(&reference).unwrap_or_else(|error| panic!("`{text}`: {error}")).record.model_id.to_string()
}

fn with_file(registration: Registration, content: &str) -> Registration {
    let file =
        FileEntry { path: "m.bin".parse().unwrap(), size_bytes: content.len() as u64, digest: Digest::of(content) };
    Registration { manifest: Some(Manifest::new(vec![file]).unwrap()), ..registration }
}

fn point(store: &Store, alias: &str, model_id: &str) {
    let alias_move =
        AliasMove { alias: alias.parse().unwrap(), model_id: model_id.parse().unwrap(), expected: ExpectedHolder::Any };
    apply(&**store, Action::MoveAlias(alias_move)).unwrap();
}

fn with_status(registration: Registration, status: Status) -> Registration {
    Registration { status, ..registration }
}

pub(super) fn every_form_finds_its_version(store: Store) {
    register(&*store, with_file(labelled("视觉模型", "1.0.0"), "one"));
    let second = register(&*store, with_file(labelled("视觉模型", "2"), "two"));
    point(&store, "champion", "视觉模型_v2");
    register(&*store, with_file(labelled("视觉模型", "3"), "three"));
    let digest = second.record.digest().unwrap();
    let digest = format!("视觉模型@{digest}");
    let cases = [
        ("视觉模型_v1.0.0", "视觉模型_v1.0.0"),
        ("视觉模型", "视觉模型_v3"),
        ("视觉模型/1", "视觉模型_v1.0.0"),
        ("视觉模型:1.0.0", "视觉模型_v1.0.0"),
        ("视觉模型:v2", "视觉模型_v2"),
        ("视觉模型@champion", "视觉模型_v2"),
        (&digest, "视觉模型_v2"),
    ];
    for (text, expected) in cases {
        assert_eq!(found(&store, text), expected, "{text}");
        assert_eq!(found(&store, &format!("models:/{text}")), expected, "models:/{text}");
    }
}

pub(super) fn bare_name_never_means_two_things(store: Store) {
    register(&*store, Registration { model_id: Some("special".parse().unwrap()), ..registration("a") });
    assert_eq!(store.version(&"special".parse().unwrap()).unwrap().base.as_str(), "a");
    let base_that_is_an_id = try_register(&*store, registration("special")).unwrap_err();
    assert!(base_that_is_an_id.to_string().contains("`special`"), "{base_that_is_an_id}");
    let id_that_is_a_base = Registration { model_id: Some("a".parse().unwrap()), ..registration("b") };
    let id_that_is_a_base = try_register(&*store, id_that_is_a_base).unwrap_err();
    assert_eq!(id_that_is_a_base.field(), Some("model_id"), "{id_that_is_a_base}");
    let own_name = Registration { model_id: Some("c".parse().unwrap()), ..registration("c") };
    assert_eq!(register(&*store, own_name).base.as_str(), "c");
}

pub(super) fn base_with_a_name_that_no_id_can_have_is_found(store: Store) {
    register(&*store, registration("blobs"));
    assert_eq!(found(&store, "blobs"), "blobs_v1");
    assert!(matches!(store.version(&"plans".parse().unwrap()), Err(Error::NotFound { .. })));
}

pub(super) fn bare_base_answers_with_the_newest_servable_version(store: Store) {
    register(&*store, labelled("m", "1"));
    register(&*store, labelled("m", "10"));
    register(&*store, with_status(labelled("m", "9.9.9"), Status::Trained));
    for (version, status) in [("11", Status::Training), ("12", Status::Failed), ("13.0.0", Status::Archived)] {
        register(&*store, with_status(labelled("m", version), status));
    }
    assert_eq!(found(&store, "m"), "m_v10");
}

pub(super) fn bare_base_without_a_servable_version_answers_with_the_newest(store: Store) {
    for version in ["1", "3.0.0", "2"] {
        register(&*store, with_status(labelled("m", version), Status::Registered));
    }
    assert_eq!(found(&store, "m"), "m_v3.0.0");
}

pub(super) fn digest_of_another_base_does_not_answer(store: Store) {
    let first = register(&*store, with_file(registration("a"), "same"));
    register(&*store, with_file(registration("b"), "other"));
    let digest = first.record.digest().unwrap();
    assert_eq!(found(&store, &format!("a@{digest}")), "a_v1");
    let error = store.version(&format!("b@{digest}").parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Version, .. }), "{error}");
}

pub(super) fn what_is_missing_is_said(store: Store) {
    register(&*store, registration("小麦"));
    let digest = format!("小麦@{}", Digest::of("x"));
    let cases = [
        ("玉米", Kind::Model, "玉米"),
        ("玉米/1", Kind::Model, "玉米"),
        ("玉米:1", Kind::Model, "玉米"),
        ("玉米@champion", Kind::Model, "玉米"),
        ("小麦/2", Kind::Version, "小麦/2"),
        ("小麦/18446744073709551615", Kind::Version, "小麦/18446744073709551615"),
        ("小麦:1.0.0", Kind::Version, "小麦:1.0.0"),
        ("小麦@champion", Kind::Version, "小麦@champion"),
        (&digest, Kind::Version, &digest),
        ("小麦_v2", Kind::Model, "小麦_v2"),
    ];
    for (text, expected_kind, expected_name) in cases {
        match store.version(&text.parse().unwrap()) {
            Err(Error::NotFound { kind, name }) => {
                assert_eq!((kind, name.as_str()), (expected_kind, expected_name), "{text}");
            }
            other => panic!("`{text}` should not be found, but the answer is {other:?}"),
        }
    }
}

pub(super) fn versions_come_newest_first_across_schemes(store: Store) {
    for version in ["2", "1.0.10", "10", "2.0.0", "1.0.3", "2.0.0-rc.1", "1", "2.0.0+b.1"] {
        register(&*store, labelled("m", version));
    }
    register(&*store, labelled("other", "99"));
    let entries = store.versions(&"m".parse().unwrap()).unwrap();
    let expected = ["m_v10", "m_v2.0.0+b.1", "m_v2.0.0", "m_v2", "m_v2.0.0-rc.1", "m_v1.0.10", "m_v1.0.3", "m_v1"];
    assert_eq!(ids(&entries), expected);
}

pub(super) fn versions_of_an_unknown_base_are_not_an_empty_list(store: Store) {
    let error = store.versions(&"m".parse().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NotFound { kind: Kind::Model, .. }), "{error}");
}

pub(super) fn bare_base_prefers_a_version_that_is_not_damaged(store: Store) {
    for version in ["1", "2", "3"] {
        register(&*store, with_file(labelled("m", version), version));
    }
    register(&*store, with_status(labelled("m", "4"), Status::Registered));
    let damage = |model_id: &str| {
        let file = DamagedFile {
            path: "m.bin".parse().unwrap(),
            finding: Damage::Missing,
            expected: Digest::of("m"),
            actual: None,
        };
        let model_id = model_id.parse().unwrap();
        let examination = Examination { model_id, damaged: vec![file], whole: Vec::new() };
        apply(&*store, Action::Examine(examination)).unwrap();
    };
    for (damaged, answers) in [("m_v3", "m_v2"), ("m_v1", "m_v2"), ("m_v2", "m_v3")] {
        damage(damaged);
        assert_eq!(found(&store, "m"), answers, "after `{damaged}` was found damaged");
        assert_eq!(found(&store, damaged), damaged, "its own name still means it");
    }
}
