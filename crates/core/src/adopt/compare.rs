//! Comparing what two sources say, field by field.

use serde_json::{Map, Value};

use super::object_of;
use crate::Record;
use crate::hyper_parameters::same_value;

/// Objects whose fields are compared one by one, under the paths that `claims` uses.
const COMPARED_BY_FIELD: [&str; 2] = ["metadata", "metrics"];

/// A field about which two sources differ.
#[derive(Debug, PartialEq)]
pub(super) struct Difference {
    pub(super) field: String,
    pub(super) chosen: Option<Value>,
    pub(super) other: Value,
}

/// Returns the fields about which `other` contradicts `chosen` or goes beyond it. A field that only `chosen` has is neither.
pub(super) fn records(chosen: &Record, other: &Record) -> Vec<Difference> {
    statements(&flat(object_of(chosen)), &flat(object_of(other)))
}

/// Returns the fields about which `other` says something that `chosen` does not say.
pub(super) fn statements(chosen: &Map<String, Value>, other: &Map<String, Value>) -> Vec<Difference> {
    let differs = |(field, value): (&String, &Value)| match chosen.get(field) {
        Some(chosen) if same_value(chosen, value) => None,
        chosen => Some(Difference { field: field.clone(), chosen: chosen.cloned(), other: value.clone() }),
    };
    other.iter().filter(|(field, _)| *field != "assumed_utc").filter_map(differs).collect()
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
