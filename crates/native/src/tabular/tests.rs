//! Networks beside values that PyTorch computed (`fixtures/tabular`, made by `scripts/make_tabular_references.py`), and files that are
//! not one.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use seedhouse_core::runtime::{
    Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor, TensorModel,
};
use seedhouse_core::tabular::{FeatureKind, Table};
use seedhouse_core::{Code, Digest, Error, Framework, ModelType};
use seedhouse_testkit::tiny_safetensors::SafetensorsEntry;
use seedhouse_testkit::tiny_tabular::{
    soil_declaration, soil_tensors, tabular_file, tiny_soil_classifier, tiny_yield_regressor,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{Level, NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

mod refusals;

const CASES: [(&str, ModelType); 2] =
    [("crop-classifier", ModelType::Classification), ("yield-regressor", ModelType::Regression)];

/// A file for as long as the value lives.
struct Written {
    files: LocalFiles,
    _folder: TempDir,
}

fn written(bytes: &[u8]) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    Written { files: files(&path), _folder: folder }
}

fn files(path: &Path) -> LocalFiles {
    let digest = Digest::of(fs::read(path).unwrap());
    LocalFiles(vec![LocalFile { path: "model.safetensors".parse().unwrap(), local: path.to_owned(), digest }])
}

fn runtime(level: Level, threads: usize, weights: WeightPrecision) -> NativeRuntime {
    NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads, level, ..PoolOptions::default() },
        plans: PlanOptions { weights, ..PlanOptions::default() },
        plans_folder: None,
    })
}

fn load(runtime: &NativeRuntime, files: &LocalFiles) -> Result<Arc<dyn TensorModel>, Error> {
    match runtime.load(files, &LoadOptions::default())? {
        LoadedModel::Tensor(model) => Ok(model),
        _ => panic!("a network for tables is a tensor model"),
    }
}

fn inspect(bytes: &[u8]) -> Result<Inspection, Error> {
    Ok(NativeRuntime::new().inspect(&written(bytes).files)?.unwrap())
}

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tabular").join(name)
}

fn expected(name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder(name).join("expected.json")).unwrap()).unwrap()
}

/// Returns the raw numbers of rows as they stand in a reference.
fn raw(declared: &Map<String, Value>, rows: &Value) -> Tensor {
    let table = Table::read("", declared).unwrap();
    let rows = rows.as_array().unwrap();
    let number =
        |(row, feature): (&Value, &seedhouse_core::tabular::Feature)| match (&row[&feature.name], &feature.kind) {
            (Value::Null, _) => f32::NAN,
            (value, FeatureKind::Numeric { .. }) => value.as_f64().unwrap() as f32,
            (value, FeatureKind::Boolean) => f32::from(u8::from(value.as_bool().unwrap())),
            (value, FeatureKind::Categorical { categories, .. }) => {
                categories.iter().position(|category| category == value.as_str().unwrap()).unwrap() as f32
            }
        };
    let numbers = rows.iter().flat_map(|row| table.features.iter().map(move |feature| (row, feature))).map(number);
    Tensor::new(vec![rows.len(), table.features.len()], numbers.collect::<Vec<f32>>())
}

#[test]
fn networks_give_the_numbers_of_another_implementation_on_every_level() {
    for (name, model_type) in CASES {
        let expected = expected(name);
        for level in Level::available() {
            // What `serve --weights` says counts for language models and images.
            for weights in [WeightPrecision::AsStored, WeightPrecision::Int8] {
                let runtime = runtime(level, 2, weights);
                let files = files(&folder(name).join("model.safetensors"));
                let inspection = runtime.inspect(&files).unwrap().unwrap();
                assert_eq!(inspection.not_servable_because, None);
                assert_eq!((&inspection.model_type, &inspection.framework), (&model_type, &Framework::Safetensors));
                let model = load(&runtime, &files).unwrap();
                let found = &model.run(&[("features", &raw(&model.declared(), &expected["rows"]))]).unwrap()[0];
                let rows = expected["results"].as_array().unwrap();
                assert_eq!(found.shape, [rows.len(), rows[0].as_array().unwrap().len()]);
                let numbers =
                    rows.iter().flat_map(|row| row.as_array().unwrap()).map(|number| number.as_f64().unwrap());
                for (found, expected) in found.f32s().unwrap().iter().zip(numbers) {
                    // f32 through up to six layers, beside f64: a millionth of numbers about 10.
                    let difference = (f64::from(*found) - expected).abs();
                    assert!(difference < 1e-5, "{name} {level:?} {weights:?}: {found} instead of {expected}");
                }
            }
        }
    }
}

