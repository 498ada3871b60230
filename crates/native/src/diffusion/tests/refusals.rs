//! Files and records that contradict themselves.

use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, safetensors};

use super::*;
use crate::huggingface::safetensors as reader;

/// Writes the tensors of a case anew, changed; the settings stand in the record.
fn changed(name: &str, change: &dyn Fn(&mut Vec<SafetensorsEntry>)) -> tempfile::TempDir {
    let bytes = fs::read(folder(name).join("model.safetensors")).unwrap();
    let entry = |entry: reader::TensorEntry| SafetensorsEntry {
        name: entry.name,
        dtype: entry.dtype,
        shape: entry.shape,
        data: bytes[entry.range].to_vec(),
    };
    let mut tensors = reader::read("model.safetensors", &bytes).unwrap().into_iter().map(entry).collect();
    change(&mut tensors);
    let written = tempfile::tempdir().unwrap();
    fs::write(written.path().join("model.safetensors"), safetensors(&tensors)).unwrap();
    written
}

fn refusal(folder: &Path, metadata: Map<String, Value>) -> Error {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    load_with(&runtime, &files(folder), metadata).err().expect("it is refused")
}

#[test]
fn tensors_that_are_missing_superfluous_or_wrong_are_named() {
    fn at(tensors: &[SafetensorsEntry], name: &str) -> usize {
        tensors.iter().position(|tensor| tensor.name == name).unwrap()
    }
    type Change = Box<dyn Fn(&mut Vec<SafetensorsEntry>)>;
    let remove = |name: &'static str| -> Change {
        Box::new(move |tensors| {
            let at = at(tensors, name);
            tensors.remove(at);
        })
    };
    let reshape = |name: &'static str, shape: &'static [u64]| -> Change {
        Box::new(move |tensors| {
            let at = at(tensors, name);
            tensors[at].shape = shape.to_vec();
        })
    };
    let cases: [(Change, &str); 8] = [
        (remove("middle.1.time.bias"), "tensor `middle.1.time.bias` of the U-Net is missing"),
        (remove("up.0.blocks.0.conv1.weight"), "`up.0.blocks.0.conv1.weight` of the U-Net is missing"),
        (remove("down.0.blocks.0.conv1.weight"), "`down.0.blocks.0.conv1.weight` of the U-Net is missing"),
        (reshape("output_norm.bias", &[4, 2]), "`output_norm.bias` has the shape [4, 2]"),
        (reshape("class_embedding.weight", &[1, 64]), "a row for each class and one for no class"),
        (reshape("up.1.upsample.weight", &[16, 144]), "`up.1.upsample.weight` has the shape [16, 144]"),
        (
            Box::new(|tensors| tensors.push(SafetensorsEntry::new("down.0.gate", "F32", &[1], &[0.0]))),
            "1 tensors are not part of the U-Net, the first being `down.0.gate`",
        ),
        (
            Box::new(|tensors| {
                let at = at(tensors, "down.1.blocks.0.conv2.bias");
                tensors[at].data[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            "value 1 of tensor `down.1.blocks.0.conv2.bias` is NaN, not finite",
        ),
    ];
    for (change, expected) in cases {
        let folder = changed("classes", &change);
        let error = refusal(folder.path(), super::expected("classes").settings).to_string();
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn shapes_whose_product_overflows_are_refused() {
    let folder = changed("classes", &|tensors| {
        let input = tensors.iter_mut().find(|tensor| tensor.name == "input.weight").unwrap();
        input.shape = vec![1 << 40, 1 << 40, 3, 3];
    });
    let error = refusal(folder.path(), super::expected("classes").settings).to_string();
    assert!(error.contains("overflows") && error.contains("`input.weight`"), "{error}");
}

#[test]
fn settings_that_are_missing_or_do_not_fit_are_named() {
    let folder = changed("grey", &|_| {});
    let with = |name: &str, value: Value| {
        let mut settings = super::expected("grey").settings;
        settings.insert(name.to_owned(), value);
        settings
    };
    let cases = [
        ("image_size", json!(null), "is required"),
        ("num_timesteps", json!(null), "is required"),
        ("num_timesteps", json!(0), "from 1 to 100000"),
        ("num_timesteps", json!(1e9), "from 1 to 100000"),
        ("num_timesteps", json!("many"), "a whole number"),
        ("image_size", json!(11), "multiple of 2"),
        ("image_size", json!(1_000_000), "from 1 to 4096"),
        ("num_groups", json!(3), "must divide the 8 channels"),
        ("num_heads", json!(5), "must divide the 16 channels"),
        ("prediction_type", json!("score"), "`epsilon`, `sample`, `v_prediction`"),
        ("noise_schedule", json!("linear"), "must be `cosine`"),
    ];
    for (name, value, expected) in cases {
        let error = refusal(folder.path(), with(name, value));
        assert_eq!((error.code(), error.field()), (Code::Invalid, Some(&*format!("metadata.{name}"))), "{error}");
        assert!(error.to_string().contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn image_size_whose_activations_are_too_large_is_refused() {
    let folder = changed("grey", &|_| {});
    let mut settings = super::expected("grey").settings;
    settings.insert("image_size".into(), json!(4096));
    let error = refusal(folder.path(), settings);
    assert_eq!(error.code(), Code::TooLarge, "{error}");
}
