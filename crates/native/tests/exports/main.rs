//! Exported graphs beside the networks that they were made of: both are computed here, the graph by the runtime for ONNX.

#![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]

mod formats;
mod models;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, StepPart, Tensor, TensorModel, TextModel, Wanted,
};
use seedhouse_core::{Digest, Unwatched};
use seedhouse_native::graph;
use seedhouse_onnx::{OnnxRuntime, write_graph};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use self::models::{files, integers, native, softmax};

/// Sums of some hundred products in another order.
const TOLERANCE: f32 = 1e-4;

/// Our own decoder keeps keys and values with 11 bits.
const TOLERANCE_OF_CACHE: f32 = 2e-3;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A graph that was written, and read again.
struct Exported {
    model: Arc<dyn TensorModel>,
    _folder: TempDir,
}

fn exported(files: &LocalFiles, metadata: &Map<String, Value>) -> Exported {
    let drawn = graph(files, metadata, &Unwatched).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    let mut file = fs::File::create(&path).unwrap();
    write_graph(&drawn, &mut file, &Unwatched).unwrap();
    let written = models::files(folder.path());
    let inspection = OnnxRuntime::new().inspect(&written).unwrap().unwrap();
    assert_eq!(inspection.not_servable_because, None);
    match OnnxRuntime::new().load(&written, &LoadOptions::default()).unwrap() {
        LoadedModel::Tensor(model) => Exported { model, _folder: folder },
        _ => panic!("a graph is a tensor model"),
    }
}

impl Exported {
    fn run(&self, inputs: &[(&str, Tensor)]) -> Vec<Tensor> {
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        self.model.run(&inputs).unwrap()
    }
}

/// Numbers between -1 and 1 that look like chance.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Insists on equal numbers, as a part of the greatest, whatever it is: of small numbers the differences must be small.
fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let greatest = expected.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    assert!(greatest > 1e-3, "{what}: numbers that say something");
    for (found, expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs() / greatest;
        assert!(difference <= tolerance, "{what}: {found} instead of {expected}, and the greatest is {greatest}");
    }
}

#[test]
fn small_numbers_that_differ_are_not_close() {
    let is_refused = |found: &[f32], expected: &[f32]| {
        let (found, expected) = (found.to_vec(), expected.to_vec());
        std::panic::catch_unwind(move || assert_close("numbers", &found, &expected, TOLERANCE)).is_err()
    };
    assert!(!is_refused(&[0.01, 0.02], &[0.01, 0.020_001]));
    for found in [&[0.01, 0.020_01][..], &[0.01], &[0.01, 0.02, 0.0], &[f32::NAN, 0.02]] {
        assert!(is_refused(found, &[0.01, 0.02]), "{found:?}");
    }
}

fn logits(model: &dyn TextModel, tokens: &[u32]) -> Vec<f32> {
    let mut executor = model.executor().unwrap();
    let sequence = executor.open().unwrap();
    let logits = executor.step(&[StepPart { sequence, tokens, wanted: Wanted::All }]).unwrap();
    logits.rows().flatten().copied().collect()
}

fn tokens(sequence: usize, length: usize, vocab_size: usize) -> Vec<u32> {
    (0..length).map(|place| ((place * 7 + sequence * 31 + place * place) % vocab_size) as u32).collect()
}

/// Compares a decoder with its graph: batches of 1 and 3, sequences of several lengths.
fn compare_decoder(name: &str, files: &LocalFiles, metadata: &Map<String, Value>) {
    let LoadedModel::Text(text) = native(files, metadata) else { panic!("{name} is a decoder") };
    let graph = exported(files, metadata);
    let (vocab_size, context) = (text.info().vocab_size, text.info().context_length);
    for (batch, length) in [(1, 1), (1, 17), (3, 9), (3, context.min(40))] {
        let sequences: Vec<Vec<u32>> = (0..batch).map(|sequence| tokens(sequence, length, vocab_size)).collect();
        let ids = integers(&[batch, length], sequences.iter().flatten().map(|token| i64::from(*token)));
        let outputs = graph.run(&[("input_ids", ids)]);
        assert_eq!(outputs[0].shape, [batch, length, vocab_size], "{name}");
        let expected: Vec<f32> = sequences.iter().flat_map(|sequence| logits(&*text, sequence)).collect();
        let what = format!("{name}, {batch} x {length}");
        assert_close(&what, outputs[0].f32s().unwrap(), &expected, TOLERANCE_OF_CACHE);
    }
}

