//! Claims: which values of an adopted record nobody computed here, and why they cannot be verified.

use serde_json::{Map, Value, json};

use super::{Source, Taken, UnverifiedClaim};
use crate::record::SCHEMA;
use crate::{Digest, Framework, ModelName, ModelType, Record};

/// What a record claims about bytes, beside hash, path, figures and hyper-parameters.
const ABOUT_BYTES: [&str; 8] = [
    "model_format",
    "size",
    "is_pretrained",
    "pretrained_source",
    "quantization",
    "compression_ratio",
    "accuracy_drop",
    "inference_speedup",
];

/// Fields by which a registry says what it holds itself; another registry's say nothing about this one.
const OF_ANOTHER_REGISTRY: [&str; 8] =
    ["digest", "files", "size_bytes", "inspected", "aliases", "trials", "deleted_at", "adopted"];

/// Digests of no bytes at all, which the original wrote where it had no file.
const DIGESTS_OF_NOTHING: [(&str, &str); 3] = [
    ("MD5", "d41d8cd98f00b204e9800998ecf8427e"),
    ("SHA-1", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    ("SHA-256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
];

const NO_FILE: &str = "there is no file to check it against";
const NO_RECEIPT: &str = "no receipt says what it was measured on";

/// Marks what nobody computed here, and says where the record comes from.
pub(super) fn mark(taken: &mut Taken) {
    let mut adopted = origin(&taken.record, &taken.source);
    let foreign = foreign_fields(&mut taken.record);
    taken.unverified = unverified(&taken.record, &taken.base);
    for (field, value) in &foreign {
        taken.unverified.push(claim(&taken.record, field, value, "it is what another registry says about itself"));
    }
    if !foreign.is_empty() {
        adopted.insert("fields".into(), foreign.into());
    }
    // Where `adopted.fields` keeps them, they claim nothing any more.
    let claimed = taken.unverified.iter().map(|claim| claim.field.clone());
    let mut claims: Vec<String> = taken.record.claims().into_iter().map(str::to_owned).chain(claimed).collect();
    claims.retain(|path| !OF_ANOTHER_REGISTRY.contains(&path.as_str()));
    let mut seen = std::collections::HashSet::new();
    claims.retain(|path| seen.insert(path.clone()));
    if !claims.is_empty() {
        taken.record.fields.insert("claims".into(), claims.into());
    }
    taken.record.fields.insert("adopted".into(), adopted.into());
    taken.record.fields.insert("schema".into(), SCHEMA.into());
}

fn origin(record: &Record, source: &Source) -> Map<String, Value> {
    let mut origin = Map::new();
    origin.insert("file".into(), source.file.clone().into());
    origin.insert("digest".into(), source.digest.to_string().into());
    let label = source.value.get("version").filter(|label| **label != json!(record.version));
    origin.extend(label.map(|label| ("version".to_owned(), label.clone())));
    origin
}

fn foreign_fields(record: &mut Record) -> Map<String, Value> {
    let take = |field: &str| record.fields.shift_remove(field).map(|value| (field.to_owned(), value));
    OF_ANOTHER_REGISTRY.into_iter().filter_map(take).collect()
}

fn unverified(record: &Record, base: &ModelName) -> Vec<UnverifiedClaim> {
    let mut claims = Vec::new();
    let mut add = |field: &str, value: &Value, reason: &str| claims.push(claim(record, field, value, reason));
    let present = |field: &str| record.fields.get(field).filter(|value| !value.is_null());
    if let Some(hash) = present("hash") {
        add("hash", hash, &why_not_hash(hash, record, base));
    }
    if let Some(path) = present("file_path") {
        add("file_path", path, &why_not_path(path));
    }
    let kind = json!(record.model_type);
    if record.model_type != ModelType::Other("unknown".into()) {
        add("type", &kind, NO_FILE);
    }
    if record.framework != Framework::Unknown {
        add("framework", &json!(record.framework), NO_FILE);
    }
    for field in ABOUT_BYTES {
        if let Some(value) = present(field) {
            add(field, value, NO_FILE);
        }
    }
    for (name, value) in record.metadata() {
        add(&format!("metadata.{name}"), &value, NO_FILE);
    }
    if present("receipts").is_none() {
        for (name, value) in present("metrics").and_then(Value::as_object).into_iter().flatten() {
            add(&format!("metrics.{name}"), value, NO_RECEIPT);
        }
        if let Some(accuracy) = present("accuracy") {
            add("accuracy", accuracy, NO_RECEIPT);
        }
    }
    claims
}

fn claim(record: &Record, field: &str, value: &Value, reason: &str) -> UnverifiedClaim {
    let model_id = record.model_id.clone();
    UnverifiedClaim { model_id, field: field.to_owned(), value: value.clone(), reason: reason.to_owned() }
}

fn why_not_hash(hash: &Value, record: &Record, base: &ModelName) -> String {
    let Some(hash) = hash.as_str().map(str::to_ascii_lowercase) else { return "it is not a text".into() };
    if let Some((algorithm, _)) = DIGESTS_OF_NOTHING.iter().find(|(_, digest)| *digest == hash) {
        return format!("it is the {algorithm} of nothing");
    }
    let file_path = record.fields.get("file_path").and_then(Value::as_str).unwrap_or_default();
    let words = [
        ("model_id", record.model_id.as_str()),
        ("name", &record.name),
        ("base name", base.as_str()),
        ("file path", file_path),
        ("file name", base_name(file_path)),
    ];
    for (what, word) in words {
        if Digest::of(word).hex() == hash {
            return format!("it is the SHA-256 of the {what} `{}`, not of a file", word.escape_debug());
        }
        if Digest::of(format!("{word}.pth")).hex() == hash {
            return format!("it is the SHA-256 of the text `{}.pth`, not of a file", word.escape_debug());
        }
    }
    match hash.len() {
        32 | 40 | 64 if hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => NO_FILE.into(),
        _ => "it is no digest".into(),
    }
}

fn why_not_path(path: &Value) -> String {
    match path.as_str() {
        Some(path) if is_absolute(path) => {
            "it is an absolute path of another machine, and no such file was given".into()
        }
        Some(_) => "no such file was given".into(),
        None => "it is not a text".into(),
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with(['/', '\\']) || path.as_bytes().get(1) == Some(&b':')
}

/// Returns the last part of a path of either kind of system.
pub(super) fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().expect("rsplit gives at least one part")
}
