//! What is said about pictures.

use std::hash::Hash;

use seedhouse_core::dataset::{DatasetKind, ImageDataset, SplitPart};
use serde_json::{Map, Value, json};

use super::leaks::repeated;
use super::{Described, listed, unknown_classes};
use crate::limits::MOST_NAMES_DESCRIBED;

pub(super) fn describe(images: &ImageDataset) -> Described {
    let mut schema = Map::new();
    schema.insert("height".to_owned(), json!(images.height));
    schema.insert("width".to_owned(), json!(images.width));
    schema.insert("channels".to_owned(), json!(images.channels));
    schema.insert("class_count".to_owned(), json!(images.classes.len()));
    schema.insert("classes".to_owned(), listed(&images.classes));
    let mut statistics = Map::new();
    statistics.insert("pixels".to_owned(), pixels(&images.pixels));
    let counts = class_counts(images);
    statistics.insert("classes".to_owned(), Value::Object(shown_counts(images, &counts)));
    let mut warnings = Vec::new();
    let empty: Vec<&String> = images
        .classes
        .iter()
        .zip(&counts)
        .filter(|(_, counts)| counts.iter().sum::<u64>() == 0)
        .map(|(class, _)| class)
        .collect();
    if !empty.is_empty() {
        warnings.push(format!("{} classes have no picture: {}", empty.len(), crate::split::shown(&empty)));
    }
    let codes: Vec<Option<u32>> = images.labels.iter().copied().map(Some).collect();
    warnings.extend(unknown_classes(
        &format!("{} classes", images.classes.len()),
        &images.classes,
        &codes,
        &images.parts,
    ));
    let size = images.height * images.width * images.channels;
    warnings.extend(repeated("pictures", &images.parts, |place, hasher| {
        images.pixels[place * size..(place + 1) * size].hash(hasher);
    }));
    Described { kind: DatasetKind::Images, schema, statistics, warnings }
}

/// Mean and standard deviation, exact: sums of bytes and of their squares are whole numbers.
fn pixels(pixels: &[u8]) -> Value {
    let (mut sum, mut squares) = (0_u128, 0_u128);
    for block in pixels.chunks(1 << 16) {
        sum += block.iter().map(|byte| u128::from(*byte)).sum::<u128>();
        squares += block.iter().map(|byte| u128::from(*byte) * u128::from(*byte)).sum::<u128>();
    }
    let count = pixels.len().max(1) as f64;
    let mean = sum as f64 / count;
    let variance = (squares as f64 / count - mean * mean).max(0.0);
    json!({ "count": pixels.len(), "mean": mean, "standard_deviation": variance.sqrt() })
}

fn class_counts(images: &ImageDataset) -> Vec<[u64; 3]> {
    let mut counts = vec![[0; 3]; images.classes.len()];
    for (label, part) in images.labels.iter().zip(&images.parts) {
        let place = match part {
            SplitPart::Train => 0,
            SplitPart::Validation => 1,
            SplitPart::Test => 2,
        };
        counts[*label as usize][place] += 1;
    }
    counts
}

fn shown_counts(images: &ImageDataset, counts: &[[u64; 3]]) -> Map<String, Value> {
    let shown = images.classes.iter().zip(counts).take(MOST_NAMES_DESCRIBED);
    shown
        .map(|(class, [train, validation, test])| {
            (class.clone(), json!({ "train": train, "validation": validation, "test": test }))
        })
        .collect()
}