#[test]
fn decoders_have_the_logits_of_their_graphs_and_of_another_implementation() {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(fixtures("decoders")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let files = files(&folder);
        compare_decoder(name, &files, &Map::new());
        let expected: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let tokens: Vec<i64> = expected["tokens"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let rows = expected["logits"].as_array().unwrap();
        let expected: Vec<f32> =
            rows.iter().flat_map(|row| row.as_array().unwrap()).map(|logit| logit.as_f64().unwrap() as f32).collect();
        let found = exported(&files, &Map::new()).run(&[("input_ids", integers(&[1, tokens.len()], tokens))]);
        assert_close(name, found[0].f32s().unwrap(), &expected, TOLERANCE);
    }
}

#[test]
fn image_classifiers_have_the_numbers_of_their_graphs() {
    let cases: [(&str, usize, &[usize]); 7] = [
        ("cnn", 1, &[22, 28]),
        ("vit", 3, &[12]),
        ("hf-vit", 3, &[12]),
        ("resnet-basic", 3, &[32, 47]),
        ("resnet-bottleneck", 3, &[33]),
        ("hf-resnet-basic", 3, &[32]),
        ("hf-resnet-bottleneck", 3, &[40]),
    ];
    for (name, channels, sides) in cases {
        let files = files(&fixtures("vision").join(name));
        let record = Map::from_iter([("num_heads".to_owned(), json!(2))]);
        compare_classifier(name, &files, &record, channels, sides);
    }
}

fn compare_classifier(name: &str, files: &LocalFiles, metadata: &Map<String, Value>, channels: usize, sides: &[usize]) {
    let LoadedModel::Tensor(network) = native(files, metadata) else { panic!("{name} is a tensor model") };
    let graph = exported(files, metadata);
    for (batch, side) in [1, 3].into_iter().flat_map(|batch| sides.iter().map(move |side| (batch, *side))) {
        let shape = vec![batch, channels, side, side];
        let images = Tensor::new(shape, numbers(batch * channels * side * side, side as u64));
        let expected = network.run(&[("image", &images)]).unwrap();
        let found = graph.run(&[("pixel_values", images)]);
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.shape, expected.shape, "{name}");
            assert_close(
                &format!("{name}, {batch} x {side}"),
                found.f32s().unwrap(),
                expected.f32s().unwrap(),
                TOLERANCE,
            );
        }
    }
}

#[test]
fn u_nets_predict_what_their_graphs_predict() {
    for name in ["classes", "grey", "transposed"] {
        let folder = fixtures("diffusion").join(name);
        let expected: Value = serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap();
        let (files, record) = (files(&folder), expected["settings"].as_object().unwrap());
        let LoadedModel::Diffusion(network) = native(&files, record) else { panic!("{name} is a U-Net") };
        let graph = exported(&files, record);
        let info = network.info();
        let ([height, width], steps) = (info.image_size, info.num_timesteps());
        for batch in [1, 3] {
            let shape = vec![batch, info.channels, height, width];
            let images = numbers(batch * info.image_length(), batch as u64);
            let timesteps: Vec<usize> = (0..batch).map(|image| image * (steps - 1) / 2).collect();
            let classes: Vec<Option<usize>> = (0..batch)
                .map(|image| info.num_classes.filter(|_| image % 2 == 1).map(|classes| classes - 1))
                .collect();
            let mut inputs = vec![
                ("sample", Tensor::new(shape, images.clone())),
                ("timestep", integers(&[batch], timesteps.iter().map(|timestep| *timestep as i64))),
            ];
            if let Some(none) = info.num_classes {
                let labels = classes.iter().map(|class| class.unwrap_or(none) as i64);
                inputs.push(("class_label", integers(&[batch], labels)));
            }
            let found = graph.run(&inputs);
            // The network has the channels of a pixel side by side.
            let area = height * width;
            let by_pixel: Vec<f32> = images
                .chunks(info.image_length())
                .flat_map(|image| (0..area).flat_map(move |pixel| image[pixel..].iter().step_by(area).copied()))
                .collect();
            let predicted = network.predict(&by_pixel, &timesteps, &classes).unwrap();
            let expected: Vec<f32> = predicted
                .chunks(info.image_length())
                .flat_map(|image| {
                    (0..info.channels).flat_map(move |channel| image[channel..].iter().step_by(info.channels).copied())
                })
                .collect();
            assert_close(&format!("{name}, {batch}"), found[0].f32s().unwrap(), &expected, TOLERANCE);
        }
    }
}

