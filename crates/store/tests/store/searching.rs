//! Both metadata stores answer random queries over random records alike.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use rusqlite::Connection;
use seedhouse_core::query::{Comparison, Condition, Pattern, Test, Value};
use seedhouse_core::{
    Action, Change, Deletion, DeletionGuard, Edit, Filter, Framework, MetadataStore, ModelType, Order, Query,
    Registration, Status, Timestamp, Update,
};
use seedhouse_store::{MemoryStore, SqliteStore};
use serde_json::{Map, Value as Json, json};

use crate::registering::{change, registration};

/// Few words, so that queries meet records.
const WORDS: &str = "(resnet|res|小麦|小麦分类|麦|_v|A|net5|100%| )";
const PATHS: [&str; 6] = ["metadata.n", "metadata.deep.n", "metrics.f1", "tags.作物", "tags.`a b`", "accuracy"];

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(WORDS, 0..4).prop_map(|words| words.concat())
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        (-2..4i64).prop_map(Json::from),
        (0..4i32).prop_map(|quarters| json!(f64::from(quarters) / 4.0)),
        Just(json!("1")),
        Just(json!("小麦")),
        Just(json!("Res")),
        Just(json!("")),
        Just(json!(true)),
        Just(Json::Null),
    ]
}

fn any_registration() -> impl Strategy<Value = Registration> {
    let fields = (scalar(), scalar(), scalar(), scalar(), scalar(), scalar());
    (0..3usize, text(), text(), 0..3usize, 0..3usize, fields, proptest::option::of(0..3u64)).prop_map(
        |(base, name, description, kind, status, (n, deep, f1, crop, spaced, accuracy), size)| {
            let mut fields = Map::new();
            fields.insert("description".into(), description.into());
            fields.insert("metadata".into(), json!({"n": n, "deep": {"n": deep}, "labels": [1, 2]}));
            fields.insert("metrics".into(), json!({"f1": f1}));
            fields.insert("tags".into(), json!({"作物": crop, "a b": spaced}));
            fields.insert("accuracy".into(), accuracy);
            size.into_iter().for_each(|size| drop(fields.insert("size_bytes".into(), size.into())));
            Registration {
                name: Some(name),
                model_type: [ModelType::Vision, ModelType::Transformer, ModelType::Other("小麦".into())][kind].clone(),
                framework: Framework::Gguf,
                status: [Status::Ready, Status::Stopped, Status::Registered][status],
                fields,
                ..registration(["a", "小麦", "resnet"][base])
            }
        },
    )
}

fn path_condition() -> impl Strategy<Value = Condition> {
    let value = prop_oneof![
        (-2..4i32).prop_map(|number| Value::number(f64::from(number))),
        (0..4i32).prop_map(|quarters| Value::number(f64::from(quarters) / 4.0)),
        Just(Value::Text("1".into())),
        Just(Value::Text("小麦".into())),
        Just(Value::Text("true".into())),
        Just(Value::Text(String::new())),
    ];
    let comparison = (0..6usize, value.clone()).prop_map(|(index, value)| Test::Compare(Comparison::ALL[index], value));
    let test = prop_oneof![
        6 => comparison,
        2 => proptest::collection::vec(value, 1..4).prop_map(Test::In),
        1 => "(%|_|麦|R|es){0,3}".prop_map(|text| Test::Like(Pattern::new(&text))),
        1 => Just(Test::IsNull),
        1 => Just(Test::IsNotNull),
    ];
    (0..PATHS.len(), test).prop_map(|(path, test)| Condition { field: PATHS[path].parse().unwrap(), test })
}

fn typed_condition() -> impl Strategy<Value = Condition> {
    let written = prop_oneof![
        Just("type = vision"),
        Just("type IN (vision, 小麦)"),
        Just("type != vision"),
        Just("base = 小麦"),
        Just("status = ready"),
        Just("status IN (ready, stopped)"),
        Just("framework = gguf"),
        Just("framework = GGUF"),
        Just("version >= 2"),
        Just("version = 3"),
        Just("model_id LIKE '%麦_v%'"),
        Just("model_id = a_v1"),
        Just("name LIKE '%res%'"),
        Just("name LIKE '%net5%小麦%'"),
        Just("name < 小"),
        Just("name IN ('', resnet)"),
        Just("size_bytes < 2"),
        Just("size_bytes IS NULL"),
        Just("ordinal != 1"),
        Just("description LIKE '%小麦%'"),
        Just("description = ''"),
        Just("digest IS NULL"),
        Just("digest = x"),
        Just("created_at > 2000-01-01"),
        Just("updated_at <= 2000-01-01"),
    ];
    written.prop_map(|text: &str| text.parse::<Filter>().unwrap().conditions.remove(0))
}

fn any_query() -> impl Strategy<Value = Query> {
    let order = prop_oneof![
        Just("-registration"),
        Just("registration"),
        Just("name"),
        Just("-model_id"),
        Just("version"),
        Just("-size_bytes"),
        Just("size_bytes"),
        Just("-created_at"),
        Just("metadata.n"),
        Just("-metadata.n"),
        Just("-metrics.f1"),
        Just("tags.作物"),
        Just("metadata.nowhere"),
    ];
    let condition = prop_oneof![path_condition(), typed_condition()];
    (proptest::option::of(text()), proptest::collection::vec(condition, 0..3), order, proptest::option::of(1..9usize))
        .prop_map(|(text, conditions, order, limit)| Query {
            text,
            filter: Filter { conditions },
            order: order.parse::<Order>().unwrap(),
            limit,
            cursor: None,
        })
}

