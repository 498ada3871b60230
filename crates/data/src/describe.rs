//! Schema, statistics and warnings.

mod images;
mod leaks;
mod numbers;
mod table;
mod text;

use std::collections::BTreeMap;

use seedhouse_core::dataset::{DatasetDescription, DatasetKind, SplitPart};
use serde_json::{Map, Value, json};

use crate::limits::MOST_NAMES_DESCRIBED;
use crate::reader::{Examples, Read};

/// What the kinds of datasets say about themselves.
struct Described {
    kind: DatasetKind,
    schema: Map<String, Value>,
    statistics: Map<String, Value>,
    warnings: Vec<String>,
}

/// Describes what was read.
pub(crate) fn describe(read: &Read) -> DatasetDescription {
    let (parts, mut described) = match &read.examples {
        Examples::Table(table) => (&table.dataset.parts, table::describe(table)),
        Examples::Images(images) => (&images.parts, images::describe(images)),
        Examples::Text(text, without) => (&text.parts, text::describe(text, *without)),
    };
    described.schema.insert("format".to_owned(), json!(read.format.as_str()));
    described.schema.insert("files".to_owned(), json!(read.files));
    let parts = count_parts(parts);
    for part in [SplitPart::Validation, SplitPart::Test] {
        if parts[&part] == 0 {
            described.warnings.push(format!("the part `{part}` has no examples"));
        }
    }
    DatasetDescription {
        kind: described.kind,
        examples: parts.values().sum(),
        parts,
        schema: Value::Object(described.schema),
        statistics: described.statistics,
        warnings: described.warnings,
    }
}

fn count_parts(parts: &[SplitPart]) -> BTreeMap<SplitPart, u64> {
    let count = |part| parts.iter().filter(|other| **other == part).count() as u64;
    SplitPart::ALL.into_iter().map(|part| (part, count(part))).collect()
}

/// Lists the first of many names.
fn listed(names: &[String]) -> Value {
    json!(names.iter().take(MOST_NAMES_DESCRIBED).collect::<Vec<_>>())
}

/// Says which classes a model is asked for that it cannot have learnt.
fn unknown_classes(what: &str, names: &[String], codes: &[Option<u32>], parts: &[SplitPart]) -> Option<String> {
    let mut learnt = vec![false; names.len()];
    let mut asked = vec![false; names.len()];
    for (code, part) in codes.iter().zip(parts) {
        if let Some(code) = code {
            let seen = if *part == SplitPart::Train { &mut learnt } else { &mut asked };
            seen[*code as usize] = true;
        }
    }
    let unknown: Vec<&String> =
        names.iter().enumerate().filter(|(place, _)| asked[*place] && !learnt[*place]).map(|(_, name)| name).collect();
    (!unknown.is_empty()).then(|| {
        let shown = crate::split::shown(&unknown);
        format!("{} of {what} stand in validation or test, but not in train: {shown}", unknown.len())
    })
}
