//! What stands in the new files, and what is not quantised.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use seedhouse_core::{Code, ProgressUnit};
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use seedhouse_testkit::tiny_torch::legacy_checkpoint;

use super::*;

#[test]
fn other_files_of_a_folder_stay_as_they_are_and_the_index_names_the_new_tensors() {
    let case = case("decoders/mistral-window");
    let made = quantize(&case, QuantizationType::Int8);
    for file in &case.files.0 {
        let new = made.files.0.iter().find(|new| new.path == file.path).expect("every file is there");
        let same = fs::read(&file.local).unwrap() == fs::read(&new.local).unwrap();
        let changes = file.path.as_str().starts_with("model");
        assert_eq!(same, !changes, "{}", file.path);
    }
    let index = fs::read(made.folder.path().join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["weight_map"]["lm_head.weight.scale"], json!("model-00002-of-00002.safetensors"));
    let bytes: u64 = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
        .iter()
        .flat_map(|name| Parts::read(&made.folder.path().join(name)).tensors.into_values())
        .map(|tensor| tensor.data.len() as u64)
        .sum();
    assert_eq!(index["metadata"]["total_size"], json!(bytes));
}

#[test]
fn document_names_what_the_tensors_are() {
    let made = quantize(&case("vision/hf-vit"), QuantizationType::Int4);
    let parts = Parts::read(&made.folder.path().join("model.safetensors"));
    let document = parts.document();
    assert_eq!((&document["version"], &document["type"]), (&json!(1), &json!("int4")));
    let query = "vit.encoder.layer.0.attention.attention.query.weight";
    assert_eq!(document["tensors"][query], json!({"type": "int4", "shape": [32, 32]}));
    assert_eq!((parts.tensors[query].dtype.as_str(), &parts.tensors[query].shape[..]), ("U8", &[32, 16][..]));
    let scale = &parts.tensors[&format!("{query}.scale")];
    assert_eq!((scale.dtype.as_str(), &scale.shape[..]), ("F16", &[32, 1][..]));
    let patches = "vit.embeddings.patch_embeddings.projection.weight";
    assert_eq!(document["tensors"][patches]["type"], json!("int8"));
    assert_eq!(parts.tensors["vit.layernorm.weight"].dtype, "F32");
    assert_eq!(parts.tensors["vit.embeddings.position_embeddings"].dtype, "F32");
    let halves = quantize(&case("vision/hf-vit"), QuantizationType::Float16);
    let parts = Parts::read(&halves.folder.path().join("model.safetensors"));
    assert_eq!((parts.tensors[query].dtype.as_str(), parts.document()["tensors"].clone()), ("F16", json!({})));
}

#[test]
fn batch_normalisation_is_folded_and_upsampling_becomes_transposed() {
    let made = quantize(&case("vision/cnn"), QuantizationType::Int8);
    let parts = Parts::read(&made.folder.path().join("model.safetensors"));
    assert_eq!(parts.tensors["conv1.bias"].dtype, "F32");
    assert!(!parts.tensors.keys().any(|name| name.starts_with("bn")), "{:?}", parts.tensors.keys());
    let made = quantize(&case("diffusion/grey"), QuantizationType::Int8);
    let parts = Parts::read(&made.folder.path().join("model.safetensors"));
    assert_eq!(parts.document()["tensors"]["up.1.transposed.weight"]["axis"], json!(1));
    assert!(!parts.tensors.contains_key("up.1.upsample.weight") && parts.tensors.contains_key("up.1.transposed.bias"));
    for kept in ["time_embedding.first.weight", "input.weight", "output.weight", "down.0.blocks.0.time.weight"] {
        assert_eq!(parts.tensors[kept].dtype, "F32", "{kept}");
    }
}

