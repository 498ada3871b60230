//! Search and statistics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use seedhouse_core::{Code, Count, MetadataStore, ModelType, Query, Registration, Statistics, Status};
use serde_json::{Value, json};

use super::{ids, labelled, register, registration};

type Store = Arc<dyn MetadataStore>;

fn text_query(text: &str) -> Query {
    Query { text: Some(text.into()), ..Query::default() }
}

#[track_caller]
fn assert_found(store: &Store, query: &Query, expected: &[&str]) {
    let page = store.search(query).unwrap();
    assert_eq!(ids(&page.entries), expected, "{query:?}");
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

pub(super) fn every_word_must_occur_somewhere_in_the_text(store: Store) {
    let mut wheat = described("agriculture_classification", "ResNet50 视觉模型", "classifies leaves");
    wheat.fields.insert("tags".into(), json!({"作物": "小麦", "Stage": "Production"}));
    register(&*store, wheat);
    let mut rice = described("rice", "测试模型", "");
    rice.fields.insert("tags".into(), json!(["paddy", "水稻"]));
    register(&*store, rice);
    let (wheat, rice) = ("agriculture_classification_v1", "rice_v1");
    let cases: [(&str, &[&str]); 14] = [
        ("测", &[rice]),
        ("测试", &[rice]),
        ("模型", &[rice, wheat]),
        ("resn", &[wheat]),
        ("classif", &[wheat]),
        ("ricult", &[wheat]),
        ("leaves 视觉 RESNET", &[wheat]),
        ("leaves rice", &[]),
        ("  rice  ", &[rice]),
        ("小麦 production stage", &[wheat]),
        ("作物", &[wheat]),
        ("PADDY", &[rice]),
        ("型视", &[]),
        ("net50视觉", &[]),
    ];
    for (text, expected) in cases {
        assert_found(&store, &text_query(text), expected);
    }
}

fn filtered(filter: &str) -> Query {
    Query { filter: filter.parse().unwrap(), ..Query::default() }
}

pub(super) fn filters_narrow_together_and_the_limit_keeps_the_newest(store: Store) {
    let disease = ModelType::Other("病害识别".into());
    for (model_type, status) in [
        (ModelType::Vision, Status::Ready),
        (disease, Status::Ready),
        (ModelType::Vision, Status::Stopped),
        (ModelType::Vision, Status::Ready),
    ] {
        register(&*store, Registration { model_type, status, ..registration("m") });
    }
    let vision = filtered("type = vision");
    assert_found(&store, &vision, &["m_v4", "m_v3", "m_v1"]);
    assert_found(&store, &filtered("status = ready"), &["m_v4", "m_v2", "m_v1"]);
    assert_found(&store, &filtered("type = 病害识别"), &["m_v2"]);
    assert_found(&store, &filtered("type = Vision"), &[]);
    assert_found(&store, &Query { limit: Some(1), ..vision.clone() }, &["m_v4"]);
    assert_found(&store, &Query { limit: Some(usize::MAX), ..vision }, &["m_v4", "m_v3", "m_v1"]);
    let both = filtered("type = vision AND status = ready");
    assert_found(&store, &Query { text: Some("M_V".into()), limit: Some(2), ..both }, &["m_v4", "m_v1"]);
}

pub(super) fn filters_reach_into_metadata_metrics_and_tags(store: Store) {
    for (number, fields) in [
        json!({"metadata": {"num_classes": 5, "a.b": "x"}, "metrics": {"f1": 0.5}, "tags": {"作物": "小麦"}}),
        json!({"metadata": {"num_classes": 12}, "metrics": {"f1": 0.75}, "tags": {"作物": "水稻"}, "accuracy": 0.9}),
        json!({"metadata": {"num_classes": "12", "deep": {"er": true}}, "size_bytes": 10}),
        json!({"metadata": {"labels": ["a"]}, "metrics": null, "digest": "none"}),
    ]
    .into_iter()
    .enumerate()
    {
        let Value::Object(fields) = fields else { unreachable!("written as objects above") };
        register(&*store, Registration { fields, ..labelled("m", &format!("1.{number}.0")) });
    }
    let [first, second, third, fourth] = ["m_v1.0.0", "m_v1.1.0", "m_v1.2.0", "m_v1.3.0"];
    let cases: [(&str, &[&str]); 22] = [
        ("metadata.num_classes >= 10", &[second]),
        ("metadata.num_classes < 1e9", &[second, first]),
        ("metadata.num_classes = '12'", &[third]),
        ("metadata.num_classes >= '1'", &[third]),
        ("metadata.num_classes < 'a'", &[third]),
        ("metadata.num_classes != 5", &[third, second]),
        ("metadata.num_classes IN (5, '12', 7.5)", &[third, first]),
        ("metadata.`a.b` LIKE 'x%'", &[first]),
        ("metadata.deep.er = true", &[third]),
        ("metadata.num_classes IS NULL", &[fourth]),
        ("metadata.labels IS NOT NULL", &[]),
        ("metrics.f1 > 0.5", &[second]),
        ("metrics.f1 = 0.5 AND tags.作物 = 小麦", &[first]),
        ("tags.作物 IN ('小麦', 水稻)", &[second, first]),
        ("tags.nobody = 1", &[]),
        ("tags.nobody IS NULL AND accuracy IS NULL", &[fourth, third, first]),
        ("version > 1.0.9 AND version <= v1.2.0", &[third, second]),
        ("size_bytes <= 10", &[third]),
        ("ordinal >= 2 AND ordinal < 4", &[third, second]),
        ("model_id LIKE '%_v1.2%'", &[third]),
        ("digest IS NOT NULL", &[]),
        ("created_at > 2000-01-01 AND updated_at < 9000-01-01 AND base = m", &[fourth, third, second, first]),
    ];
    for (filter, expected) in cases {
        assert_found(&store, &filtered(filter), expected);
    }
}

pub(super) fn order_is_by_any_field_and_what_lacks_it_comes_last(store: Store) {
    for (base, metrics) in
        [("b", json!({"f1": 0.5})), ("a", json!({})), ("d", json!({"f1": "high"})), ("c", json!({"f1": 0.5}))]
    {
        let mut registration = registration(base);
        registration.fields.insert("metrics".into(), metrics);
        register(&*store, registration);
    }
    let [a, b, c, d] = ["a_v1", "b_v1", "c_v1", "d_v1"];
    let cases: [(&str, [&str; 4]); 7] = [
        ("registration", [b, a, d, c]),
        ("name", [a, b, c, d]),
        ("-model_id", [d, c, b, a]),
        ("metrics.f1", [b, c, d, a]),
        ("-metrics.f1", [d, c, b, a]),
        ("-created_at", [c, d, a, b]),
        ("size_bytes", [b, a, d, c]),
    ];
    for (order, expected) in cases {
        assert_found(&store, &Query { order: order.parse().unwrap(), ..Query::default() }, &expected);
    }
}

pub(super) fn pages_neither_skip_nor_repeat_while_versions_are_added(store: Store) {
    let add = |number: u32| {
        let mut registration = described("m", &format!("{}", number % 3), "模型");
        if !number.is_multiple_of(4) {
            registration.fields.insert("metrics".into(), json!({"f1": number % 5}));
        }
        register(&*store, registration).record.model_id.to_string()
    };
    let there: BTreeSet<String> = (0..20).map(add).collect();
    for order in ["-registration", "registration", "name", "-name", "metrics.f1", "-metrics.f1", "-version"] {
        for text in [None, Some("模型".to_owned())] {
            let mut query = Query { text, order: order.parse().unwrap(), limit: Some(3), ..Query::default() };
            let mut seen = Vec::new();
            loop {
                let page = store.search(&query).unwrap();
                seen.extend(page.entries.iter().map(|entry| entry.record.model_id.to_string()));
                assert!(page.next.is_none() || page.entries.len() == 3);
                query.cursor = page.next;
                if query.cursor.is_none() {
                    break;
                }
                add(7);
                assert!(seen.len() < 2000, "the pages end");
            }
            let distinct: BTreeSet<String> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "{order}: something came twice");
            assert!(distinct.is_superset(&there), "{order}: something was skipped");
        }
    }
}

