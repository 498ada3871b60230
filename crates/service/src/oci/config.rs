//! The configuration of a model artifact: what the record says, in the words of the specification. What the record only
//! claims is left out, because the specification has no way to say so.

use seedhouse_core::{Entry, Manifest, ModelType};
use serde_json::{Map, Value, json};

/// Returns the document of media type `application/vnd.cncf.model.config.v1+json`.
pub(super) fn of(entry: &Entry, manifest: &Manifest) -> Value {
    // Layers are not compressed, so each is hashed as it is.
    let hashes: Vec<Value> = manifest.files().iter().map(|file| json!(file.digest)).collect();
    json!({
        "descriptor": descriptor(entry),
        "config": technical(entry),
        "modelfs": { "type": "layers", "diffIds": hashes },
    })
}

fn descriptor(entry: &Entry) -> Map<String, Value> {
    let record = &entry.record;
    let mut descriptor = Map::new();
    descriptor.insert("createdAt".into(), json!(record.created_at));
    descriptor.insert("name".into(), json!(entry.base));
    descriptor.insert("version".into(), json!(record.version));
    descriptor.insert("title".into(), json!(record.name));
    if !record.description().is_empty() {
        descriptor.insert("description".into(), json!(record.description()));
    }
    if let Some(architecture) = inspected(entry, "architecture").and_then(Value::as_str) {
        descriptor.insert("family".into(), json!(architecture));
    }
    descriptor
}

fn technical(entry: &Entry) -> Map<String, Value> {
    let mut config = Map::new();
    let claims = entry.record.claims();
    if !claims.contains(&"framework") {
        config.insert("format".into(), json!(entry.record.framework));
    }
    if entry.record.model_type == ModelType::Transformer && !claims.contains(&"type") {
        config.insert("architecture".into(), json!("transformer"));
    }
    if let Some(count) = inspected(entry, "parameter_count").and_then(Value::as_u64).filter(|count| *count >= 1000) {
        config.insert("paramSize".into(), json!(param_size(count)));
    }
    config
}

fn inspected<'a>(entry: &'a Entry, field: &str) -> Option<&'a Value> {
    entry.record.fields.get("inspected")?.get(field)
}

/// Returns a number of parameters with one digit after the point: `134.5M`.
fn param_size(count: u64) -> String {
    const SCALES: [(u64, char); 5] =
        [(1_000_000_000_000_000, 'Q'), (1_000_000_000_000, 'T'), (1_000_000_000, 'B'), (1_000_000, 'M'), (1000, 'K')];
    let (scale, letter) = SCALES.into_iter().find(|(scale, _)| count >= *scale).unwrap_or((1000, 'K'));
    let tenths = count / (scale / 10);
    format!("{}.{}{letter}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_have_one_digit_after_the_point() {
        for (count, text) in [(1000, "1.0K"), (134_515_008, "134.5M"), (7_999_999_999, "7.9B"), (999_999, "999.9K")] {
            assert_eq!(param_size(count), text);
        }
    }
}
