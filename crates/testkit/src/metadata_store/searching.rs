//! Search and statistics.

use std::collections::BTreeMap;
use std::sync::Arc;

use seedhouse_core::{MetadataStore, ModelType, Query, Registration, Statistics, Status};
use serde_json::json;

use super::{ids, register, registration};

type Store = Arc<dyn MetadataStore>;

fn text_query(text: &str) -> Query {
    Query { text: Some(text.into()), ..Query::default() }
}

#[track_caller]
fn assert_found(store: &Store, query: &Query, expected: &[&str]) {
    let entries = store.search(query).unwrap();
    assert_eq!(ids(&entries), expected, "{query:?}");
}

fn described(base: &str, name: &str, description: &str) -> Registration {
    let mut registration = Registration { name: Some(name.into()), ..registration(base) };
    registration.fields.insert("description".into(), json!(description));
    registration
}

pub(super) fn everything_comes_newest_registration_first(store: Store) {
    for base in ["b", "a", "c", "a"] {
        register(&*store, registration(base));
    }
    assert_found(&store, &Query::default(), &["a_v2", "c_v1", "a_v1", "b_v1"]);
}

pub(super) fn text_finds_id_name_type_and_description(store: Store) {
    register(&*store, described("Alpha", "First", "reads Leaves"));
    register(&*store, Registration { model_type: ModelType::Transformer, ..described("beta", "SECOND", "") });
    let cases: [(&str, &[&str]); 8] = [
        ("ALPHA", &["Alpha_v1"]),
        ("second", &["beta_v1"]),
        ("leaves", &["Alpha_v1"]),
        ("TransFormer", &["beta_v1"]),
        ("_V1", &["beta_v1", "Alpha_v1"]),
        ("", &["beta_v1", "Alpha_v1"]),
        ("pytorch", &[]),
        ("firstreads", &[]),
    ];
    for (text, expected) in cases {
        assert_found(&store, &text_query(text), expected);
    }
}

pub(super) fn chinese_is_found_at_every_length(store: Store) {
    register(&*store, described("wheat", "小麦分类", ""));
    register(&*store, described("农业模型", "rice", "水稻病害识别"));
    let cases: [(&str, &[&str]); 6] = [
        ("麦", &["wheat_v1"]),
        ("分类", &["wheat_v1"]),
        ("小麦分类", &["wheat_v1"]),
        ("病害", &["农业模型_v1"]),
        ("业", &["农业模型_v1"]),
        ("玉米", &[]),
    ];
    for (text, expected) in cases {
        assert_found(&store, &text_query(text), expected);
    }
}

pub(super) fn wildcards_mean_themselves(store: Store) {
    register(&*store, described("a", "100% wheat", ""));
    register(&*store, described("b", r"back\slash 'quote'", ""));
    register(&*store, described("c-c", "?[a-z]*", ""));
    let cases: [(&str, &[&str]); 8] = [
        ("%", &["a_v1"]),
        ("0%", &["a_v1"]),
        ("%0", &[]),
        ("c_c", &[]),
        (r"\", &["b_v1"]),
        ("'quote'", &["b_v1"]),
        ("[a-z]*", &["c-c_v1"]),
        ("*", &["c-c_v1"]),
    ];
    for (text, expected) in cases {
        assert_found(&store, &text_query(text), expected);
    }
}

pub(super) fn filters_narrow_together_and_the_limit_keeps_the_newest(store: Store) {
    let disease = ModelType::Other("病害识别".into());
    for (model_type, status) in [
        (ModelType::Vision, Status::Ready),
        (disease.clone(), Status::Ready),
        (ModelType::Vision, Status::Stopped),
        (ModelType::Vision, Status::Ready),
    ] {
        register(&*store, Registration { model_type, status, ..registration("m") });
    }
    let vision = Query { model_type: Some(ModelType::Vision), ..Query::default() };
    let ready = Query { status: Some(Status::Ready), ..Query::default() };
    assert_found(&store, &vision, &["m_v4", "m_v3", "m_v1"]);
    assert_found(&store, &ready, &["m_v4", "m_v2", "m_v1"]);
    assert_found(&store, &Query { model_type: Some(disease), ..Query::default() }, &["m_v2"]);
    assert_found(&store, &Query { limit: Some(1), ..vision.clone() }, &["m_v4"]);
    assert_found(&store, &Query { limit: Some(0), ..vision.clone() }, &[]);
    assert_found(&store, &Query { limit: Some(usize::MAX), ..vision.clone() }, &["m_v4", "m_v3", "m_v1"]);
    let all_at_once = Query { text: Some("M_V".into()), status: Some(Status::Ready), limit: Some(2), ..vision };
    assert_found(&store, &all_at_once, &["m_v4", "m_v1"]);
}

pub(super) fn statistics_count_versions_bases_and_bytes(store: Store) {
    let sized = |registration: Registration, size: u64| {
        let mut registration = registration;
        registration.fields.insert("size_bytes".into(), json!(size));
        registration
    };
    register(&*store, sized(registration("a"), 5_000_000_000));
    register(&*store, sized(Registration { status: Status::Failed, ..registration("a") }, 7));
    register(&*store, Registration { model_type: ModelType::Other("病害识别".into()), ..registration("b") });
    let counts = |pairs: &[(&str, u64)]| -> BTreeMap<String, u64> {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let expected = Statistics {
        total_models: 3,
        total_bases: 2,
        by_type: counts(&[("vision", 2), ("病害识别", 1)]),
        by_status: counts(&[("ready", 2), ("failed", 1)]),
        by_framework: counts(&[("pytorch", 3)]),
        size_bytes: 5_000_000_007,
    };
    assert_eq!(store.statistics().unwrap(), expected);
}

pub(super) fn statistics_of_an_empty_registry_are_zero(store: Store) {
    assert_eq!(store.statistics().unwrap(), Statistics::default());
}

pub(super) fn sum_of_absurd_sizes_does_not_fail(store: Store) {
    for _ in 0..3 {
        let mut claimed = registration("m");
        claimed.fields.insert("size_bytes".into(), json!(i64::MAX));
        register(&*store, claimed);
    }
    assert_eq!(store.statistics().unwrap().size_bytes, u64::MAX);
}
