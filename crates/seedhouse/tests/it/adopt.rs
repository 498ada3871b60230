//! `seedhouse adopt`: files of other registries are taken, nothing of them is lost, and the report says what is not true.

use std::collections::BTreeSet;
use std::path::Path;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Seedhouse, original_files};

const METADATA: &str = include_str!("../fixtures/original_style_metadata.json");
const INDEX: &str = include_str!("../fixtures/original_style_model_index.json");
const OTHER: &str = include_str!("../fixtures/original_style_other_metadata.json");

fn fixtures(seedhouse: &Seedhouse) -> Vec<String> {
    [("metadata.json", METADATA), ("model_index.json", INDEX), ("other/metadata.json", OTHER)]
        .map(|(name, text)| seedhouse.file(name, text.as_bytes()))
        .to_vec()
}

fn adopt(seedhouse: &Seedhouse, files: &[String], options: &[&str]) -> Value {
    let arguments: Vec<&str> = ["adopt"].into_iter().chain(files.iter().map(String::as_str)).collect();
    seedhouse.json(&[&arguments, options].concat())
}

/// Every id that the files name, in records or in lists of versions.
fn ids_in(files: &[String]) -> BTreeSet<String> {
    fn collect(value: &Value, ids: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                ids.extend(fields.get("model_id").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, ids));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, ids)),
            _ => {}
        }
    }
    let mut ids = BTreeSet::new();
    files.iter().for_each(|file| collect(&read_json(file), &mut ids));
    ids
}

fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn listed_ids(seedhouse: &Seedhouse) -> BTreeSet<String> {
    let list = seedhouse.json(&["list"]);
    list.as_array().unwrap().iter().map(|entry| entry["model_id"].as_str().unwrap().to_owned()).collect()
}

/// Every string that is not plain ASCII, keys included.
fn foreign_texts(value: &Value, texts: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => texts.extend((!text.is_ascii()).then(|| text.clone())),
        Value::Array(items) => items.iter().for_each(|item| foreign_texts(item, texts)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            foreign_texts(&Value::from(key.as_str()), texts);
            foreign_texts(value, texts);
        }),
        _ => {}
    }
}

fn find<'a>(report: &'a Value, section: &str, model_id: &str, field: &str) -> &'a Value {
    let items = report[section].as_array().unwrap();
    let found = items.iter().find(|item| item["model_id"] == model_id && item["field"] == field);
    found.unwrap_or_else(|| panic!("{section} has no {model_id} {field}: {report:#}"))
}

#[test]
fn every_id_of_every_file_is_in_the_registry_afterwards() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    let report = adopt(&seedhouse, &files, &[]);
    assert_eq!(listed_ids(&seedhouse), ids_in(&files));
    assert_eq!(report["dry_run"], false);

    let name = find(&report, "conflicts", "水稻病害_v1", "name");
    assert_eq!(
        (&name["chosen"]["value"], &name["other"]["value"]),
        (&json!("水稻病害识别模型"), &json!("Rice Disease"))
    );
    assert_eq!(name["rule"], "newer_update");
    let status = find(&report, "conflicts", "水稻病害_v1", "status");
    assert_eq!((&status["chosen"]["value"], &status["other"]["value"]), (&json!("trained"), &json!("ready")));
    assert_eq!(find(&report, "conflicts", "测试模型_v1", "version")["rule"], "label_taken");
    assert_eq!(find(&report, "unverified", "水稻病害_v1", "hash")["reason"], "it is the MD5 of nothing");
    let hash = find(&report, "unverified", "测试模型_v1", "hash");
    assert!(hash["reason"].as_str().unwrap().contains("SHA-256 of the model_id"), "{hash}");

    let record = seedhouse.json(&["show", "水稻病害_v1"]);
    assert_eq!(record["status"], "trained");
    assert_eq!(record["file_path"], "d:\\models\\水稻病害_v1.pth");
    assert!(record["claims"].as_array().unwrap().contains(&json!("metrics.accuracy")));
    assert_eq!(record["assumed_utc"], json!(["created_at", "updated_at"]));
    seedhouse.run(&["generate", "水稻病害_v1", "x"]).assert_failed(6, &["水稻病害_v1", "no files"]);
}

#[test]
fn second_run_changes_nothing_and_says_so() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    adopt(&seedhouse, &files, &[]);
    assert_nothing_new(&seedhouse, &files);
}

fn assert_nothing_new(seedhouse: &Seedhouse, files: &[String]) {
    let before = std::fs::read(seedhouse.root().join("metadata.json")).unwrap();
    let again = adopt(seedhouse, files, &[]);
    for section in ["taken", "conflicts", "unverified", "set_aside"] {
        assert_eq!(again[section], json!([]), "{section}");
    }
    assert_eq!(again["already_there"].as_array().unwrap().len(), ids_in(files).len());
    assert_eq!(std::fs::read(seedhouse.root().join("metadata.json")).unwrap(), before);
}

