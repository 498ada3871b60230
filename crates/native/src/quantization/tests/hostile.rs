//! Quantised files that contradict themselves, and random damage: an error, never a panic.

use proptest::prelude::*;
use seedhouse_core::Code;

use super::*;

const WEIGHT: &str = "layers.0.weight";

/// A quantised network for tables.
fn table(precision: QuantizationType) -> Parts {
    let made = quantize(&case("tabular/crop-classifier"), precision);
    Parts::read(&made.folder.path().join("model.safetensors"))
}

fn read_bytes(bytes: &[u8]) -> (Result<Inspection>, Result<LoadedModel>) {
    let folder = tempfile::tempdir().unwrap();
    let files = written(folder.path(), &[("model.safetensors", bytes)]);
    (inspect(&files), load(&NativeRuntime::new(), &files, &Map::new()))
}

fn set_document(parts: &mut Parts, change: impl FnOnce(&mut Value)) {
    let mut document = parts.document();
    change(&mut document);
    parts.texts.insert(KEY.into(), document.to_string());
}

fn scale(parts: &mut Parts, number: f32) {
    let tensor = parts.tensor(&format!("{WEIGHT}.scale"));
    if tensor.dtype == "F32" {
        tensor.data[4..8].copy_from_slice(&number.to_le_bytes());
    } else {
        tensor.data[2..4].copy_from_slice(&half::f16::from_f32(number).to_le_bytes());
    }
}

#[test]
fn file_that_contradicts_its_document_is_refused_by_the_name_of_the_tensor() {
    type Change = fn(&mut Parts);
    let cases: [(Change, &str); 15] = [
        (|p| drop(p.tensors.remove("layers.0.weight.scale")), "tensor `layers.0.weight.scale` is missing"),
        (|p| drop(p.tensors.remove(WEIGHT)), "tensor `layers.0.weight` is missing"),
        (|p| p.tensor("layers.0.weight.scale").shape = vec![4, 4], "`layers.0.weight.scale` is `F32` [4, 4], but"),
        (|p| p.tensor("layers.0.weight").dtype = "U8".into(), "`layers.0.weight` is `U8` [16, 14], but"),
        (|p| p.tensor("layers.0.weight").shape = vec![14, 16], "`layers.0.weight` is `I8` [14, 16], but"),
        (|p| scale(p, -1.0), "scale 1 of tensor `layers.0.weight.scale` is -1"),
        (|p| scale(p, 0.0), "scale 1 of tensor `layers.0.weight.scale` is 0"),
        (|p| scale(p, f32::NAN), "is NaN, which no scale is"),
        (|p| scale(p, f32::INFINITY), "is inf, which no scale is"),
        (|p| scale(p, 1e37), "which no scale is"),
        (
            |p| {
                let stray = SafetensorsEntry::new("layers.1.bias.scale", "F32", &[1], &[1.0]);
                p.tensors.insert(stray.name.clone(), stray);
            },
            "tensor `layers.1.bias.scale` has scales, but `seedhouse.quantization` does not say of what",
        ),
        (
            |p| set_document(p, |d| drop(d["tensors"].as_object_mut().unwrap().remove(WEIGHT))),
            "tensor `layers.0.weight.scale` has scales",
        ),
        (|p| set_document(p, |d| d["version"] = json!(2)), "`version` 2 of `seedhouse.quantization`"),
        (
            |p| set_document(p, |d| d["tensors"][WEIGHT]["type"] = json!("int4")),
            "is `int4`, which no tensor of a file of type `int8` is",
        ),
        (
            |p| set_document(p, |d| d["tensors"][WEIGHT]["axis"] = json!(1)),
            "`layers.0.weight.scale` is `F32` [16], but",
        ),
    ];
    for (change, expected) in cases {
        let mut parts = table(QuantizationType::Int8);
        change(&mut parts);
        let (inspected, loaded) = read_bytes(&parts.bytes());
        let error = loaded.err().unwrap_or_else(|| panic!("loaded, expected: {expected}"));
        assert!(matches!(error.code(), Code::Invalid | Code::Unsupported), "{error}");
        assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
        let refused = match inspected {
            Err(_) => true,
            Ok(inspection) => inspection.not_servable_because.is_some(),
        };
        assert!(refused, "inspection accepts: {expected}");
    }
}

