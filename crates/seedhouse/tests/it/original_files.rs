//! The original system's metadata files are read and written back unchanged but for what the design says.

use seedhouse_core::{RegistryFile, Timestamp};
use serde_json::{Map, Value, json};

use crate::support::original_files;

#[test]
fn all_three_original_files_round_trip() {
    let Some(folder) = original_files() else { return };
    for name in ["models-metadata.json", "backend-models-metadata.json", "backend-models-model_index.json"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        check_round_trip(name, &text);
    }
}

/// A file of the same kinds of dirt as the original's, for machines that do not have those.
#[test]
fn dirty_file_like_the_original_round_trips() {
    check_round_trip("fixture", include_str!("../fixtures/original_style_metadata.json"));
    check_round_trip("flat fixture", include_str!("../fixtures/original_style_model_index.json"));
}

fn check_round_trip(name: &str, text: &str) {
    let original: Value = serde_json::from_str(text).unwrap();
    let file = RegistryFile::parse(name, text).unwrap();
    let written = file.to_text();
    let actual: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(actual, expected(&original), "{name}");
    assert_eq!(RegistryFile::parse(name, &written).unwrap(), file, "{name}: writing and reading again changes nothing");
    assert!(!written.contains("\\u"), "{name}: Chinese stands as it is");
}

/// What the design says of reading: a leading `v` of a version is dropped, times without a zone are UTC and marked, and
/// the old flat form becomes the new one. Everything else stays.
fn expected(original: &Value) -> Value {
    let Some(models) = original.get("models").and_then(Value::as_object) else {
        let records = original.as_object().unwrap().iter().map(|(id, entry)| (id.clone(), record(&from_flat(entry))));
        return json!({ "models": records.collect::<Map<_, _>>(), "versions": {} });
    };
    let mut file = original.clone();
    file["models"] = Value::Object(models.iter().map(|(id, entry)| (id.clone(), record(entry))).collect());
    for entries in file["versions"].as_object_mut().unwrap().values_mut() {
        for entry in entries.as_array_mut().unwrap() {
            *entry = record(entry);
        }
    }
    file
}

fn from_flat(entry: &Value) -> Value {
    let mut entry = entry.as_object().unwrap().clone();
    let kind = entry.shift_remove("model_type").unwrap();
    entry.insert("type".into(), kind);
    let metadata = entry.shift_remove("hyperparameters").unwrap();
    entry.insert("metadata".into(), metadata);
    entry.insert("framework".into(), "unknown".into());
    Value::Object(entry)
}

fn record(entry: &Value) -> Value {
    let mut entry = entry.as_object().unwrap().clone();
    let version = entry["version"].as_str().unwrap().trim_start_matches('v').to_owned();
    entry.insert("version".into(), version.into());
    let mut assumed = Vec::new();
    for key in ["created_at", "updated_at"] {
        let Some(text) = entry.get(key).and_then(Value::as_str).map(str::to_owned) else { continue };
        if !text.ends_with('Z') {
            assumed.push(key);
        }
        // The value is the same moment; its text may be shorter by trailing zeros.
        let same_moment = Timestamp::parse(&format!("{}Z", text.trim_end_matches('Z'))).unwrap().0;
        entry.insert(key.into(), same_moment.to_string().into());
    }
    if !assumed.is_empty() {
        entry.insert("assumed_utc".into(), json!(assumed));
    }
    Value::Object(entry)
}
