//! What is said about texts.

use std::hash::Hash;

use seedhouse_core::dataset::{DatasetKind, SplitPart, TextDataset};
use serde_json::{Map, Value, json};

use super::Described;
use super::leaks::repeated;

pub(super) fn describe(dataset: &TextDataset, without_text: u64) -> Described {
    let mut schema = Map::new();
    schema.insert("rows_left_out".to_owned(), json!(without_text));
    let mut statistics = Map::new();
    for part in SplitPart::ALL {
        let texts = dataset.texts.iter().zip(&dataset.parts).filter(|(_, other)| **other == part).map(|(text, _)| text);
        statistics.insert(part.to_string(), figures(texts));
    }
    let mut warnings = Vec::new();
    if without_text > 0 {
        warnings.push(format!("{without_text} rows have no text and are left out"));
    }
    warnings.extend(repeated("texts", &dataset.parts, |place, hasher| dataset.texts[place].hash(hasher)));
    Described { kind: DatasetKind::Text, schema, statistics, warnings }
}

fn figures<'t>(texts: impl Iterator<Item = &'t String>) -> Value {
    let (mut count, mut bytes, mut characters, mut lines, mut longest) = (0_u64, 0, 0, 0, 0);
    for text in texts {
        count += 1;
        bytes += text.len();
        characters += text.chars().count();
        lines += text.lines().count();
        longest = longest.max(text.len());
    }
    json!({ "texts": count, "bytes": bytes, "characters": characters, "lines": lines, "longest_bytes": longest })
}