pub(super) fn last_page_says_that_nothing_follows(store: Store) {
    for _ in 0..4 {
        register(&*store, registration("m"));
    }
    let next = |limit| store.search(&Query { limit, ..Query::default() }).unwrap().next;
    assert!(next(Some(3)).is_some());
    assert_eq!((next(Some(4)), next(Some(5)), next(None)), (None, None, None));
}

pub(super) fn matches_are_counted_as_far_as_asked(store: Store) {
    for number in 0..5 {
        let mut registration = described("m", "小麦分类", "");
        registration.fields.insert("metrics".into(), json!({"f1": number}));
        register(&*store, registration);
    }
    let count = |query: &Query, most| {
        let Count { number, exact } = store.count(query, most).unwrap();
        (number, exact)
    };
    assert_eq!(count(&Query::default(), 10), (5, true));
    assert_eq!(count(&Query::default(), 5), (5, true));
    assert_eq!(count(&Query::default(), 4), (4, false));
    assert_eq!(count(&text_query("小麦分类"), 3), (3, false));
    assert_eq!(count(&text_query("麦小"), 3), (0, true));
    let one = Query { limit: Some(1), order: "name".parse().unwrap(), ..filtered("metrics.f1 > 2 AND type = vision") };
    assert_eq!(count(&one, 100), (2, true), "neither the limit nor the order matters");
}

pub(super) fn queries_that_break_a_rule_are_refused(store: Store) {
    register(&*store, registration("m"));
    register(&*store, registration("m"));
    let first = Query { limit: Some(1), ..Query::default() };
    let cursor = store.search(&first).unwrap().next;
    let by_name = Query { order: "name".parse().unwrap(), cursor, ..Query::default() };
    let damaged = Query { cursor: Some("not a cursor".parse().unwrap()), ..Query::default() };
    for (query, field) in [
        (Query { limit: Some(0), ..Query::default() }, "limit"),
        (text_query(&"长".repeat(257)), "search"),
        (text_query(&"a ".repeat(17)), "search"),
        (by_name, "cursor"),
        (damaged, "cursor"),
    ] {
        let error = store.search(&query).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
        assert!(store.count(&query, 1).is_err());
    }
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
