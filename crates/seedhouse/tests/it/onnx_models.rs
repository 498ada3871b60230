//! Real ONNX graphs against values that ONNX Runtime computed (`reference/onnx-graphs.json`, made by `scripts/make_onnx_references.py`, and
//! `reference/onnx-zoo.json`).

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use seedhouse_core::Digest;
use seedhouse_core::runtime::{
    LoadOptions, LoadedModel, LocalFile, LocalFiles, Runtime, Tensor, TensorData, TensorModel, TensorType,
};
use seedhouse_onnx::{LibraryChoice, OnnxRuntime, OnnxSettings};
use serde_json::{Map, Value};

use crate::support::{OnnxModels, OnnxWheel, reference};

/// Loads a graph by every runtime that is there: the built-in one, and ONNX Runtime.
fn load(path: PathBuf) -> Vec<Arc<dyn TensorModel>> {
    let digest = Digest::of("the service verifies digests; this test does not");
    let files = LocalFiles(vec![LocalFile { path: "model.onnx".parse().unwrap(), local: path, digest }]);
    let load = |(name, runtime): (&str, OnnxRuntime)| {
        let inspection = runtime.inspect(&files).unwrap().unwrap();
        assert_eq!(inspection.not_servable_because, None);
        let options = LoadOptions { metadata: Map::from_iter([("runtime".to_owned(), name.into())]) };
        match runtime.load(&files, &options).unwrap() {
            LoadedModel::Tensor(model) => model,
            _ => panic!("a graph takes tensors"),
        }
    };
    let built_in = ("rten", OnnxRuntime::new());
    [built_in].into_iter().chain(onnx_runtime().map(|library| ("onnxruntime", library))).map(load).collect()
}

fn onnx_runtime() -> Option<OnnxRuntime> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| OnnxWheel::find().map(|wheel| wheel.unpacked()));
    let library = LibraryChoice::File(library.clone()?);
    Some(OnnxRuntime::with(&OnnxSettings { library, threads: Some(2) }).unwrap())
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect()
}

/// Makes the input that the script describes.
fn input(described: &Value, tensor_type: TensorType) -> Tensor {
    let whole = |shape: Vec<usize>, values: Vec<i64>| match tensor_type {
        TensorType::I32 => Tensor::new(shape, TensorData::I32(values.iter().map(|value| *value as i32).collect())),
        _ => Tensor::new(shape, TensorData::I64(values)),
    };
    if described.get("sine").is_some() {
        let shape = sizes(&described["sine"]);
        let count: usize = shape.iter().product();
        return Tensor::new(shape, sines(count));
    }
    if described.get("whole").is_some() {
        let shape = sizes(&described["whole"]);
        let count = shape.iter().product();
        return whole(shape, vec![described["value"].as_i64().unwrap(); count]);
    }
    let shape = sizes(&described["counter"]);
    let count: usize = shape.iter().product();
    let modulus = described["modulus"].as_i64().unwrap();
    whole(shape, (0..count as i64).map(|i| (7 * i + 1) % modulus).collect())
}

fn sines(count: usize) -> Vec<f32> {
    (0..count).map(|i| (0.001 * i as f64).sin() as f32).collect()
}

fn floats(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        TensorData::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::I64(values) => values.iter().map(|value| *value as f64).collect(),
        other => panic!("no output of these graphs is {}", other.tensor_type()),
    }
}

