//! Models of the fixtures, loaded so that they compute as exactly as they can. Shared by the tests of exports and the example `exports`.

use std::fs;
use std::path::Path;

use seedhouse_core::Digest;
use seedhouse_core::runtime::{LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor, TensorData};
use seedhouse_native::{ActivationPrecision, NativeOptions, NativeRuntime, PlanOptions, WeightPrecision};
use serde_json::{Map, Value};

/// Returns the files of a folder, those of its folders too, but for what is expected of them.
pub(crate) fn files(folder: &Path) -> LocalFiles {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with("expected.json") {
                found.push(LocalFile {
                    path: path.strip_prefix(folder).unwrap().to_str().unwrap().parse().unwrap(),
                    digest: Digest::of(fs::read(&path).unwrap()),
                    local: path,
                });
            }
        }
    }
    found.sort_by(|one, other| one.path.as_str().cmp(other.path.as_str()));
    LocalFiles(found)
}

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