#[test]
fn row_alone_has_the_numbers_that_it_has_in_a_batch_on_any_number_of_threads() {
    let files = files(&folder("crop-classifier").join("model.safetensors"));
    let several = load(&runtime(Level::best(), 2, WeightPrecision::AsStored), &files).unwrap();
    let single = load(&runtime(Level::best(), 1, WeightPrecision::AsStored), &files).unwrap();
    let one = raw(&several.declared(), &expected("crop-classifier")["rows"]);
    let (count, features) = (one.shape[0], one.shape[1]);
    let rows: Vec<&[f32]> = one.f32s().unwrap().chunks(features).collect();
    // More than are computed together, so that places in a batch are not multiples of anything.
    let order: Vec<usize> = (0..1003).map(|place| place * 7 % count).collect();
    let numbers: Vec<f32> = order.iter().flat_map(|row| rows[*row].to_vec()).collect();
    let batch = several.run(&[("features", &Tensor::new(vec![order.len(), features], numbers))]).unwrap();
    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<u32>>();
    let alone: Vec<Vec<u32>> = rows
        .iter()
        .map(|row| single.run(&[("features", &Tensor::new(vec![1, features], row.to_vec()))]).unwrap())
        .map(|outputs| bits(outputs[0].f32s().unwrap()))
        .collect();
    for (found, row) in batch[0].f32s().unwrap().chunks(3).zip(order) {
        assert_eq!(bits(found), alone[row]);
    }
}

#[test]
fn record_has_features_classes_and_layers_from_the_file() {
    let inspection = inspect(&tiny_soil_classifier()).unwrap();
    let found = &inspection.hyper_parameters;
    assert_eq!(inspection.architecture.as_deref(), Some("tabular"));
    assert_eq!(found["features"], soil_declaration()["features"]);
    assert_eq!((&found["num_features"], &found["num_classes"]), (&json!(4), &json!(2)));
    assert_eq!(found["classes"], json!(["不适宜", "suitable"]));
    assert_eq!(found["layers"], json!([{"outputs": 2, "activation": "none"}]));
    assert_eq!((inspection.tensor_count, inspection.parameter_count), (2, 16));
    let found = inspect(&tiny_yield_regressor()).unwrap().hyper_parameters;
    assert_eq!(found["targets"][0], json!({"name": "yield", "unit": "t/ha", "mean": 4, "scale": 2}));
    assert_eq!(found["num_targets"], 2);
}

#[test]
fn tiny_networks_give_what_can_be_worked_out_by_hand() {
    let nothing = f32::NAN;
    let cases: [(Vec<u8>, Vec<f32>, Vec<f32>); 2] = [
        (
            tiny_soil_classifier(),
            [[7.0, 800.0, 0.0, 0.0], [6.5, nothing, 2.0, 1.0], [6.5, 600.0, nothing, 0.0]].concat(),
            [[0.0, 1.0 + 2.0 + 0.5], [0.0, -1.0 - 1.0 + 3.0], [0.0, 1.0]].concat(),
        ),
        (tiny_yield_regressor(), [[150.0, 0.0], [50.0, 1.0]].concat(), [[6.0, 0.25], [4.0, 0.75]].concat()),
    ];
    for (bytes, numbers, expected) in cases {
        let file = written(&bytes);
        let model = load(&NativeRuntime::new(), &file.files).unwrap();
        let features = model.inputs()[0].shape[1].unwrap();
        let input = Tensor::new(vec![numbers.len() / features, features], numbers);
        assert_eq!(model.run(&[("features", &input)]).unwrap()[0].f32s().unwrap(), expected);
    }
}

#[test]
fn numbers_that_are_no_value_of_their_feature_are_refused() {
    let file = written(&tiny_soil_classifier());
    let model = load(&NativeRuntime::new(), &file.files).unwrap();
    let cases = [
        ([f32::NAN, 0.0, 0.0, 0.0], "pH"),
        ([6.0, f32::INFINITY, 0.0, 0.0], "rain"),
        ([6.0, 0.0, 3.0, 0.0], "soil"),
        ([6.0, 0.0, 0.0, 2.0], "irrigated"),
    ];
    for (row, feature) in cases {
        let input = Tensor::new(vec![2, 4], [[6.0, 0.0, 0.0, 0.0], row].concat());
        let error = model.run(&[("features", &input)]).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(feature)), "{error}");
        assert!(error.to_string().contains("in row 1"), "{error}");
    }
}

#[test]
fn no_rows_have_no_results() {
    let file = written(&tiny_soil_classifier());
    let model = load(&NativeRuntime::new(), &file.files).unwrap();
    let outputs = model.run(&[("features", &Tensor::new(vec![0, 4], Vec::<f32>::new()))]).unwrap();
    assert_eq!(outputs, [Tensor::new(vec![0, 2], Vec::<f32>::new())]);
}
