//! `seedhouse show`: everything the registry says about one version, claims marked.

use seedhouse_core::{Entry, TrialKind};
use seedhouse_service::Service;
use serde_json::Value;

use crate::cli::ShowArguments;
use crate::output::{Output, entry_json, human_size, print_json, print_line};

pub(super) fn run(service: &Service, arguments: &ShowArguments, output: Output) -> anyhow::Result<()> {
    if let Some(at) = arguments.as_of {
        let record = service.as_of(&arguments.reference, at)?;
        return print_json(&record);
    }
    let entry = service.show(&arguments.reference)?;
    match output {
        Output::Json => print_json(&entry_json(&entry)),
        Output::Text => print_entry(&entry),
    }
}

fn print_entry(entry: &Entry) -> anyhow::Result<()> {
    let record = &entry.record;
    let claims = claims(entry);
    print_line(&format!("{}  ({})", record.model_id, record.name))?;
    print_field("version", &format!("{} (number {} of `{}`)", record.version, entry.ordinal, entry.base))?;
    print_field("type", &marked(record.model_type.as_str(), claims.contains(&"type")))?;
    print_field("framework", &marked(record.framework.as_str(), claims.contains(&"framework")))?;
    print_field("status", record.status.as_str())?;
    print_field("created", &record.created_at.to_string())?;
    print_field("updated", &format!("{} (revision {})", record.updated_at, entry.revision))?;
    if let Some(integrity) = record.integrity() {
        print_field("integrity", &format!("CORRUPT since {}", integrity.found_at))?;
        for file in &integrity.files {
            let actual = file.actual.map_or_else(String::new, |actual| format!("; its bytes are {actual}"));
            let (path, finding, expected) = (&file.path, file.finding.as_str(), file.expected);
            print_field("", &format!("{path} ({finding}): {expected} expected{actual}"))?;
        }
    }
    let aliases: Vec<String> = record.aliases().into_iter().map(String::from).collect();
    if !aliases.is_empty() {
        print_field("aliases", &aliases.join(", "))?;
    }
    for alias in record.aliases() {
        for kind in TrialKind::ALL {
            if let Some(trial) = record.trial(&alias, kind) {
                print_field(kind.as_str(), &format!("{} for {} of `{alias}`", trial.model_id, trial.share))?;
            }
        }
    }
    for (key, value) in record.fields.get("tags").and_then(Value::as_object).into_iter().flatten() {
        print_field("tag", &format!("{key} = {}", brief(value)))?;
    }
    for (name, value) in record.fields.get("metrics").and_then(Value::as_object).into_iter().flatten() {
        print_field(name, &marked(&brief(value), claims.contains(&format!("metrics.{name}").as_str())))?;
    }
    if !record.description().is_empty() {
        print_field("description", record.description())?;
    }
    for (name, value) in record.metadata() {
        let claimed = claims.contains(&format!("metadata.{name}").as_str());
        print_field(&name, &marked(&brief(&value), claimed))?;
    }
    if let Some(inspected) = record.fields.get("inspected").and_then(Value::as_object) {
        for (name, value) in inspected.iter().filter(|(_, value)| !value.is_null()) {
            print_field(name, &brief(value))?;
        }
    }
    for (name, value) in record.fields.iter().filter(|(name, _)| !SHOWN_ABOVE.contains(&name.as_str())) {
        print_field(name, &marked(&brief(value), claims.contains(&name.as_str())))?;
    }
    print_files(entry)
}

/// Fields of the record with lines of their own.
const SHOWN_ABOVE: [&str; 12] = [
    "aliases",
    "card",
    "claims",
    "description",
    "digest",
    "files",
    "inspected",
    "integrity",
    "metadata",
    "metrics",
    "tags",
    "trials",
];

fn print_files(entry: &Entry) -> anyhow::Result<()> {
    // A manifest that cannot be read is a corrupt record, not one without files.
    let Some(manifest) = entry.record.manifest()? else {
        return Ok(print_field("files", "none: every value is a claim")?);
    };
    if let Some(digest) = entry.record.digest() {
        print_field("digest", &digest.to_string())?;
    }
    for file in manifest.files() {
        print_field("file", &format!("{}  {}  {}", file.path, human_size(file.size_bytes), file.digest))?;
    }
    Ok(())
}

fn print_field(name: &str, value: &str) -> std::io::Result<()> {
    print_line(&format!("  {name:<16} {value}"))
}

fn claims(entry: &Entry) -> Vec<&str> {
    let claims = entry.record.fields.get("claims").and_then(Value::as_array);
    claims.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn marked(value: &str, claimed: bool) -> String {
    if claimed { format!("{value}  (claimed)") } else { value.to_owned() }
}

/// A thousand labels are not for reading.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.len() > 8 => format!("{} values", items.len()),
        Value::Object(items) if items.len() > 8 => format!("{} values", items.len()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifest_that_cannot_be_read_is_an_error_and_not_a_record_without_files() {
        let record = json!({
            "model_id": "a_v1", "name": "a", "type": "vision", "framework": "onnx", "version": "1", "status": "ready",
            "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z", "files": "garbage",
        });
        let entry = Entry {
            base: "a".parse().unwrap(),
            ordinal: 1,
            revision: 1,
            record: serde_json::from_value(record).unwrap(),
        };
        let error = print_entry(&entry).unwrap_err().to_string();
        assert!(error.contains("`files` of `a_v1`"), "{error}");
    }
}
