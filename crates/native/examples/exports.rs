//! Exports every network of the fixtures to ONNX, every decoder that llama.cpp has to GGUF, and some to folders of the transformers library.
//! Writes beside the files what the models answer here, for `scripts/check_exports.py`:
//!
//! ```text
//! cargo run -p seedhouse-native --example exports -- FOLDER
//! ```

#![expect(clippy::unwrap_used, reason = "a tool of the tests: a panic is the report")]

#[path = "../tests/exports/models.rs"]
mod models;

use std::fs;
use std::path::{Path, PathBuf};

use seedhouse_core::runtime::{LoadedModel, LocalFiles, StepPart, Tensor, TensorData, Wanted};
use seedhouse_core::{Code, Error, ExportTask, ModelFormat, Unwatched};
use seedhouse_native::{export_gguf, export_safetensors, graph};
use seedhouse_onnx::write_graph;
use serde_json::{Map, Value, json};

use self::models::{files, integers, native, softmax};

/// Decoders that become folders of the transformers library: one is such a folder, one a file of llama.cpp.
const OF_TRANSFORMERS: [&str; 2] = ["llama", "gguf-q4_0"];

/// Image classifiers, their channels and the sides of an image.
const CLASSIFIERS: [(&str, usize, usize); 7] = [
    ("cnn", 1, 22),
    ("vit", 3, 12),
    ("hf-vit", 3, 12),
    ("resnet-basic", 3, 40),
    ("resnet-bottleneck", 3, 33),
    ("hf-resnet-basic", 3, 32),
    ("hf-resnet-bottleneck", 3, 32),
];

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("the folder to write to"));
    fs::create_dir_all(&folder).unwrap();
    let mut cases = Vec::new();
    for name in fixtures("decoders") {
        let case = Case::new(&folder, &format!("decoders/{name}"));
        cases.push(case.decoder(ModelFormat::Onnx).unwrap());
        match case.decoder(ModelFormat::Gguf) {
            Ok(exported) => cases.push(exported),
            Err(refused) if refused.code() == Code::Unsupported => println!("{refused}"),
            Err(error) => panic!("{name}: {error}"),
        }
        if OF_TRANSFORMERS.contains(&name.as_str()) {
            cases.push(case.decoder(ModelFormat::Safetensors).unwrap());
        }
    }
    for name in fixtures("vision") {
        let known = CLASSIFIERS.into_iter().find(|(known, ..)| *known == name);
        let (_, channels, side) = known.unwrap_or_else(|| panic!("how great are the images of `{name}`?"));
        cases.push(Case::new(&folder, &format!("vision/{name}")).classifier(channels, side));
    }
    cases.extend(fixtures("diffusion").iter().map(|name| Case::new(&folder, &format!("diffusion/{name}")).u_net()));
    cases.extend(fixtures("embedding").iter().map(|name| Case::new(&folder, &format!("embedding/{name}")).encoder()));
    cases.extend(fixtures("tabular").iter().map(|name| Case::new(&folder, &format!("tabular/{name}")).table()));
    let text = serde_json::to_string(&cases).unwrap();
    fs::write(folder.join("cases.json"), text).unwrap();
    println!("{} exports in {}", cases.len(), folder.display());
}

/// Returns the names of the models of a kind.
fn fixtures(kind: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(kind);
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let mut names: Vec<String> = paths.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    names
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
        native(&self.files, &self.metadata)
    }

    /// Exports the model, and returns the path.
    fn export(&self, format: ModelFormat) -> Result<String, Error> {
        let task =
            ExportTask { files: &self.files, metadata: &self.metadata, format, folder: self.folder, name: &self.name };
        let produced = match format {
            ModelFormat::Onnx => {
                let drawn = graph(&self.files, &self.metadata, &Unwatched)?;
                let path = format!("{}.onnx", self.name);
                let mut file = fs::File::create(self.folder.join(&path)).unwrap();
                write_graph(&drawn, &mut file, &Unwatched)?;
                return Ok(path);
            }
            ModelFormat::Safetensors => export_safetensors(&task, &Unwatched)?,
            ModelFormat::Gguf => export_gguf(&task, &Unwatched)?,
        };
        let is_folder = self.folder.join(&self.name).is_dir();
        Ok(if is_folder { self.name.clone() } else { produced.files[0].path.to_string() })
    }

    fn decoder(&self, format: ModelFormat) -> Result<Value, Error> {
        let LoadedModel::Text(model) = self.load() else { panic!("{} is a decoder", self.name) };
        let vocab_size = model.info().vocab_size;
        let tokens: Vec<u32> = (0..12_u32).map(|place| (place * 7 + 3) % vocab_size as u32).collect();
        let mut executor = model.executor().unwrap();
        let sequence = executor.open().unwrap();
        let rows = executor.step(&[StepPart { sequence, tokens: &tokens, wanted: Wanted::All }]).unwrap();
        let logits: Vec<f32> = rows.rows().flatten().copied().collect();
        let ids = integers(&[1, tokens.len()], tokens.iter().map(|token| i64::from(*token)));
        let output = Tensor::new(vec![1, tokens.len(), vocab_size], logits);
        let mut case = case(&self.export(format)?, format, &[("input_ids", &ids)], &[("logits", &output)]);
        case["tokens"] = json!(tokens);
        Ok(case)
    }

    fn classifier(&self, channels: usize, side: usize) -> Value {
        let LoadedModel::Tensor(model) = self.load() else { panic!("{} is a classifier", self.name) };
        let shape = vec![3, channels, side, side];
        let images = Tensor::new(shape.clone(), numbers(shape.iter().product()));
        let outputs = model.run(&[("image", &images)]).unwrap();
        let named = [("logits", &outputs[0]), ("features", &outputs[1])];
        case(&self.export(ModelFormat::Onnx).unwrap(), ModelFormat::Onnx, &[("pixel_values", &images)], &named)
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
        case(&self.export(ModelFormat::Onnx).unwrap(), ModelFormat::Onnx, &inputs, &[("prediction", &predicted)])
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
        case(&self.export(ModelFormat::Onnx).unwrap(), ModelFormat::Onnx, &inputs, &[("sentence_embedding", &vectors)])
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
        case(&self.export(ModelFormat::Onnx).unwrap(), ModelFormat::Onnx, &[("features", &raw)], &[(name, &answers)])
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

/// Numbers between -1 and 1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|place| (place as f32 * 0.7).sin()).collect()
}
