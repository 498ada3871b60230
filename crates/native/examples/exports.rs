//! Exports every little model of the fixtures to every format that it has, and writes beside the files what the models answer here, for
//! `scripts/check_exports.py`:
//!
//! ```text
//! cargo run -p seedhouse-native --example exports -- FOLDER
//! ```

#![expect(clippy::unwrap_used, reason = "a tool of the tests: a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, StepPart, Tensor, TensorData, Wanted,
};
use seedhouse_core::{Digest, ExportTask, ModelFormat, Unwatched};
use seedhouse_native::{
    ActivationPrecision, NativeOptions, NativeRuntime, PlanOptions, WeightPrecision, export_gguf, export_safetensors,
    graph,
};
use seedhouse_onnx::write_graph;
use serde_json::{Map, Value, json};

/// Decoders, and the formats that they are checked in by other programs.
const DECODERS: [(&str, &[ModelFormat]); 10] = [
    ("llama", &[ModelFormat::Onnx, ModelFormat::Gguf, ModelFormat::Safetensors]),
    ("llama3-rope", &[ModelFormat::Onnx, ModelFormat::Gguf]),
    ("linear-rope", &[ModelFormat::Onnx, ModelFormat::Gguf]),
    ("mistral-window", &[ModelFormat::Onnx]),
    ("yarn-rope", &[ModelFormat::Onnx]),
    ("qwen2", &[ModelFormat::Onnx, ModelFormat::Gguf]),
    ("qwen3", &[ModelFormat::Onnx, ModelFormat::Gguf]),
    ("gpt2", &[ModelFormat::Onnx, ModelFormat::Gguf]),
    ("original", &[ModelFormat::Onnx]),
    ("gguf-q4_0", &[ModelFormat::Onnx, ModelFormat::Safetensors, ModelFormat::Gguf]),
];

/// Networks with tensors in and out, and the sides of an image.
const NETWORKS: [(&str, usize, usize); 7] = [
    ("vision/cnn", 1, 22),
    ("vision/vit", 3, 12),
    ("vision/hf-vit", 3, 12),
    ("vision/resnet-basic", 3, 40),
    ("vision/resnet-bottleneck", 3, 33),
    ("vision/hf-resnet-basic", 3, 32),
    ("vision/hf-resnet-bottleneck", 3, 32),
];

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&folder).unwrap();
    let mut cases = Vec::new();
    for (name, formats) in DECODERS {
        let case = Case::new(&folder, &format!("decoders/{name}"));
        formats.iter().for_each(|format| cases.push(case.decoder(*format)));
    }
    for (name, channels, side) in NETWORKS {
        cases.push(Case::new(&folder, name).classifier(channels, side));
    }
    for name in ["classes", "grey", "transposed"] {
        cases.push(Case::new(&folder, &format!("diffusion/{name}")).u_net());
    }
    for name in ["bert-mean", "bert-cls", "bert-max"] {
        cases.push(Case::new(&folder, &format!("embedding/{name}")).encoder());
    }
    for name in ["crop-classifier", "yield-regressor"] {
        cases.push(Case::new(&folder, &format!("tabular/{name}")).table());
    }
    let text = serde_json::to_string(&cases).unwrap();
    fs::write(folder.join("cases.json"), text).unwrap();
    println!("{} exports in {}", cases.len(), folder.display());
}

/// A model, and where its exports go.
struct Case<'f> {
    folder: &'f Path,
    name: String,
    files: LocalFiles,
    metadata: Map<String, Value>,
    expected: Value,
}

impl<'f> Case<'f> {
    fn new(folder: &'f Path, fixture: &str) -> Case<'f> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
        let expected: Value = serde_json::from_slice(&fs::read(source.join("expected.json")).unwrap()).unwrap();
        let mut metadata = expected["settings"].as_object().cloned().unwrap_or_default();
        metadata.entry("num_heads").or_insert(json!(2));
        Case { folder, name: fixture.replace('/', "-"), files: files(&source), metadata, expected }
    }