#[test]
fn sentence_encoders_give_the_vectors_of_their_graphs_however_long_the_others_of_a_batch_are() {
    for name in ["bert-mean", "bert-cls", "bert-max"] {
        let files = files(&fixtures("embedding").join(name));
        let LoadedModel::Embedding(network) = native(&files, &Map::new()) else { panic!("{name} is an encoder") };
        let graph = exported(&files, &Map::new());
        for lengths in [&[5][..], &[1], &[7, 3, 1]] {
            let longest = *lengths.iter().max().unwrap();
            let sequences: Vec<Vec<u32>> =
                lengths.iter().enumerate().map(|(place, length)| tokens(place, *length, 30)).collect();
            let padded = |fill: &dyn Fn(&[u32], usize) -> i64| {
                let rows = sequences.iter().flat_map(|sequence| (0..longest).map(move |place| fill(sequence, place)));
                integers(&[lengths.len(), longest], rows.collect::<Vec<i64>>())
            };
            let found = graph.run(&[
                ("input_ids", padded(&|sequence, place| sequence.get(place).map_or(0, |token| i64::from(*token)))),
                ("attention_mask", padded(&|sequence, place| i64::from(place < sequence.len()))),
                ("token_type_ids", padded(&|_, _| 0)),
            ]);
            let slices: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let expected = network.embed(&slices).unwrap().concat();
            assert_close(name, found[0].f32s().unwrap(), &expected, TOLERANCE);
        }
    }
}

#[test]
fn networks_for_tables_answer_raw_rows_as_their_graphs_do() {
    for (name, is_classifier) in [("crop-classifier", true), ("yield-regressor", false)] {
        let files = files(&fixtures("tabular").join(name));
        let LoadedModel::Tensor(network) = native(&files, &Map::new()) else { panic!("{name} is a tensor model") };
        let graph = exported(&files, &Map::new());
        let expected: Value =
            serde_json::from_slice(&fs::read(fixtures("tabular").join(name).join("expected.json")).unwrap()).unwrap();
        let raw = raw(&network.declared(), &expected["rows"]);
        let width = raw.shape[1];
        for count in [1, 3, raw.shape[0]] {
            let rows = Tensor::new(vec![count, width], raw.f32s().unwrap()[..count * width].to_vec());
            let native = network.run(&[("features", &rows)]).unwrap();
            let native = native[0].f32s().unwrap();
            let classes = native.len() / count;
            let expected: Vec<f32> = match is_classifier {
                true => native.chunks(classes).flat_map(softmax).collect(),
                false => native.to_vec(),
            };
            let found = graph.run(&[("features", rows)]);
            assert_close(name, found[0].f32s().unwrap(), &expected, TOLERANCE);
        }
    }
}

/// Returns the raw numbers of rows as they stand in a reference.
fn raw(declared: &Map<String, Value>, rows: &Value) -> Tensor {
    use seedhouse_core::tabular::{FeatureKind, Table};
    let table = Table::read("", declared).unwrap();
    let rows = rows.as_array().unwrap();
    let mut numbers = Vec::new();
    for row in rows {
        for feature in &table.features {
            numbers.push(match (&row[&feature.name], &feature.kind) {
                (Value::Null, _) => f32::NAN,
                (value, FeatureKind::Numeric { .. }) => value.as_f64().unwrap() as f32,
                (value, FeatureKind::Boolean) => f32::from(u8::from(value.as_bool().unwrap())),
                (value, FeatureKind::Categorical { categories, .. }) => {
                    categories.iter().position(|category| category == value.as_str().unwrap()).unwrap() as f32
                }
            });
        }
    }
    Tensor::new(vec![rows.len(), table.features.len()], numbers)
}

#[test]
fn problems_of_optimisation_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures("optimization/crops.json"), folder.path().join("crops.json")).unwrap();
    let error = graph(&files(folder.path()), &Map::new(), &Unwatched).unwrap_err();
    assert!(error.to_string().contains("problem of optimisation"), "{error}");
    assert_eq!(json!(error.code().as_str()), "unsupported");
}
