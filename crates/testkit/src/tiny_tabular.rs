//! Networks for tables that are so small that their answers can be worked out by hand.

use serde_json::{Value, json};

use crate::tiny_safetensors::{SafetensorsEntry, safetensors_with_texts};

/// Returns a file with a declaration and tensors. Nothing is checked: a test that wants a broken file gets one.
pub fn tabular_file(declaration: &Value, tensors: &[SafetensorsEntry]) -> Vec<u8> {
    safetensors_with_texts(tensors, &[("seedhouse.tabular", &declaration.to_string())])
}

/// Returns what the classifier declares: four features of every kind that become seven inputs.
pub fn soil_declaration() -> Value {
    json!({
        "format_version": 1,
        "task": "classification",
        "features": [
            {"name": "pH", "unit": "pH", "range": [3.5, 9.5], "mean": 6.5, "scale": 0.5},
            {"name": "rain", "unit": "mm", "range": [0, 3000], "mean": 600, "scale": 200,
             "missing": {"fill": 600, "indicator": true}},
            {"name": "soil", "kind": "categorical", "categories": ["clay", "loam", "沙"], "missing": {"indicator": false, "fill": "loam"}},
            {"name": "irrigated", "kind": "boolean"},
        ],
        "classes": ["不适宜", "suitable"],
        "layers": [{"activation": "none"}],
    })
}

/// Returns the classifier's tensors: the first logit is 0, the second is the pH standardised, plus 2 times the rain standardised, minus
/// 1 where the rain is missing, plus 0.5, 1 or -1 for the soil, plus 3 where there is irrigation.
pub fn soil_tensors() -> Vec<SafetensorsEntry> {
    let second = [1.0, 2.0, -1.0, 0.5, 1.0, -1.0, 3.0];
    let weights = [[0.0; 7], second].concat();
    vec![
        SafetensorsEntry::new("layers.0.weight", "F32", &[2, 7], &weights),
        SafetensorsEntry::new("layers.0.bias", "F32", &[2], &[0.0, 0.0]),
    ]
}

/// Returns the classifier.
pub fn tiny_soil_classifier() -> Vec<u8> {
    tabular_file(&soil_declaration(), &soil_tensors())
}

/// Returns a network of two layers: the yield is 4 t/ha plus 2 times what of the standardised nitrogen is above 0, and the second
/// target is the embedding of the crop.
pub fn tiny_yield_regressor() -> Vec<u8> {
    let declaration = json!({
        "format_version": 1,
        "task": "regression",
        "features": [
            {"name": "nitrogen", "unit": "kg/ha", "range": [0, 300], "mean": 100, "scale": 50},
            {"name": "crop", "kind": "categorical", "categories": ["wheat", "maize"], "encoding": "embedding", "embedding_width": 1},
        ],
        "targets": [{"name": "yield", "unit": "t/ha", "mean": 4, "scale": 2}, {"name": "index"}],
        "layers": [{"activation": "relu"}, {"activation": "none"}],
    });
    let tensors = [
        SafetensorsEntry::new("embeddings.1.weight", "F32", &[2, 1], &[0.25, 0.75]),
        SafetensorsEntry::new("layers.0.weight", "F32", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
        SafetensorsEntry::new("layers.0.bias", "F32", &[2], &[0.0, 0.0]),
        SafetensorsEntry::new("layers.1.weight", "F32", &[2, 2], &[1.0, 0.0, 0.0, 1.0]),
        SafetensorsEntry::new("layers.1.bias", "F32", &[2], &[0.0, 0.0]),
    ];
    tabular_file(&declaration, &tensors)
}