#[test]
fn checkpoint_of_the_original_decoder_becomes_a_folder_with_the_same_logits() {
    let source = case("decoders/original");
    let folder = tempfile::tempdir().unwrap();
    let parts = Parts::read(&fixture("decoders/original/model.safetensors"));
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> = parts
        .tensors
        .values()
        .map(|tensor| {
            let numbers = tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (tensor.name.clone(), tensor.shape.iter().map(|size| *size as usize).collect(), numbers)
        })
        .collect();
    let tensors: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, numbers)| (name.as_str(), &shape[..], &numbers[..])).collect();
    let tokenizer = fs::read(fixture("decoders/original/tokenizer.json")).unwrap();
    let files = written(folder.path(), &[("m.pth", &legacy_checkpoint(&tensors)), ("tokenizer.json", &tokenizer)]);
    let metadata =
        json!({"vocab_size": 101, "max_seq_len": 64, "d_model": 32, "num_heads": 4, "num_layers": 2, "d_ff": 48});
    let case = Case { name: "checkpoint".into(), files, metadata: metadata.as_object().unwrap().clone() };
    let made = quantize(&case, QuantizationType::Int8);
    let runtime = runtime(WeightPrecision::AsStored, ActivationPrecision::F32);
    let of_checkpoint = outputs(&load(&runtime, &made.files, &Map::new()).unwrap());
    let of_folder = quantize(&source, QuantizationType::Int8);
    assert_eq!(of_checkpoint, outputs(&load(&runtime, &of_folder.files, &Map::new()).unwrap()));
}

#[test]
fn what_cannot_be_quantised_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str, bytes: &[u8]| {
        let folder = folder.path().join(name.replace('.', "-"));
        fs::create_dir_all(&folder).unwrap();
        Case { name: name.into(), files: written(&folder, &[(name, bytes)]), metadata: Map::new() }
    };
    let quantized = quantize(&case("decoders/llama"), QuantizationType::Int8);
    let halves = quantize(&case("vision/vit"), QuantizationType::Float16);
    let of = |made: &Made| Case { name: "made".into(), files: made.files.clone(), metadata: Map::new() };
    let problem = fs::read(fixture("optimization/crops.json")).unwrap();
    let onnx = fs::read(fixture("tabular/yield-regressor.onnx")).unwrap();
    let foreign = legacy_checkpoint(&[("w", &[2, 2], &[1.0; 4])]);
    let cases = [
        (of(&quantized), "it is quantised to `int8` already"),
        (of(&halves), "it is quantised to `float16` already"),
        (one("m.gguf", &tiny_llama_gguf(1)), "the GGUF file `m.gguf` is not supported"),
        (one("crops.json", &problem), "a problem of optimisation has no weights"),
        (one("m.onnx", &onnx), "safetensors files, torch checkpoints and folders"),
        (one("m.pth", &foreign), "no known family has these 1 tensor names"),
    ];
    for (case, expected) in cases {
        let Err(error) = quantize_with(&case, QuantizationType::Int8, &Unwatched) else { panic!("{expected}") };
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
    }
    let Err(error) = quantize_with(&case("tabular/yield-regressor"), QuantizationType::Bfloat16, &Unwatched) else {
        panic!("BF16 became BF16")
    };
    assert!(error.to_string().contains("every weight that could be rounded has that type"), "{error}");
}

#[test]
fn numbers_that_no_file_can_hold_are_refused_with_their_place() {
    let mut parts = Parts::read(&fixture("vision/vit/model.safetensors"));
    let folder = tempfile::tempdir().unwrap();
    let mut with = |row: usize, number: f32| {
        let tensor = parts.tensor("classifier.weight");
        let at = row * 24 * 4;
        tensor.data[at..at + 4].copy_from_slice(&number.to_le_bytes());
        let files = written(folder.path(), &[("model.safetensors", &parts.bytes())]);
        let case = Case { name: "vit".into(), files, metadata: case("vision/vit").metadata };
        move |precision| match quantize_with(&case, precision, &Unwatched) {
            Ok(_) => panic!("{number} was quantised"),
            Err(error) => error.to_string(),
        }
    };
    let error = with(2, 7e4)(QuantizationType::Float16);
    assert!(error.contains("`classifier.weight`") && error.contains("70000") && error.contains("`F16`"), "{error}");
    let error = with(3, f32::NAN)(QuantizationType::Int8);
    assert!(error.contains("row 3 of tensor `classifier.weight` has the value NaN"), "{error}");
}

