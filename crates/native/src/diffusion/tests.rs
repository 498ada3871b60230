//! U-Nets beside values that another implementation computed (`fixtures/diffusion`, made by `scripts/make_diffusion_references.py`).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seedhouse_core::runtime::{Denoiser, LoadOptions, LoadedModel, LocalFiles, Prediction, Runtime};
use seedhouse_core::{Code, Error, Framework, ModelType};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::tests::fixture_files::files;
use crate::{ActivationPrecision, Level, NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

mod refusals;

const CASES: [&str; 3] = ["grey", "classes", "transposed"];

#[derive(Deserialize)]
struct Expected {
    settings: Map<String, Value>,
    num_classes: Option<usize>,
    predictions: Vec<Predicted>,
}

/// What the other implementation predicts of two images.
#[derive(Deserialize)]
struct Predicted {
    timestep: usize,
    class: Option<usize>,
    numbers: Vec<Vec<f32>>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/diffusion").join(name)
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

fn load_with(
    runtime: &NativeRuntime,
    files: &LocalFiles,
    metadata: Map<String, Value>,
) -> Result<Arc<dyn Denoiser>, Error> {
    match runtime.load(files, &LoadOptions { metadata })? {
        LoadedModel::Diffusion(model) => Ok(model),
        _ => panic!("a U-Net is a diffusion model"),
    }
}

/// Loads a case; a torch checkpoint has no place for settings, so the record says them.
fn load(runtime: &NativeRuntime, name: &str) -> Arc<dyn Denoiser> {
    load_with(runtime, &files(&folder(name)), expected(name).settings).unwrap()
}

/// Returns two images that the script makes in the same way.
fn images(model: &dyn Denoiser) -> Vec<f32> {
    let count = 2 * model.info().image_length();
    (0..count).map(|index| (0.37 * f64::from(index as u32)).sin() as f32).collect()
}

/// Returns the greatest difference, relative to the greatest magnitude.
fn difference(found: &[f32], expected: &[Vec<f32>]) -> f32 {
    let expected: Vec<f32> = expected.concat();
    assert_eq!(found.len(), expected.len());
    let greatest = expected.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    assert!(greatest > 0.1, "a network that says something");
    found.iter().zip(&expected).fold(0.0_f32, |most, (found, expected)| most.max((found - expected).abs())) / greatest
}

fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|number| number.to_bits()).collect()
}

#[test]
fn predictions_are_those_of_another_implementation_on_every_level() {
    for name in CASES {
        let expected = expected(name);
        for level in Level::available() {
            let model = load(&runtime(level, 2, PlanOptions::default()), name);
            let images = images(&*model);
            for Predicted { timestep, class, numbers } in &expected.predictions {
                let found = model.predict(&images, &[*timestep; 2], &[*class; 2]).unwrap();
                let difference = difference(&found, numbers);
                // f32 sums in another order, through some ten layers and as many norms.
                assert!(difference < 3e-5, "{name} {level:?} {timestep} {class:?}: {difference}");
            }
        }
    }
}

