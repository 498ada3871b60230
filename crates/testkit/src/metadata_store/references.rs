//! Which version a reference means, and what is said when it means none.

use std::sync::Arc;

use seedhouse_core::{Digest, Error, FileEntry, Kind, Manifest, MetadataStore, Reference, Registration, Status};
use serde_json::json;

use super::{ids, labelled, register, registration};

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

fn with_alias(registration: Registration, alias: &str) -> Registration {
    let mut registration = registration;
    registration.fields.insert("aliases".into(), json!(["other", alias]));
    registration
}

fn with_status(registration: Registration, status: Status) -> Registration {
    Registration { status, ..registration }
}

pub(super) fn every_form_finds_its_version(store: Store) {
    register(&*store, with_file(labelled("视觉模型", "1.0.0"), "one"));
    let second = register(&*store, with_file(with_alias(labelled("视觉模型", "2"), "champion"), "two"));
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

pub(super) fn bare_name_is_a_model_id_before_it_is_a_base(store: Store) {
    register(&*store, Registration { model_id: Some("b".parse().unwrap()), ..registration("a") });
    register(&*store, registration("b"));
    assert_eq!(store.version(&"b".parse().unwrap()).unwrap().base.as_str(), "a");
    assert_eq!(store.version(&"b/1".parse().unwrap()).unwrap().base.as_str(), "b");
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

pub(super) fn alias_moves_to_the_version_registered_last(store: Store) {
    for version in ["2", "1"] {
        register(&*store, with_alias(labelled("m", version), "冠军"));
    }
    register(&*store, labelled("m", "3"));
    assert_eq!(found(&store, "m@冠军"), "m_v1");
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
