//! Comparing what two sources say, field by field.

use serde_json::{Map, Value};

use super::object_of;
use crate::Record;
use crate::hyper_parameters::same_value;

/// Objects whose fields are compared one by one, under the paths that `claims` uses.
const COMPARED_BY_FIELD: [&str; 2] = ["metadata", "metrics"];

/// Fields that a registry adds to a record; a file that lacks them does not contradict it.
const ADDED_HERE: [&str; 10] = [
    "adopted",
    "aliases",
    "assumed_utc",
    "claims",
    "deleted_at",
    "digest",
    "files",
    "inspected",
    "schema",
    "size_bytes",
];

/// A field about which two sources differ.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) chosen: Option<Value>,
    pub(super) other: Option<Value>,
}

/// Returns the fields about which two records differ; a field that one of them lacks counts.
pub(super) fn records(chosen: &Record, other: &Record) -> Vec<Difference> {
    let (chosen, other) = (flat(object_of(chosen)), flat(object_of(other)));
    let mut differences = statements(&chosen, &other);
    let only_chosen = chosen.iter().filter(|(field, _)| !other.contains_key(*field) && !is_added(field));
    differences.extend(only_chosen.map(|(field, value)| Difference {
        field: field.clone(),
        chosen: Some(value.clone()),
        other: None,
    }));
    differences
}

/// Returns the fields about which `other` says something that `chosen` does not say.
pub(super) fn statements(chosen: &Map<String, Value>, other: &Map<String, Value>) -> Vec<Difference> {
    let differs = |(field, value): (&String, &Value)| match chosen.get(field) {
        Some(chosen) if same_value(chosen, value) => None,
        chosen => Some(Difference { field: field.clone(), chosen: chosen.cloned(), other: Some(value.clone()) }),
    };
    other.iter().filter(|(field, _)| *field != "assumed_utc").filter_map(differs).collect()
}

fn is_added(field: &str) -> bool {
    ADDED_HERE.contains(&field)
}

fn flat(object: Map<String, Value>) -> Map<String, Value> {
    let mut flat = Map::new();
    for (field, value) in object {
        match value {
            Value::Object(inner) if COMPARED_BY_FIELD.contains(&field.as_str()) => {
                flat.extend(inner.into_iter().map(|(name, value)| (format!("{field}.{name}"), value)));
            }
            value => {
                flat.insert(field, value);
            }
        }
    }
    flat
}