#[test]
fn groups_are_held_against_their_number_and_their_signs() {
    let mut parts = table(QuantizationType::Int8Groups);
    let tensor = parts.tensor("layers.0.weight.scale");
    (tensor.shape, tensor.data) = (vec![16, 2], tensor.data.repeat(2));
    let error = read_bytes(&parts.bytes()).1.err().unwrap().to_string();
    assert!(
        error.contains("`layers.0.weight.scale` is `F16` [16, 2], but `seedhouse.quantization` makes it `F16` [16, 1]"),
        "{error}"
    );
    let mut parts = table(QuantizationType::Int8Groups);
    scale(&mut parts, -1.0);
    assert!(read_bytes(&parts.bytes()).1.err().unwrap().to_string().contains("is -1, which no scale is"));
    // With 4 bits the sign says which end of the range the greatest magnitude has.
    for (number, is_read) in [(-1.0, true), (0.0, false), (f32::INFINITY, false), (f32::NAN, false)] {
        let mut parts = table(QuantizationType::Int4);
        scale(&mut parts, number);
        assert_eq!(read_bytes(&parts.bytes()).1.is_ok(), is_read, "{number}");
    }
}

/// Quantises one more tensor of a file, all of whose integers are 0.
fn quantised_too(parts: &mut Parts, name: &str) {
    let tensor = parts.tensor(name);
    let elements: u64 = tensor.shape.iter().product();
    (tensor.dtype, tensor.data) = ("I8".into(), vec![0; elements as usize]);
    let shape = tensor.shape.clone();
    let scales = vec![1.0; shape[0] as usize];
    let scale = SafetensorsEntry::new(&format!("{name}.scale"), "F32", &shape[..1], &scales);
    parts.tensors.insert(scale.name.clone(), scale);
    set_document(parts, |document| document["tensors"][name] = json!({"type": "int8", "shape": shape}));
}

#[test]
fn tensor_that_the_family_keeps_exact_must_not_be_quantised() {
    let cases = [
        ("diffusion/grey", "input.weight"),
        ("diffusion/grey", "time_embedding.first.weight"),
        ("embedding/bert-mean", "embeddings.word_embeddings.weight"),
        ("embedding/bert-mean", "embeddings.position_embeddings.weight"),
        ("tabular/crop-classifier", "embeddings.4.weight"),
        ("vision/vit", "position_embedding"),
        ("decoders/original", "position_embedding.weight"),
    ];
    for (path, name) in cases {
        let case = case(path);
        let made = quantize(&case, QuantizationType::Int8);
        let file = made.folder.path().join("model.safetensors");
        let mut parts = Parts::read(&file);
        quantised_too(&mut parts, name);
        fs::write(&file, parts.bytes()).unwrap();
        let error = load(&NativeRuntime::new(), &made.files, &case.metadata).err().expect(path).to_string();
        assert!(error.contains(&format!("tensor `{name}` is quantised to `int8`, which")), "{path}: {error}");
        let inspected = inspect(&made.files);
        assert!(inspected.is_err() || inspected.is_ok_and(|found| found.not_servable_because.is_some()), "{path}");
    }
}

#[test]
fn integers_without_a_document_are_no_weights() {
    let mut parts = table(QuantizationType::Int8);
    parts.texts.remove(KEY);
    assert!(read_bytes(&parts.bytes()).1.is_err());
}

fn read_damaged(path: &str, precision: QuantizationType, changes: &[(usize, u8)]) {
    let case = case(path);
    let made = quantize(&case, precision);
    let file = made.folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    for (position, byte) in changes {
        let position = position % bytes.len().min(6000);
        bytes[position] = *byte;
    }
    fs::write(&file, bytes).unwrap();
    let _ = inspect(&made.files);
    if let Ok(model) = load(&NativeRuntime::new(), &made.files, &case.metadata) {
        outputs(&model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn damaged_files_never_panic(
        precision in prop::sample::select(&QuantizationType::ALL[..]),
        path in prop::sample::select(&["tabular/crop-classifier", "decoders/gpt2", "decoders/llama", "vision/vit"][..]),
        changes in prop::collection::vec((any::<usize>(), prop_oneof![any::<u8>(), b'0'..=b'9', Just(0xff)]), 1..6),
    ) {
        read_damaged(path, precision, &changes);
    }

    #[test]
    fn changed_documents_never_panic(
        precision in prop::sample::select(&QuantizationType::ALL[..]),
        field in prop::sample::select(&["type", "shape", "axis", "version", "tensors"][..]),
        value in prop_oneof![
            Just(json!(0)), Just(json!(1)), Just(json!(u64::MAX)), Just(json!([])), Just(json!([0, 3])), Just(json!([1, u64::MAX])),
            Just(json!("int16")), Just(json!("float16")), Just(json!({})), Just(json!([14, 16])), Just(Value::Null),
        ],
    ) {
        let mut parts = table(precision);
        set_document(&mut parts, |document| match document["tensors"].get_mut(WEIGHT) {
            Some(note) if !["version", "tensors"].contains(&field) => note[field] = value,
            _ => document[field] = value,
        });
        let (inspected, loaded) = read_bytes(&parts.bytes());
        if let Ok(model) = loaded {
            prop_assert!(inspected.is_ok());
            outputs(&model);
        }
    }
}