#[test]
fn lower_precisions_stay_near() {
    // Shares of the greatest number: 8 bits of a mantissa, 7 bits of weights and of activations, through all layers.
    let cases = [(WeightPrecision::Bf16, 0.05), (WeightPrecision::Int8, 0.2), (WeightPrecision::F32, 3e-5)];
    for name in CASES {
        let expected = expected(name);
        for (weights, allowed) in cases {
            let plans = PlanOptions { weights, ..PlanOptions::default() };
            let model = load(&runtime(Level::best(), 2, plans), name);
            let Predicted { timestep, class, numbers } = &expected.predictions[1];
            let found = model.predict(&images(&*model), &[*timestep; 2], &[*class; 2]).unwrap();
            let difference = difference(&found, numbers);
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
        let classes = expected(name).num_classes;
        // Five questions that differ in everything.
        let asked =
            [(1, 0, None), (0, 39, classes.map(|_| 0)), (0, 7, None), (1, 7, classes.map(|_| 2)), (1, 39, None)];
        for (weights, activations) in precisions {
            let plans = PlanOptions { weights, activations, ..PlanOptions::default() };
            let model = load(&runtime(Level::best(), 2, plans), name);
            let (two, length) = (images(&*model), model.info().image_length());
            let image = |index: usize| two[index * length..][..length].to_vec();
            let batch: Vec<f32> = asked.iter().flat_map(|(index, ..)| image(*index)).collect();
            let (timesteps, classes) = (asked.map(|(_, timestep, _)| timestep), asked.map(|(.., class)| class));
            let together = model.predict(&batch, &timesteps, &classes).unwrap();
            let single = load(&runtime(Level::best(), 1, plans), name);
            for (place, (index, timestep, class)) in asked.into_iter().enumerate() {
                let alone = single.predict(&image(index), &[timestep], &[class]).unwrap();
                let together = &together[place * length..][..length];
                assert_eq!(bits(&alone), bits(together), "{name} {weights:?} {activations:?} {place}");
            }
        }
    }
}

#[test]
fn timestep_and_class_change_what_is_predicted() {
    let model = load(&runtime(Level::best(), 1, PlanOptions::default()), "classes");
    let images = images(&*model);
    let of = |timestep, class| bits(&model.predict(&images, &[timestep; 2], &[class; 2]).unwrap());
    let all = [of(0, None), of(7, None), of(7, Some(0)), of(7, Some(1))];
    for (index, one) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| one != other), "{index}");
    }
}

#[test]
fn inspection_and_model_say_what_files_say() {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    let cases = [
        (
            "grey",
            Framework::Safetensors,
            Prediction::Noise,
            [1, 12],
            json!({"base_channels": 8, "time_emb_dim": 12, "image_size": 12, "num_timesteps": 40, "num_heads": 2, "num_groups": 4}),
        ),
        (
            "classes",
            Framework::Safetensors,
            Prediction::Velocity,
            [3, 8],
            json!({"base_channels": 8, "num_classes": 3, "prediction_type": "v_prediction"}),
        ),
        (
            "transposed",
            Framework::Pytorch,
            Prediction::Image,
            [3, 8],
            json!({"image_channels": 3, "base_channels": 6, "time_emb_dim": 10}),
        ),
    ];
    for (name, framework, prediction, [channels, side], sizes) in cases {
        let inspection = runtime.inspect(&files(&folder(name))).unwrap().unwrap();
        assert_eq!((inspection.architecture.as_deref(), inspection.framework), (Some("unet"), framework), "{name}");
        assert_eq!((inspection.model_type, inspection.not_servable_because), (ModelType::Diffusion, None), "{name}");
        for (key, expected) in sizes.as_object().unwrap() {
            assert_eq!(&inspection.hyper_parameters[key], expected, "{name} {key}");
        }
        let model = load(&runtime, name);
        let info = model.info();
        assert_eq!((info.channels, info.image_size, info.prediction), (channels, [side; 2], prediction), "{name}");
        assert_eq!((info.num_timesteps(), info.num_classes), (40, expected(name).num_classes), "{name}");
        let weights = model.memory_bytes();
        model.predict(&images(&*model), &[0; 2], &[None; 2]).unwrap();
        assert!(weights > 0 && model.memory_bytes() > weights, "{name}: what is kept between calls is counted");
    }
}

#[test]
fn questions_that_do_not_fit_are_refused_with_both_values() {
    let model = load(&runtime(Level::best(), 1, PlanOptions::default()), "classes");
    let images = images(&*model);
    type Case<'c> = (&'c [f32], &'c [usize], &'c [Option<usize>], &'c str, &'c str);
    let cases: [Case<'_>; 5] = [
        (&images, &[0; 3], &[None; 3], "images", "384 numbers"),
        (&images, &[0; 2], &[None; 1], "images", "1 classes"),
        (&images[1..], &[0; 2], &[None; 2], "images", "383 numbers"),
        (&images, &[0, 40], &[None; 2], "timesteps", "below 40"),
        (&images, &[0, 0], &[Some(0), Some(3)], "classes", "below 3"),
    ];
    for (images, timesteps, classes, field, expected) in cases {
        let error = model.predict(images, timesteps, classes).unwrap_err();
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(field)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let plain = load(&runtime(Level::best(), 1, PlanOptions::default()), "grey");
    assert!(plain.predict(&vec![0.0; 144], &[0], &[Some(0)]).is_err(), "it was trained without classes");
}
