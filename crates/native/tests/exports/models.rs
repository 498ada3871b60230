//! Models of the fixtures, loaded so that they compute as exactly as they can. Shared by the tests of exports and the example `exports`.

#[path = "../../src/tests/fixture_files.rs"]
mod fixture_files;

use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFiles, Runtime, Tensor, TensorData};
use seedhouse_native::{ActivationPrecision, NativeOptions, NativeRuntime, PlanOptions, WeightPrecision};
use serde_json::{Map, Value};

pub(crate) use self::fixture_files::files;

pub(crate) fn native(files: &LocalFiles, metadata: &Map<String, Value>) -> LoadedModel {
    let plans =
        PlanOptions { weights: WeightPrecision::F32, activations: ActivationPrecision::F32, ..PlanOptions::default() };
    let runtime = NativeRuntime::with(NativeOptions { plans, ..NativeOptions::default() });
    runtime.load(files, &LoadOptions { metadata: metadata.clone() }).unwrap()
}

pub(crate) fn integers(shape: &[usize], numbers: impl IntoIterator<Item = i64>) -> Tensor {
    Tensor { shape: shape.to_vec(), data: TensorData::I64(numbers.into_iter().collect()) }
}

pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
