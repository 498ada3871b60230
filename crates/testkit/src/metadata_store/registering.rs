//! Labels, ids, ordinals, and what a record keeps.

use std::sync::Arc;
use std::thread;

use seedhouse_core::{Code, Digest, Error, FileEntry, Kind, Manifest, MetadataStore, Query, Registration};
use serde_json::{Value, json};

use super::{assert_taken, labelled, register, registration, try_register};

type Store = Arc<dyn MetadataStore>;

pub(super) fn first_version_is_one_and_the_next_follows_the_newest(store: Store) {
    for expected in ["1", "2", "3"] {
        let entry = register(&*store, registration("视觉模型"));
        assert_eq!(entry.record.version.to_string(), expected);
        assert_eq!(entry.record.model_id.as_str(), format!("视觉模型_v{expected}"));
    }
    register(&*store, labelled("b", "1.0.3"));
    assert_eq!(register(&*store, registration("b")).record.version.to_string(), "1.0.4");
    assert_eq!(register(&*store, registration("c")).record.version.to_string(), "1", "another base starts anew");
}

pub(super) fn automatic_version_follows_the_newest_not_the_latest(store: Store) {
    for (given, expected) in [("9", "10"), ("2", "11"), ("10.0.5", "12"), ("12.0.0-rc.1", "13"), ("13.0.9", "13.0.10")]
    {
        register(&*store, labelled("m", given));
        assert_eq!(register(&*store, registration("m")).record.version.to_string(), expected, "after {given}");
    }
}

pub(super) fn given_version_id_and_name_are_kept(store: Store) {
    let given = Registration {
        model_id: Some("小麦-特别版".parse().unwrap()),
        name: Some("小麦分类".into()),
        ..labelled("小麦", "v2.1.0")
    };
    let entry = register(&*store, given);
    assert_eq!(entry.record.model_id.as_str(), "小麦-特别版");
    assert_eq!(entry.record.version.to_string(), "2.1.0");
    assert_eq!(entry.record.name, "小麦分类");
    assert_eq!(entry.base.as_str(), "小麦");
    assert_eq!(store.version(&"小麦-特别版".parse().unwrap()).unwrap(), entry);
}

pub(super) fn ordinals_have_no_gaps_per_base(store: Store) {
    for (base, version, expected) in [("a", "5", 1), ("b", "1", 1), ("a", "2", 2), ("a", "9.1.0", 3), ("b", "7", 2)] {
        assert_eq!(register(&*store, labelled(base, version)).ordinal, expected, "{base} {version}");
    }
}

pub(super) fn ordinals_have_no_gaps_under_threads(store: Store) {
    const THREADS: usize = 8;
    const EACH: usize = 25;
    let work = || (0..EACH).map(|_| register(&*store, registration("并发")).ordinal).collect::<Vec<_>>();
    let mut ordinals: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    ordinals.sort_unstable();
    let expected: Vec<u64> = (1..=(THREADS * EACH) as u64).collect();
    assert_eq!(ordinals, expected);
    assert_eq!(store.revision().unwrap(), expected.len() as u64);
    let versions = store.versions(&"并发".parse().unwrap()).unwrap();
    assert!(versions.iter().all(|entry| entry.record.version.to_string() == entry.ordinal.to_string()));
}

pub(super) fn refused_registration_leaves_no_trace(store: Store) {
    register(&*store, labelled("m", "1"));
    try_register(&*store, labelled("m", "1")).unwrap_err();
    assert_eq!(register(&*store, registration("m")).ordinal, 2);
    let label = format!("1.0.0-{}", "a".repeat(40));
    let too_long = Registration { base: "长".repeat(56).parse().unwrap(), ..labelled("m", &label) };
    let base = too_long.base.clone();
    assert_eq!(try_register(&*store, too_long).unwrap_err().field(), Some("model_id"));
    assert!(matches!(store.versions(&base), Err(Error::NotFound { kind: Kind::Model, .. })));
    assert_eq!(store.search(&Query::default()).unwrap().entries.len(), 2);
}

pub(super) fn taken_model_id_is_refused_with_its_date(store: Store) {
    let first = register(&*store, registration("m"));
    let second = Registration { model_id: Some(first.record.model_id.clone()), ..registration("other") };
    assert_taken(try_register(&*store, second), Kind::ModelId, "m_v1", first.record.created_at);
}

