//! Every family beside values that another implementation computed (`fixtures/vision`, made by `scripts/make_vision_references.py`),
//! and folders and files that are not one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFiles, Runtime, Tensor, TensorModel};
use seedhouse_core::{Code, Error, Framework};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tests::fixture_files::files;
use crate::{ActivationPrecision, Level, NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

mod refusals;

const CASES: [&str; 7] =
    ["hf-vit", "hf-resnet-basic", "hf-resnet-bottleneck", "resnet-basic", "resnet-bottleneck", "cnn", "vit"];

/// What the other implementation found for two images.
#[derive(Deserialize)]
struct Expected {
    image_size: usize,
    logits: Vec<Vec<f32>>,
    features: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vision").join(name)
}

fn expected(name: &str) -> Expected {
    serde_json::from_slice(&fs::read(folder(name).join("expected.json")).unwrap()).unwrap()
}

fn runtime(level: Level, threads: usize, plans: PlanOptions) -> NativeRuntime {
    NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads, level, ..PoolOptions::default() },
        plans,
        plans_folder: None,
    })
}

fn load(runtime: &NativeRuntime, files: &LocalFiles) -> Result<Arc<dyn TensorModel>, Error> {
    // What the shapes of `vit` leave open.
    let metadata = Map::from_iter([("num_heads".to_owned(), json!(2))]);
    match runtime.load(files, &LoadOptions { metadata })? {
        LoadedModel::Tensor(model) => Ok(model),
        _ => panic!("an image classifier is a tensor model"),
    }
}

fn channels(name: &str) -> usize {
    if name == "cnn" { 1 } else { 3 }
}

fn images(size: usize, channels: usize) -> Tensor {
    let data: Vec<f32> =
        (0..2 * channels * size * size).map(|index| (0.37 * f64::from(index as u32)).sin() as f32).collect();
    Tensor::new(vec![2, channels, size, size], data)
}

/// Returns the greatest difference, relative to the greatest magnitude.
fn difference(found: &Tensor, expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.shape, [expected.len(), expected[0].len()]);
    let pairs = found.f32s().unwrap().iter().zip(expected.iter().flatten());
    let greatest = expected.iter().flatten().fold(0.0_f32, |most, number| most.max(number.abs()));
    assert!(greatest > 0.1, "a network that says something");
    pairs.fold(0.0_f32, |most, (found, expected)| most.max((found - expected).abs())) / greatest
}

#[test]
fn every_family_gives_the_numbers_of_another_implementation_on_every_level() {
    for name in CASES {
        let expected = expected(name);
        let images = images(expected.image_size, channels(name));
        for level in Level::available() {
            let runtime = runtime(level, 2, PlanOptions::default());
            let files = files(&folder(name));
            let inspection = runtime.inspect(&files).unwrap().unwrap();
            assert_eq!(inspection.not_servable_because, None, "{name}");
            let classes = inspection.hyper_parameters["num_classes"].as_u64();
            assert_eq!(classes, Some(expected.logits[0].len() as u64), "{name}");
            let found = load(&runtime, &files).unwrap().run(&[("image", &images)]).unwrap();
            // f32 sums in another order, through up to 20 layers.
            for (found, expected) in found.iter().zip([&expected.logits, &expected.features]) {
                let difference = difference(found, expected);
                assert!(difference < 2e-5, "{name} {level:?}: {difference}");
            }
        }
    }
}

#[test]
fn lower_precisions_stay_near() {
    // Shares of the greatest logit: 8 bits of a mantissa, 7 bits of weights and of activations, through the layers of each network.
    let cases = [(WeightPrecision::Bf16, 0.05), (WeightPrecision::Int8, 0.12), (WeightPrecision::F32, 2e-5)];
    for name in CASES {
        let expected = expected(name);
        let images = images(expected.image_size, channels(name));
        for (weights, allowed) in cases {
            let plans = PlanOptions { weights, ..PlanOptions::default() };
            let model = load(&runtime(Level::best(), 2, plans), &files(&folder(name))).unwrap();
            let difference = difference(&model.run(&[("image", &images)]).unwrap()[0], &expected.logits);
            assert!(difference < allowed, "{name} {weights:?}: {difference}");
        }
    }
}

