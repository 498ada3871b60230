//! Quantising through the port, on the small models of every family that stand in `fixtures`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{
    Inspection, LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, StepPart, Tensor, Wanted,
};
use seedhouse_core::tabular::{FeatureKind, Table};
use seedhouse_core::training::ProducedFile;
use seedhouse_core::{Digest, Error, Progress, QuantizationType, QuantizeTask, Quantizer, Result, Unwatched};
use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, safetensors_with_texts};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{KEY, NativeQuantizer};
use crate::huggingface::safetensors::read_with_texts;
use crate::tests::fixture_files::files as files_of;
use crate::{ActivationPrecision, NativeOptions, NativeRuntime, PlanOptions, PoolOptions, WeightPrecision};

mod families;
mod files;
mod hostile;
mod numbers;

/// A version: its files, and what its record says.
#[derive(Clone)]
struct Case {
    name: String,
    files: LocalFiles,
    metadata: Map<String, Value>,
}

/// A quantised version for as long as the value lives.
struct Made {
    folder: TempDir,
    files: LocalFiles,
    quantized_tensors: u64,
    kept_tensors: u64,
}

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(path)
}

fn case(path: &str) -> Case {
    let metadata = match path.split('/').next().unwrap() {
        "vision" => json!({"num_heads": 2}),
        "diffusion" => {
            let expected: Value =
                serde_json::from_slice(&fs::read(fixture(path).join("expected.json")).unwrap()).unwrap();
            expected["settings"].clone()
        }
        _ => json!({}),
    };
    Case { name: path.to_owned(), files: files_of(&fixture(path)), metadata: metadata.as_object().unwrap().clone() }
}

/// A version of files that a test wrote.
fn written(folder: &Path, files: &[(&str, &[u8])]) -> LocalFiles {
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    files_of(folder)
}

fn quantize_with(case: &Case, precision: QuantizationType, progress: &dyn Progress) -> Result<Made> {
    let folder = tempfile::tempdir().unwrap();
    let task = QuantizeTask { files: &case.files, metadata: &case.metadata, precision, folder: folder.path() };
    let quantized = NativeQuantizer.quantize(&task, progress)?;
    let local = |ProducedFile { path, local }: ProducedFile| {
        assert_eq!(local, folder.path().join(path.as_str()));
        LocalFile { digest: Digest::of(fs::read(&local).unwrap()), path, local }
    };
    let files = LocalFiles(quantized.files.into_iter().map(local).collect());
    assert_eq!(files.0.len(), files_of(folder.path()).0.len(), "every file is named");
    let (quantized_tensors, kept_tensors) = (quantized.quantized_tensors, quantized.kept_tensors);
    Ok(Made { folder, files, quantized_tensors, kept_tensors })
}

fn quantize(case: &Case, precision: QuantizationType) -> Made {
    quantize_with(case, precision, &Unwatched).unwrap_or_else(|error| panic!("{} {precision}: {error}", case.name))
}

fn runtime(weights: WeightPrecision, activations: ActivationPrecision) -> NativeRuntime {
    NativeRuntime::with(NativeOptions {
        pool: PoolOptions { threads: 2, ..PoolOptions::default() },
        plans: PlanOptions { weights, activations, ..PlanOptions::default() },
        plans_folder: None,
    })
}

fn load(runtime: &NativeRuntime, files: &LocalFiles, metadata: &Map<String, Value>) -> Result<LoadedModel> {
    runtime.load(files, &LoadOptions { metadata: metadata.clone() })
}

fn inspect(files: &LocalFiles) -> Result<Inspection> {
    Ok(NativeRuntime::new().inspect(files)?.expect("the format is known"))
}

fn wave(count: usize) -> Vec<f32> {
    (0..count).map(|index| (0.37 * f64::from(index as u32)).sin() as f32).collect()
}

/// Returns what a model of any kind makes of some input.
fn outputs(model: &LoadedModel) -> Vec<f32> {
    match model {
        LoadedModel::Text(model) => {
            let tokens: Vec<u32> = (0..9).map(|token| (token * 11 + 3) % model.info().vocab_size as u32).collect();
            let mut executor = model.executor().unwrap();
            let sequence = executor.open().unwrap();
            let logits = executor.step(&[StepPart { sequence, tokens: &tokens, wanted: Wanted::All }]).unwrap();
            logits.rows().flatten().copied().collect()
        }
        LoadedModel::Tensor(model) => {
            let spec = &model.inputs()[0];
            let input = match spec.shape.len() {
                2 => rows_of_table(&model.declared()),
                _ => {
                    let shape: Vec<usize> =
                        [2, 3, 48, 48].iter().zip(&spec.shape).map(|(size, of)| of.unwrap_or(*size)).collect();
                    Tensor::new(shape.clone(), wave(shape.iter().product()))
                }
            };
            let found = model.run(&[(spec.name.as_str(), &input)]).unwrap();
            found.iter().flat_map(|tensor| tensor.f32s().unwrap().to_vec()).collect()
        }
        LoadedModel::Diffusion(model) => {
            let classes = model.info().num_classes.map(|_| 0);
            model.predict(&wave(2 * model.info().image_length()), &[5, 1], &[classes; 2]).unwrap()
        }
        LoadedModel::Embedding(model) => model.embed(&[&[2, 5, 9, 3], &[2, 7, 3]]).unwrap().concat(),
        LoadedModel::Problem(_) => panic!("a problem has no weights"),
    }
}

fn rows_of_table(declared: &Map<String, Value>) -> Tensor {
    let table = Table::read("", declared).unwrap();
    let raw = |row: usize, kind: &FeatureKind| match kind {
        FeatureKind::Numeric { .. } => 2.0 + 3.0 * row as f32,
        FeatureKind::Boolean => (row % 2) as f32,
        FeatureKind::Categorical { categories, .. } => (row % categories.len()) as f32,
    };
    let rows = (0..3).flat_map(|row| table.features.iter().map(move |feature| raw(row, &feature.kind)));
    Tensor::new(vec![3, table.features.len()], rows.collect::<Vec<f32>>())
}

/// Returns the greatest difference, relative to the greatest magnitude.
fn difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let greatest = expected.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    let worse = |worst: f32, one: f32| if one > worst || one.is_nan() { one } else { worst };
    found.iter().zip(expected).fold(0.0, |worst, (found, expected)| worse(worst, (found - expected).abs())) / greatest
}

/// A safetensors file that a test changes.
#[derive(Clone)]
struct Parts {
    tensors: BTreeMap<String, SafetensorsEntry>,
    texts: BTreeMap<String, String>,
}

impl Parts {
    fn read(path: &Path) -> Parts {
        let bytes = fs::read(path).unwrap();
        let (entries, texts) = read_with_texts("m", &bytes).unwrap();
        let tensor = |entry: crate::huggingface::safetensors::TensorEntry| {
            let data = bytes[entry.range].to_vec();
            (entry.name.clone(), SafetensorsEntry { name: entry.name, dtype: entry.dtype, shape: entry.shape, data })
        };
        Parts { tensors: entries.into_iter().map(tensor).collect(), texts: texts.into_iter().collect() }
    }

    fn bytes(&self) -> Vec<u8> {
        let texts: Vec<(&str, &str)> = self.texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        safetensors_with_texts(&self.tensors.values().cloned().collect::<Vec<_>>(), &texts)
    }

    fn document(&self) -> Value {
        serde_json::from_str(&self.texts[KEY]).unwrap()
    }

    fn tensor(&mut self, name: &str) -> &mut SafetensorsEntry {
        self.tensors.get_mut(name).unwrap()
    }
}