#[test]
fn dry_run_reports_what_the_run_does_and_changes_nothing() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    seedhouse.file("水稻病害_v1.pth", b"not a checkpoint");
    let mut dry = adopt(&seedhouse, &files, &["--dry-run"]);
    assert!(!seedhouse.root().exists());
    assert_eq!(dry["dry_run"], true);
    dry["dry_run"] = json!(false);
    assert_eq!(adopt(&seedhouse, &files, &[]), dry);
}

#[test]
fn chinese_text_of_every_file_stands_unchanged_in_the_registry() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    adopt(&seedhouse, &files[..2], &[]);
    assert_texts_are_written(&seedhouse, &files[..2], &[]);
}

/// What was not chosen stands in the history, everything else in `metadata.json`.
fn assert_texts_are_written(seedhouse: &Seedhouse, files: &[String], set_aside: &[Value]) {
    let (mut wanted, mut kept) = (BTreeSet::new(), BTreeSet::new());
    files.iter().for_each(|file| foreign_texts(&read_json(file), &mut wanted));
    let path = seedhouse.root().join("metadata.json");
    assert!(!std::fs::read_to_string(&path).unwrap().contains("\\u"));
    foreign_texts(&read_json(path), &mut kept);
    set_aside.iter().for_each(|value| foreign_texts(value, &mut kept));
    // Fields of the whole file are kept with the first version's history.
    wanted.remove("原系统");
    let lost: Vec<_> = wanted.difference(&kept).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[test]
fn file_that_is_found_makes_the_record_true() {
    let seedhouse = Seedhouse::new();
    let bytes = tiny_llama_gguf(1);
    let record = json!({
        "model_id": "小麦_v1", "name": "小麦", "type": "transformer", "framework": "pytorch", "version": "1.0.0", "status": "ready",
        "created_at": "2025-01-01T00:00:00", "updated_at": "2025-01-01T00:00:00", "file_path": "d:\\1.5\\models\\小麦_v1.gguf",
        "hash": "d41d8cd98f00b204e9800998ecf8427e", "metadata": {"vocab_size": 30000, "dropout": 0.1},
    });
    let text = json!({"models": {"小麦_v1": record}, "versions": {}}).to_string();
    let metadata = seedhouse.file("metadata.json", text.as_bytes());
    seedhouse.file("models/小麦_v1.gguf", &bytes);
    let folder = Path::new(&metadata).parent().unwrap().join("models");
    let report = adopt(&seedhouse, std::slice::from_ref(&metadata), &["--files", folder.to_str().unwrap()]);
    for field in ["hash", "framework", "metadata.vocab_size"] {
        assert_eq!(find(&report, "conflicts", "小麦_v1", field)["rule"], "bytes_over_claim");
    }
    let adopted = seedhouse.json(&["show", "小麦_v1"]);
    assert_eq!(adopted["claims"], json!(["metadata.dropout"]));
    assert_eq!((&adopted["framework"], &adopted["status"]), (&json!("gguf"), &json!("ready")));
    assert_eq!(adopted["size_bytes"], bytes.len());
    assert_eq!(adopted["file_path"], "小麦_v1.gguf");
    assert!(seedhouse.root().join("小麦_v1.gguf").is_file());
    assert_eq!(seedhouse.run(&["verify"]).code, 0);
    assert_eq!(seedhouse.run(&["generate", "小麦_v1", "hello", "--max-tokens", "2"]).code, 0);
    assert_nothing_new(&seedhouse, &[metadata]);
}

#[test]
fn file_that_is_broken_is_not_taken_and_the_record_is() {
    let seedhouse = Seedhouse::new();
    let metadata = seedhouse.file("metadata.json", METADATA.as_bytes());
    seedhouse.file("水稻病害_v1.pth", b"not a checkpoint");
    let report = adopt(&seedhouse, &[metadata], &[]);
    let reason = &find(&report, "unverified", "水稻病害_v1", "file_path")["reason"];
    assert!(reason.as_str().unwrap().contains("is not taken"), "{reason}");
    let record = seedhouse.json(&["show", "水稻病害_v1"]);
    assert_eq!((&record["digest"], &record["status"]), (&Value::Null, &json!("trained")));
    assert!(seedhouse.stored_files().is_empty());
}

#[test]
fn version_that_the_registry_has_stays_and_the_file_becomes_history() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    adopt(&seedhouse, &files[2..], &[]);
    let before = seedhouse.json(&["show", "水稻病害_v1"]);
    let report = adopt(&seedhouse, &files[..1], &[]);
    assert_eq!(find(&report, "conflicts", "水稻病害_v1", "name")["rule"], "registry_stays");
    assert_eq!(seedhouse.json(&["show", "水稻病害_v1"]), before);
    assert_nothing_new(&seedhouse, &files[..1]);
}