/// What befalls a registry between registrations.
#[derive(Debug, Clone)]
enum Happening {
    Update(usize),
    Delete(usize),
    /// The index is brought up to the newest version.
    Settle,
    /// What is registered next stands in another block of the index.
    NextBlock,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..200usize).prop_map(Happening::Update),
        (0..200usize).prop_map(Happening::Delete),
        Just(Happening::Settle),
        Just(Happening::NextBlock),
    ]
}

/// Rows are numbered behind the last one, so moving that one moves all that follow. Nothing else in these tests names its row.
fn skip_to_the_next_block(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    let to = "(SELECT last_id FROM search_block ORDER BY block DESC LIMIT 1)";
    let newest = "(SELECT max(id) FROM version)";
    let sql = format!("UPDATE version SET id = id + 2048 WHERE id = {newest} AND id > coalesce({to}, 0)");
    connection.execute(&sql, []).unwrap();
}

fn changed(action: Action) -> Change {
    Change { at: Timestamp::now(), actor: "test".into(), reason: None, action }
}

/// Returns the ids of every page of a query.
fn pages(store: &dyn MetadataStore, query: &Query) -> Vec<Vec<String>> {
    let mut query = query.clone();
    let mut pages = Vec::new();
    loop {
        let page = store.search(&query).unwrap();
        pages.push(page.entries.iter().map(|entry| entry.record.model_id.to_string()).collect());
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return pages,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_and_memory_answer_alike(
        registrations in proptest::collection::vec(any_registration(), 0..120),
        happenings in proptest::collection::vec(any_happening(), 0..12),
        queries in proptest::collection::vec(any_query(), 60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seedhouse.db");
        let memory = MemoryStore::new();
        let sqlite = SqliteStore::open(&path).unwrap();
        let both = |change: Change| {
            assert_eq!(memory.apply(change.clone()).is_ok(), sqlite.apply(change).is_ok());
        };
        let mut rest = registrations.into_iter();
        for happening in happenings {
            rest.by_ref().take(10).for_each(|registration| both(change(registration)));
            let entries = memory.shown().unwrap();
            match (happening, entries.is_empty()) {
                (Happening::Settle, _) => sqlite.settle().unwrap(),
                (Happening::NextBlock, _) => skip_to_the_next_block(&path),
                (_, true) => {}
                (Happening::Update(which), false) => {
                    let model_id = entries[which % entries.len()].record.model_id.clone();
                    let edit = Edit::Tag { key: "作物".into(), value: Some(["小麦", "resnet"][which % 2].into()) };
                    both(changed(Action::Update(Update { model_id, expected_revision: None, edits: vec![edit] })));
                }
                (Happening::Delete(which), false) => {
                    let model_id = entries[which % entries.len()].record.model_id.clone();
                    both(changed(Action::Delete(Deletion { model_id, guard: DeletionGuard::Force })));
                }
            }
        }
        rest.for_each(|registration| both(change(registration)));
        prop_assert_eq!(sqlite.statistics().unwrap(), memory.statistics().unwrap());
        for query in queries {
            let written: Filter = query.filter.to_string().parse().unwrap();
            if !query.filter.to_string().contains("tags") {
                prop_assert_eq!(&written, &query.filter, "the language says what is meant");
            }
            prop_assert_eq!(pages(&sqlite, &query), pages(&memory, &query), "{}", &query.filter);
            for most in [3, 1000] {
                prop_assert_eq!(sqlite.count(&query, most).unwrap(), memory.count(&query, most).unwrap());
            }
        }
    }
}

#[test]
fn long_texts_and_many_scalars_are_found_as_far_as_the_limits_go() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("seedhouse.db")).unwrap();
    let memory = MemoryStore::new();
    let mut long = registration("long");
    let many: Map<String, Json> = (0..400).map(|number| (format!("k{number}"), json!(number))).collect();
    long.fields.insert("metadata".into(), Json::Object(many));
    long.fields.insert("description".into(), format!("{}末尾", "长".repeat(6000)).into());
    long.fields.insert("tags".into(), json!({"big": "x".repeat(2000), "small": "x"}));
    for (filter, text, expected) in [
        ("metadata.k255 = 255", "", 1),
        ("metadata.k256 = 256", "", 0),
        ("tags.big IS NULL", "", 1),
        ("", "长长长", 1),
        ("", "末尾", 0),
    ] {
        for store in [&sqlite as &dyn MetadataStore, &memory] {
            if store.revision().unwrap() == 0 {
                store.apply(change(long.clone())).unwrap();
            }
            let query = Query { text: Some(text.into()), filter: filter.parse().unwrap(), ..Query::default() };
            assert_eq!(store.search(&query).unwrap().entries.len(), expected, "{filter} {text}");
        }
    }
}