#[test]
fn image_alone_has_the_numbers_that_it_has_in_a_batch_on_any_number_of_threads() {
    let precisions = [
        (WeightPrecision::F32, ActivationPrecision::Fast),
        (WeightPrecision::Bf16, ActivationPrecision::Fast),
        (WeightPrecision::Bf16, ActivationPrecision::F32),
        (WeightPrecision::Int8, ActivationPrecision::Fast),
        (WeightPrecision::Int4, ActivationPrecision::Fast),
    ];
    for name in CASES {
        let expected = expected(name);
        let one = images(expected.image_size, channels(name));
        let numbers = one.f32s().unwrap();
        let length = numbers.len() / 2;
        // Five images in another order, one of them twice.
        let order = [1, 0, 0, 1, 1];
        let data: Vec<f32> = order.iter().flat_map(|image| numbers[image * length..][..length].to_vec()).collect();
        let batch = Tensor::new([&[5], &one.shape[1..]].concat(), data);
        for (weights, activations) in precisions {
            let plans = PlanOptions { weights, activations, ..PlanOptions::default() };
            let files = files(&folder(name));
            let model = load(&runtime(Level::best(), 2, plans), &files).unwrap();
            let together = model.run(&[("image", &batch)]).unwrap();
            let single = load(&runtime(Level::best(), 1, plans), &files).unwrap();
            for (place, image) in order.into_iter().enumerate() {
                let data = numbers[image * length..][..length].to_vec();
                let alone = Tensor::new([&[1], &one.shape[1..]].concat(), data);
                for (alone, together) in single.run(&[("image", &alone)]).unwrap().iter().zip(&together) {
                    let alone = alone.f32s().unwrap();
                    let width = alone.len();
                    let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                    let together = &together.f32s().unwrap()[place * width..][..width];
                    assert_eq!(bits(alone), bits(together), "{name} {weights:?} {activations:?} {place}");
                }
            }
        }
    }
}

#[test]
fn folder_says_how_pictures_become_input_and_what_classes_are_called() {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    let declared = load(&runtime, &files(&folder("hf-vit"))).unwrap().declared();
    assert_eq!(declared["labels"], json!({"0": "小麦", "1": "maize", "2": "rice"}));
    let preprocess = declared["preprocess"].as_object().unwrap();
    assert_eq!((&preprocess["size"], &preprocess["filter"]), (&json!([12, 12]), &json!("bilinear")));
    for (key, expected) in [("mean", [127.5, 102.0, 76.5]), ("std", [127.5, 63.75, 51.0])] {
        let found: Vec<f64> = preprocess[key].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        assert!(
            found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9),
            "{key}: {found:?}"
        );
    }
    assert!(load(&runtime, &files(&folder("cnn"))).unwrap().declared().is_empty());
}

#[test]
fn inspection_names_family_and_sizes() {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    let cases = [
        ("vit", "vit", Framework::Safetensors, json!({"image_size": 12, "base_channels": 24, "num_layers": 2})),
        ("cnn", "cnn", Framework::Pytorch, json!({"image_channels": 1, "base_channels": 6, "num_classes": 5})),
        ("resnet-basic", "resnet", Framework::Pytorch, json!({"image_channels": 3, "base_channels": 6})),
        ("hf-vit", "vit", Framework::Huggingface, json!({"image_size": 12, "num_classes": 3, "d_model": 32})),
    ];
    for (name, architecture, framework, sizes) in cases {
        let inspection = runtime.inspect(&files(&folder(name))).unwrap().unwrap();
        assert_eq!(
            (inspection.architecture.as_deref(), inspection.framework),
            (Some(architecture), framework),
            "{name}"
        );
        for (key, expected) in sizes.as_object().unwrap() {
            assert_eq!(&inspection.hyper_parameters[key], expected, "{name} {key}");
        }
        assert!(matches!(inspection.model_type, seedhouse_core::ModelType::Vision), "{name}");
    }
}

#[test]
fn wrong_images_are_refused_with_both_values() {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    let cases = [
        ("vit", vec![1, 3, 12, 13], "[?, 3, 12, 12]"),
        ("vit", vec![0, 3, 12, 12], "n at least 1"),
        ("cnn", vec![1, 3, 22, 22], "[?, 1, ?, ?]"),
        ("cnn", vec![1, 1, 22, 7], "both sides at least 8"),
        ("resnet-basic", vec![1, 3, 31, 64], "both sides at least 32"),
    ];
    for (name, shape, expected) in cases {
        let model = load(&runtime, &files(&folder(name))).unwrap();
        let numbers = vec![0.0; shape.iter().product::<usize>()];
        let image = Tensor::new(shape, numbers);
        let error = model.run(&[("image", &image)]).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some("image")), "{name}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