pub(super) fn taken_version_is_refused_with_its_date(store: Store) {
    let first = register(&*store, labelled("小麦", "1.0.3"));
    register(&*store, labelled("小麦", "1.0.4"));
    assert_taken(
        try_register(&*store, labelled("小麦", "v1.0.3")),
        Kind::Version,
        "小麦:1.0.3",
        first.record.created_at,
    );
    let same_label = Registration { model_id: Some("free".parse().unwrap()), ..labelled("小麦", "1.0.3") };
    assert_taken(try_register(&*store, same_label), Kind::Version, "小麦:1.0.3", first.record.created_at);
}

pub(super) fn taken_default_id_of_another_base_is_refused(store: Store) {
    let first = Registration { model_id: Some("b_v1".parse().unwrap()), ..registration("a") };
    let first = register(&*store, first);
    assert_taken(try_register(&*store, registration("b")), Kind::ModelId, "b_v1", first.record.created_at);
}

pub(super) fn required_field_among_the_further_ones_is_refused(store: Store) {
    for key in ["model_id", "name", "type", "framework", "version", "status", "created_at", "updated_at"] {
        let mut sly = registration("m");
        sly.fields.insert(key.into(), json!("stopped"));
        assert_eq!(try_register(&*store, sly).unwrap_err().field(), Some(key));
    }
    assert_eq!(store.revision().unwrap(), 0);
}

pub(super) fn size_beyond_63_bits_is_refused(store: Store) {
    let mut absurd = registration("m");
    absurd.fields.insert("size_bytes".into(), json!(u64::MAX));
    let error = try_register(&*store, absurd).unwrap_err();
    assert_eq!((error.code(), error.field()), (Code::Invalid, Some("size_bytes")));
}

pub(super) fn unknown_fields_and_nulls_are_kept_in_their_order(store: Store) {
    let fields = json!({
        "zebra": {"深": [1, 2.5, null, 0.1]},
        "pretrained_source": null,
        "description": "引号\" 反斜杠\\ 表情🌾 换\n行 空",
        "accuracy": 0.1 + 0.2,
        "大数": u64::MAX,
        "tags": "not an object",
    });
    let Value::Object(fields) = fields else { unreachable!("written as an object above") };
    let entry = register(&*store, Registration { fields: fields.clone(), ..registration("m") });
    let found = store.version(&"m_v1".parse().unwrap()).unwrap();
    assert_eq!(found, entry);
    assert_eq!(store.search(&Query::default()).unwrap().entries, [entry]);
    let keys: Vec<&String> = found.record.fields.keys().filter(|key| *key != "schema").collect();
    assert_eq!(keys, fields.keys().collect::<Vec<_>>());
    for (key, value) in &fields {
        assert_eq!(&found.record.fields[key], value, "{key}");
    }
}

pub(super) fn manifest_is_kept(store: Store) {
    let file = FileEntry { path: "权重.gguf".parse().unwrap(), size_bytes: 7, digest: Digest::of("weights") };
    let manifest = Manifest::new(vec![file]).unwrap();
    register(&*store, Registration { manifest: Some(manifest.clone()), ..registration("m") });
    let record = store.version(&"m_v1".parse().unwrap()).unwrap().record;
    assert_eq!(record.manifest().unwrap(), Some(manifest.clone()));
    assert_eq!(record.digest(), Some(manifest.digest()));
}

pub(super) fn file_name_of_another_version_is_refused(store: Store) {
    let with_file = |model_id: &str, path: &str| {
        let file = FileEntry { path: path.parse().unwrap(), size_bytes: 7, digest: Digest::of("weights") };
        let manifest = Some(Manifest::new(vec![file]).unwrap());
        Registration { model_id: Some(model_id.parse().unwrap()), manifest, ..registration("m") }
    };
    register(&*store, with_file("a", "weights.bin"));
    let error = try_register(&*store, with_file("a.bin", "no extension")).unwrap_err();
    assert!(matches!(&error, Error::AlreadyExists { kind: Kind::File, name, .. } if name == "a.bin"), "{error}");
}

pub(super) fn what_could_not_be_read_again_is_refused(store: Store) {
    let mut deep = registration("m");
    let nested = (0..126).fold(json!(1), |inner, _| json!([inner]));
    deep.fields.insert("metadata".into(), nested);
    assert_eq!(try_register(&*store, deep).unwrap_err().field(), Some("metadata"));
    assert!(store.search(&Query::default()).unwrap().entries.is_empty());
}