#[test]
fn real_graphs_give_the_values_of_onnx_runtime() {
    let Some(models) = OnnxModels::find() else { return };
    let reference = reference("onnx-graphs.json");
    let mut wrong = Vec::new();
    let cases = reference["graphs"].as_object().unwrap().iter();
    let loaded = cases.flat_map(|case| load(models.path(case.0)).into_iter().map(move |model| (case, model)));
    for ((name, case), model) in loaded {
        let runtime = model.computed_by().unwrap();
        let inputs: Vec<(&str, Tensor)> = model
            .inputs()
            .iter()
            .map(|spec| (spec.name.as_str(), input(&case["inputs"][&spec.name], spec.tensor_type)))
            .collect();
        let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let outputs = model.run(&inputs).unwrap();
        for (spec, output) in model.outputs().iter().zip(&outputs) {
            let expected = &case["outputs"][&spec.name];
            assert_eq!(output.shape, sizes(&expected["shape"]), "{name} {}", spec.name);
            let step = expected["step"].as_u64().unwrap() as usize;
            let values = expected["values"].as_array().unwrap();
            let worst = floats(output)
                .iter()
                .step_by(step)
                .zip(values)
                .map(|(found, expected)| (found - expected.as_f64().unwrap()).abs())
                .fold(0.0, f64::max);
            let scale = expected["mean_absolute"].as_f64().unwrap();
            println!("{name} {} by {runtime}: largest difference {worst:.2e}, mean value {scale:.2e}", spec.name);
            // Sums in another order for f32. Graphs that quantise while they run round to 8 bits in every layer, where a last bit of
            // f32 decides: ONNX Runtime itself differs by up to 3.6 % of the mean between the processor of the references and others.
            let tolerance = if name.contains("int8") { 5e-2 * scale.max(1.0) } else { 1e-4 * scale.max(1.0) };
            if worst.is_nan() || worst > tolerance {
                wrong.push(format!("{name} {} by {runtime}: {worst} is above {tolerance}", spec.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn magika_names_the_content_types_of_the_reference() {
    let Some(models) = OnnxModels::find() else { return };
    let loaded = load(models.path("magika-standard-v3-3.onnx"));
    let config: Value =
        serde_json::from_slice(&std::fs::read(models.path("magika-standard-v3-3.config.json")).unwrap()).unwrap();
    let labels = config["target_labels_space"].as_array().unwrap();
    let reference = reference("onnx-zoo.json");
    let cases = reference["magika standard_v3_3"]["cases"].as_array().unwrap();
    for (model, case) in loaded.iter().flat_map(|model| cases.iter().map(move |case| (model, case))) {
        let bytes = Tensor::new(vec![1, 2048], TensorData::I32(magika_bytes(case["content_utf8"].as_str().unwrap())));
        let output = &model.run(&[("bytes", &bytes)]).unwrap()[0];
        let probabilities = floats(output);
        for expected in case["top3"].as_array().unwrap() {
            let index = labels.iter().position(|label| *label == expected[0]).unwrap();
            let difference = (probabilities[index] - expected[1].as_f64().unwrap()).abs();
            // The reference has five digits.
            assert!(difference < 2e-5, "{expected}: {difference}");
        }
    }
}

/// The first and last 1024 bytes without white space at the ends, filled up with 256.
fn magika_bytes(content: &str) -> Vec<i32> {
    let content = content.as_bytes();
    let begin = &content[..content.len().min(4096)].trim_ascii_start();
    let begin = &begin[..begin.len().min(1024)];
    let end = &content[content.len().saturating_sub(4096)..].trim_ascii_end();
    let end = &end[end.len().saturating_sub(1024)..];
    let mut bytes: Vec<i32> = begin.iter().map(|byte| i32::from(*byte)).collect();
    bytes.resize(1024, 256);
    bytes.extend(std::iter::repeat_n(256, 1024 - end.len()));
    bytes.extend(end.iter().map(|byte| i32::from(*byte)));
    bytes
}

#[test]
fn text_recognition_gives_the_reference_distribution() {
    let Some(models) = OnnxModels::find() else { return };
    let expected = &reference("onnx-zoo.json")["PP-OCRv4 rec"]["synthetic"];
    let image = Tensor::new(vec![1, 3, 48, 320], sines(3 * 48 * 320));
    for model in load(models.path("ch_PP-OCRv4_rec_infer.onnx")) {
        let output = &model.run(&[("x", &image)]).unwrap()[0];
        assert_eq!(output.shape, sizes(&expected["shape"]));
        for (step, probabilities) in floats(output).chunks(output.shape[2]).enumerate() {
            let best = (0..probabilities.len()).max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b])).unwrap();
            assert_eq!(best as u64, expected["argmax_per_step"][step].as_u64().unwrap());
            let difference = (probabilities[best] - expected["max_per_step"][step].as_f64().unwrap()).abs();
            assert!(difference < 1e-4, "step {step}: {difference}");
        }
    }
}

#[test]
fn direction_of_text_has_the_reference_probabilities() {
    let Some(models) = OnnxModels::find() else { return };
    let image = Tensor::new(vec![1, 3, 48, 192], sines(3 * 48 * 192));
    let expected = &reference("onnx-zoo.json")["PP-OCR mobile v2 cls"]["synthetic"]["output"];
    for model in load(models.path("ch_ppocr_mobile_v2.0_cls_infer.onnx")) {
        let output = floats(&model.run(&[("x", &image)]).unwrap()[0]);
        for (found, expected) in output.iter().zip(expected.as_array().unwrap()) {
            assert!((found - expected.as_f64().unwrap()).abs() < 1e-5, "{found} instead of {expected}");
        }
    }
}

#[test]
fn voice_activity_carries_its_state_from_chunk_to_chunk() {
    let Some(models) = OnnxModels::find() else { return };
    for model in load(models.path("silero_vad_op18_ifless.onnx")) {
        carries_its_state(model.as_ref());
    }
}

fn carries_its_state(model: &dyn TensorModel) {
    let rate = Tensor::new(vec![], TensorData::I64(vec![16_000]));
    let sample = |index: usize| {
        let (t, turn) = (index as f64 / 16_000.0, 2.0 * std::f64::consts::PI);
        let tone = (turn * (200.0 + 40.0 * (turn * 3.0 * t).sin()) * t).sin();
        (0.3 * tone * (0.5 + 0.5 * (turn * 4.0 * t).sin())) as f32
    };
    let (mut context, mut state) = (vec![0.0_f32; 64], Tensor::new(vec![2, 1, 128], vec![0.0; 256]));
    let expected = &reference("onnx-zoo.json")["silero silero_vad_op18_ifless.onnx"]["synthetic"]["probs"];
    for (chunk, expected) in expected.as_array().unwrap().iter().enumerate() {
        let mut samples = context.clone();
        samples.extend((chunk * 512..(chunk + 1) * 512).map(sample));
        context = samples[512..].to_vec();
        let input = Tensor::new(vec![1, 576], samples);
        let mut outputs = model.run(&[("input", &input), ("state", &state), ("sr", &rate)]).unwrap();
        state = outputs.remove(1);
        let found = floats(&outputs[0])[0];
        assert!((found - expected.as_f64().unwrap()).abs() < 1e-4, "chunk {chunk}: {found} instead of {expected}");
    }
}