    fn load(&self) -> LoadedModel {
        let plans = PlanOptions {
            weights: WeightPrecision::F32,
            activations: ActivationPrecision::F32,
            ..PlanOptions::default()
        };
        let runtime = NativeRuntime::with(NativeOptions { plans, ..NativeOptions::default() });
        runtime.load(&self.files, &LoadOptions { metadata: self.metadata.clone() }).unwrap()
    }

    /// Exports the model, and returns the path.
    fn export(&self, format: ModelFormat) -> String {
        let task =
            ExportTask { files: &self.files, metadata: &self.metadata, format, folder: self.folder, name: &self.name };
        let produced = match format {
            ModelFormat::Onnx => {
                let drawn = graph(&self.files, &self.metadata, &Unwatched).unwrap();
                let path = format!("{}.onnx", self.name);
                let mut file = fs::File::create(self.folder.join(&path)).unwrap();
                write_graph(&drawn, &mut file, &Unwatched).unwrap();
                return path;
            }
            ModelFormat::Safetensors => export_safetensors(&task, &Unwatched).unwrap(),
            ModelFormat::Gguf => export_gguf(&task, &Unwatched).unwrap(),
        };
        let first = produced.files[0].path.as_str();
        first.split_once('/').map_or(first, |(folder, _)| folder).to_owned()
    }

    fn decoder(&self, format: ModelFormat) -> Value {
        let LoadedModel::Text(model) = self.load() else { panic!("{} is a decoder", self.name) };
        let vocab_size = model.info().vocab_size;
        let tokens: Vec<u32> = (0..12_u32).map(|place| (place * 7 + 3) % vocab_size as u32).collect();
        let mut executor = model.executor().unwrap();
        let sequence = executor.open().unwrap();
        let rows = executor.step(&[StepPart { sequence, tokens: &tokens, wanted: Wanted::All }]).unwrap();
        let logits: Vec<f32> = rows.rows().flatten().copied().collect();
        let ids = integers(&[1, tokens.len()], tokens.iter().map(|token| i64::from(*token)));
        let output = Tensor::new(vec![1, tokens.len(), vocab_size], logits);
        let mut case = case(&self.export(format), format, &[("input_ids", &ids)], &[("logits", &output)]);
        case["tokens"] = json!(tokens);
        case
    }

    fn classifier(&self, channels: usize, side: usize) -> Value {
        let LoadedModel::Tensor(model) = self.load() else { panic!("{} is a classifier", self.name) };
        let shape = vec![3, channels, side, side];
        let images = Tensor::new(shape.clone(), numbers(shape.iter().product()));
        let outputs = model.run(&[("image", &images)]).unwrap();
        let named = [("logits", &outputs[0]), ("features", &outputs[1])];
        case(&self.export(ModelFormat::Onnx), ModelFormat::Onnx, &[("pixel_values", &images)], &named)
    }

    fn u_net(&self) -> Value {
        let LoadedModel::Diffusion(model) = self.load() else { panic!("{} is a U-Net", self.name) };
        let info = model.info();
        let [height, width] = info.image_size;
        let area = height * width;
        let images = Tensor::new(vec![2, info.channels, height, width], numbers(2 * info.image_length()));
        let turned = |numbers: &[f32], inner: usize, outer: usize| -> Vec<f32> {
            let image = |image: &[f32]| -> Vec<f32> {
                (0..inner).flat_map(|first| (0..outer).map(move |second| image[second * inner + first])).collect()
            };
            numbers.chunks(inner * outer).flat_map(image).collect()
        };
        let timesteps = [0, info.num_timesteps() - 1];
        let classes = [None, info.num_classes.map(|_| 0)];
        let by_pixel = turned(images.f32s().unwrap(), area, info.channels);
        let predicted = model.predict(&by_pixel, &timesteps, &classes).unwrap();
        let predicted = Tensor::new(images.shape.clone(), turned(&predicted, info.channels, area));
        let timesteps = integers(&[2], timesteps.map(|timestep| timestep as i64));
        let labels = integers(&[2], classes.map(|class| class.or(info.num_classes).unwrap_or(0) as i64));
        let mut inputs = vec![("sample", &images), ("timestep", &timesteps)];
        if info.num_classes.is_some() {
            inputs.push(("class_label", &labels));
        }
        case(&self.export(ModelFormat::Onnx), ModelFormat::Onnx, &inputs, &[("prediction", &predicted)])
    }

