//! The scalars of a record that queries can name, one list for evaluation and for every index.

use serde_json::Value as Json;

use super::Value;
use super::field::{FieldPath, GROUPS, SCALARS};
use crate::Record;

/// Scalars of one version beyond this number are not found by filters.
pub const MOST_SCALARS: usize = 256;

/// A text longer than this is not found by filters, and neither is a key.
pub const LONGEST_SCALAR_BYTES: usize = 1024;

/// Objects deeper than this below the record are not looked into.
const DEEPEST: usize = 8;

/// Returns the scalars below the open groups, in the order of the record, as far as the limits go. Lists (labels, shapes)
/// and `null` are left out.
pub fn scalars(record: &Record) -> Vec<(FieldPath, Value)> {
    let mut found = Vec::new();
    for name in SCALARS.into_iter().chain(GROUPS) {
        if let Some(value) = record.fields.get(name) {
            collect(FieldPath::root(name), value, DEEPEST, &mut found);
        }
    }
    found
}

fn collect(path: FieldPath, value: &Json, depth: usize, found: &mut Vec<(FieldPath, Value)>) {
    if found.len() >= MOST_SCALARS || path.as_str().len() > LONGEST_SCALAR_BYTES {
        return;
    }
    let is_tag = path.as_str().starts_with("tags");
    match value {
        Json::Null | Json::Array(_) => {}
        Json::Number(number) if is_tag => found.push((path, Value::Text(number.to_string()))),
        Json::Number(number) => found.extend(number.as_f64().map(|number| (path, Value::number(number)))),
        Json::Bool(truth) => found.push((path, Value::Text(truth.to_string()))),
        Json::String(text) if text.len() > LONGEST_SCALAR_BYTES => {}
        Json::String(text) => found.push((path, Value::Text(text.clone()))),
        Json::Object(_) if depth == 0 => {}
        Json::Object(object) => {
            for (name, value) in object {
                collect(path.child(name), value, depth - 1, found);
            }
        }
    }
}