#[test]
fn unreadable_file_is_named_with_its_entry_and_nothing_is_changed() {
    let seedhouse = Seedhouse::new();
    let good = seedhouse.file("metadata.json", METADATA.as_bytes());
    let cases = [
        ("bad.json", "not json".to_owned(), "bad.json"),
        ("bad.json", METADATA.replace("\"stopped\"", "\"running\""), "?????_v1"),
        ("bad.json", r#"{"x": {"model_id": "x"}}"#.to_owned(), "entry `x`"),
    ];
    for (name, text, part) in cases {
        let bad = seedhouse.file(name, text.as_bytes());
        seedhouse.run(&["adopt", &good, &bad]).assert_failed(2, &[name, part]);
        assert!(!seedhouse.root().exists());
    }
    seedhouse.run(&["adopt", &good, "/nonexistent.json"]).assert_failed(3, &["/nonexistent.json"]);
    assert!(!seedhouse.root().exists());
}

#[test]
fn metadata_file_in_the_registrys_own_folder_is_read_before_it_is_set_aside() {
    let seedhouse = Seedhouse::new();
    let own = seedhouse.file("registry/metadata.json", METADATA.as_bytes());
    let bad = seedhouse.file("bad.json", b"{");
    seedhouse.run(&["adopt", &own, &bad]).assert_failed(2, &["bad.json"]);
    assert_eq!(std::fs::read_to_string(&own).unwrap(), METADATA, "a refused adoption leaves it where it is");
    let ids = ids_in(std::slice::from_ref(&own));
    adopt(&seedhouse, &[own], &[]);
    assert_eq!(listed_ids(&seedhouse), ids);
    let mut names = std::fs::read_dir(seedhouse.root()).unwrap().map(|entry| entry.unwrap().path());
    let aside = names.find(|path| path.to_str().unwrap().contains("metadata.set_aside")).unwrap();
    assert_eq!(std::fs::read_to_string(aside).unwrap(), METADATA);
}

#[test]
fn report_for_people_names_both_values_and_counts() {
    let seedhouse = Seedhouse::new();
    let files = fixtures(&seedhouse);
    let run = seedhouse.run(&["adopt", &files[0], &files[1], &files[2]]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for part in ["Taken:", "Conflicts:", "水稻病害识别模型", "Rice Disease", "(newer_update)", "no files", "7 taken"]
    {
        assert!(run.stdout.contains(part), "`{part}` is missing in: {}", run.stdout);
    }
}

#[test]
fn all_three_original_files_are_adopted_whole() {
    let Some(folder) = original_files() else { return };
    let files = ["models-metadata.json", "backend-models-metadata.json", "backend-models-model_index.json"]
        .map(|name| folder.join(name).to_str().unwrap().to_owned());
    let seedhouse = Seedhouse::new();
    let report = adopt(&seedhouse, &files, &[]);
    assert_eq!(listed_ids(&seedhouse), ids_in(&files));
    let name = find(&report, "conflicts", "agriculture_classification_v1", "name");
    assert_eq!(name["chosen"]["value"], "农业分类模型");
    assert_eq!(name["other"]["value"], "Agriculture Classification Model");
    assert_eq!(find(&report, "conflicts", "agriculture_classification_v1", "status")["other"]["value"], "ready");
    for (model_id, hash) in hashes_in(&files) {
        let claim = find(&report, "unverified", &model_id, "hash");
        assert_eq!(claim["value"], hash);
        assert_ne!(
            claim["reason"], "there is no file to check it against",
            "{model_id}: no hash of theirs is of a file"
        );
    }
    let set_aside: Vec<Value> = report["set_aside"].as_array().unwrap().clone();
    assert_texts_are_written(&seedhouse, &files, &set_aside);
    assert_nothing_new(&seedhouse, &files);
}

fn hashes_in(files: &[String]) -> Vec<(String, String)> {
    let models = files.iter().filter_map(|file| read_json(file).get("models")?.as_object().cloned());
    let hash = |record: &Value| Some((record["model_id"].as_str()?.to_owned(), record["hash"].as_str()?.to_owned()));
    let hashes: Vec<_> = models.flat_map(|models| models.values().filter_map(hash).collect::<Vec<_>>()).collect();
    assert!(hashes.len() > 10);
    hashes
}