    fn encoder(&self) -> Value {
        let LoadedModel::Embedding(model) = self.load() else { panic!("{} is an encoder", self.name) };
        let sequences: [&[u32]; 2] = [&[2, 5, 9, 3], &[4, 3]];
        let vectors = model.embed(&sequences).unwrap();
        let vectors = Tensor::new(vec![2, vectors[0].len()], vectors.concat());
        let tokens = integers(&[2, 4], [2, 5, 9, 3, 4, 3, 0, 0]);
        let mask = integers(&[2, 4], [1, 1, 1, 1, 1, 1, 0, 0]);
        let types = integers(&[2, 4], [0; 8]);
        let inputs = [("input_ids", &tokens), ("attention_mask", &mask), ("token_type_ids", &types)];
        case(&self.export(ModelFormat::Onnx), ModelFormat::Onnx, &inputs, &[("sentence_embedding", &vectors)])
    }

    /// What is expected of a table was computed by another implementation.
    fn table(&self) -> Value {
        let LoadedModel::Tensor(model) = self.load() else { panic!("{} is for tables", self.name) };
        let declared = model.declared();
        let features = declared["features"].as_array().unwrap();
        let rows = self.expected["rows"].as_array().unwrap();
        let raw = rows.iter().flat_map(|row| features.iter().map(move |feature| raw(feature, row)));
        let raw = Tensor::new(vec![rows.len(), features.len()], raw.collect::<Vec<f32>>());
        let answers = model.run(&[("features", &raw)]).unwrap().remove(0);
        let width = answers.shape[1];
        let numbers = answers.f32s().unwrap();
        let (name, numbers) = match declared.contains_key("classes") {
            true => ("probabilities", numbers.chunks(width).flat_map(softmax).collect()),
            false => ("targets", numbers.to_vec()),
        };
        let answers = Tensor::new(answers.shape.clone(), numbers);
        case(&self.export(ModelFormat::Onnx), ModelFormat::Onnx, &[("features", &raw)], &[(name, &answers)])
    }
}

fn raw(feature: &Value, row: &Value) -> f32 {
    match &row[feature["name"].as_str().unwrap()] {
        Value::Null => f32::NAN,
        Value::Bool(truth) => f32::from(u8::from(*truth)),
        Value::String(word) => {
            let categories = feature["categories"].as_array().unwrap();
            categories.iter().position(|category| category == word).unwrap() as f32
        }
        number => number.as_f64().unwrap() as f32,
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn case(path: &str, format: ModelFormat, inputs: &[(&str, &Tensor)], outputs: &[(&str, &Tensor)]) -> Value {
    let object = |tensors: &[(&str, &Tensor)]| -> Map<String, Value> {
        tensors.iter().map(|(name, tensor)| ((*name).to_owned(), described(tensor))).collect()
    };
    json!({"path": path, "format": format.as_str(), "inputs": object(inputs), "outputs": object(outputs)})
}

/// JSON has no NaN: what is missing is null.
fn described(tensor: &Tensor) -> Value {
    let (kind, data) = match &tensor.data {
        TensorData::F32(numbers) => ("float32", json!(numbers)),
        TensorData::I64(numbers) => ("int64", json!(numbers)),
        _ => panic!("other tensors are not compared"),
    };
    json!({"type": kind, "shape": tensor.shape, "data": data})
}

fn integers(shape: &[usize], numbers: impl IntoIterator<Item = i64>) -> Tensor {
    Tensor { shape: shape.to_vec(), data: TensorData::I64(numbers.into_iter().collect()) }
}

/// Numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|place| (place as f32 * 0.7).sin()).collect()
}

fn files(folder: &Path) -> LocalFiles {
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
    LocalFiles(found)
}