/// Cancels after some bytes, and keeps what is said.
#[derive(Default)]
struct Watch {
    limit: Option<u64>,
    total: AtomicU64,
    done: AtomicU64,
    notes: std::sync::Mutex<Vec<String>>,
}

impl Progress for Watch {
    fn stage(&self, name: &str, total: Option<u64>, unit: ProgressUnit) {
        assert_eq!((name, unit), ("quantising weights", ProgressUnit::Bytes));
        self.total.store(total.unwrap(), Ordering::Relaxed);
    }

    fn advance(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
    }

    fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    fn is_cancelled(&self) -> bool {
        self.limit.is_some_and(|limit| self.done.load(Ordering::Relaxed) >= limit)
    }
}

#[test]
fn progress_counts_every_byte_and_work_ends_when_it_is_cancelled() {
    let case = case("decoders/gpt2");
    for precision in QuantizationType::ALL {
        let watch = Watch::default();
        quantize_with(&case, precision, &watch).unwrap();
        assert_eq!(watch.done.load(Ordering::Relaxed), watch.total.load(Ordering::Relaxed), "{precision}");
    }
    for limit in [0, 1, 20_000] {
        let watch = Watch { limit: Some(limit), ..Watch::default() };
        let error = quantize_with(&case, QuantizationType::Int8, &watch).err().expect("cancelled");
        assert_eq!(error.code(), Code::Cancelled);
    }
}

#[test]
fn small_weights_that_half_precision_loses_are_reported() {
    let mut parts = Parts::read(&fixture("vision/vit/model.safetensors"));
    parts.tensor("classifier.weight").data[..8]
        .copy_from_slice(&[1e-9_f32.to_le_bytes(), 1e-6_f32.to_le_bytes()].concat());
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), &[("model.safetensors", &parts.bytes())]);
    let (case, watch) = (Case { name: "vit".into(), files, metadata: case("vision/vit").metadata }, Watch::default());
    quantize_with(&case, QuantizationType::Float16, &watch).unwrap();
    let notes = watch.notes.lock().unwrap().join("\n");
    // The fixture has some of the second kind itself.
    assert!(notes.starts_with("1 weights became 0 and ") && notes.contains("keep fewer bits"), "{notes}");
}

#[test]
fn quantised_files_have_plans_of_their_own() {
    let plans = tempfile::tempdir().unwrap();
    let case = case("decoders/llama");
    let mut stored = 0;
    for precision in [QuantizationType::Int8, QuantizationType::Int16, QuantizationType::Int4] {
        let made = quantize(&case, precision);
        let start = || {
            let runtime = NativeRuntime::with(NativeOptions {
                plans_folder: Some(plans.path().to_owned()),
                ..NativeOptions::default()
            });
            let found = outputs(&load(&runtime, &made.files, &Map::new()).unwrap());
            (found, runtime.plan_statistics().unwrap())
        };
        let (first, statistics) = start();
        stored += 1;
        assert_eq!((statistics.misses.get("absent"), statistics.stored), (Some(&1), stored), "{precision}");
        let (second, statistics) = start();
        assert_eq!((second, statistics.disk_hits), (first, 1), "{precision}");
    }
}

#[test]
fn every_number_stands_at_a_multiple_of_its_length() {
    for precision in QuantizationType::ALL {
        let made = quantize(&case("decoders/gpt2"), precision);
        let path = made.folder.path().join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        for entry in read_with_texts("m", &bytes).unwrap().0 {
            let length = match entry.dtype.as_str() {
                "F32" => 4,
                "F16" | "BF16" | "I16" => 2,
                _ => 1,
            };
            assert_eq!(entry.range.start % length, 0, "{precision} {}", entry.name);
        }
        // Nothing was left out: the last byte is one of a tensor.
        fs::File::open(&path).unwrap().read_exact_at(&mut [0], bytes.len() as u64 - 1).unwrap();
    }
}
