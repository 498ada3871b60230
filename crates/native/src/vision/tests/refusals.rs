//! Folders and files that contradict themselves.

use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, safetensors};

use super::*;
use crate::huggingface::safetensors as reader;

/// Copies a case, lets `change` change its files, and says why it is not loaded.
fn refusal(name: &str, change: &dyn Fn(&Path)) -> String {
    let changed = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder(name)).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, changed.path().join(path.file_name().unwrap())).unwrap();
    }
    change(changed.path());
    match load(&runtime(Level::best(), 1, PlanOptions::default()), &files(changed.path())) {
        Ok(_) => panic!("{name} was loaded"),
        Err(error) => error.to_string(),
    }
}

/// Changes the tensors of a safetensors file.
fn change_tensors(folder: &Path, change: &dyn Fn(&mut Vec<SafetensorsEntry>)) {
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let entry = |entry: reader::TensorEntry| SafetensorsEntry {
        name: entry.name,
        dtype: entry.dtype,
        shape: entry.shape,
        data: bytes[entry.range].to_vec(),
    };
    let mut tensors = reader::read("model.safetensors", &bytes).unwrap().into_iter().map(entry).collect();
    change(&mut tensors);
    fs::write(path, safetensors(&tensors)).unwrap();
}

#[test]
fn tensors_that_are_missing_superfluous_or_wrong_are_named() {
    let named = |tensors: &mut Vec<SafetensorsEntry>, name: &str| {
        tensors.iter().position(|tensor| tensor.name == name).unwrap()
    };
    type Change<'c> = Box<dyn Fn(&mut Vec<SafetensorsEntry>) + 'c>;
    let remove = |name: &'static str| -> Change<'_> {
        Box::new(move |tensors| {
            let at = named(tensors, name);
            tensors.remove(at);
        })
    };
    let reshape = |name: &'static str, shape: &'static [u64]| -> Change<'_> {
        Box::new(move |tensors| {
            let at = named(tensors, name);
            tensors[at].shape = shape.to_vec();
        })
    };
    let cases: [(&str, Change<'_>, &str); 9] = [
        (
            "vit",
            remove("layers.1.attention.key.bias"),
            "tensor `layers.1.attention.key.bias` of the vision transformer is missing",
        ),
        ("vit", reshape("final_norm.bias", &[12, 2]), "`final_norm.bias` has the shape [12, 2]"),
        ("vit", reshape("position_embedding", &[17, 1, 24]), "one position for the class token"),
        ("vit", reshape("patch_embedding.weight", &[24, 1, 3, 9]), "square patches"),
        (
            "vit",
            Box::new(|tensors| tensors.push(SafetensorsEntry::new("layers.0.gate", "F32", &[1], &[0.0]))),
            "1 tensors are not part of the vision transformer, the first being `layers.0.gate`",
        ),
        (
            "vit",
            Box::new(|tensors| {
                let at = named(tensors, "final_norm.bias");
                tensors[at] = SafetensorsEntry { dtype: "I32".into(), ..tensors[at].clone() };
            }),
            "it is I32; F32, F16 and BF16 are computed with",
        ),
        (
            "vit",
            Box::new(|tensors| {
                let at = named(tensors, "classifier.bias");
                tensors[at].data[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
            }),
            "value 1 of tensor `classifier.bias` is NaN, not finite",
        ),
        (
            "resnet-bottleneck",
            remove("layer2.0.downsample.0.weight"),
            "`layer2.0.downsample.0.weight` of ResNet is missing",
        ),
        ("resnet-bottleneck", remove("layer3.1.bn2.running_var"), "`layer3.1.bn2.running_var` of ResNet is missing"),
    ];
    for (name, change, expected) in cases {
        let error = refusal(name, &|folder| change_tensors(folder, &change));
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn configurations_that_contradict_the_tensors_are_refused_with_both_values() {
    let cases = [
        ("hf-vit", "config.json", "hidden_size", json!(64), "`hidden_size` is 64, but the tensors have 32"),
        ("hf-vit", "config.json", "image_size", json!(16), "`image_size` is 16, but the tensors have 12"),
        ("hf-vit", "config.json", "num_attention_heads", json!(5), "5 heads cannot share the width 32"),
        ("hf-vit", "config.json", "hidden_act", json!("mish"), "`mish`"),
        ("hf-vit", "config.json", "qkv_bias", json!(false), "`qkv_bias` is false"),
        ("hf-vit", "config.json", "use_rotary", json!(true), "field `use_rotary`"),
        ("hf-vit", "config.json", "id2label", json!({"0": "a"}), "has 1 classes, but the tensors have 3"),
        ("hf-resnet-basic", "config.json", "depths", json!([1, 1, 1, 1]), "the tensors have [1, 2, 1, 1]"),
        (
            "hf-resnet-basic",
            "config.json",
            "downsample_in_bottleneck",
            json!(true),
            "`downsample_in_bottleneck` is true",
        ),
        ("hf-vit", "preprocessor_config.json", "resample", json!(1), "its `resample` is 1"),
        ("hf-vit", "preprocessor_config.json", "image_std", json!([1]), "its `image_std` is [1]"),
        ("hf-vit", "preprocessor_config.json", "size", json!({"shortest_edge": 12}), "a shortest edge alone"),
        (
            "hf-vit",
            "preprocessor_config.json",
            "image_processor_type",
            json!("CLIPImageProcessor"),
            "`CLIPImageProcessor`",
        ),
    ];
    for (name, file, field, value, expected) in cases {
        let error = refusal(name, &|folder| {
            let path = folder.join(file);
            let mut fields: Map<String, Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            fields.insert(field.to_owned(), value.clone());
            fs::write(path, serde_json::to_vec(&fields).unwrap()).unwrap();
        });
        assert!(error.contains(expected), "{field}: {error}\nexpected: {expected}");
    }
}

#[test]
fn heads_that_do_not_share_the_width_are_refused() {
    let runtime = runtime(Level::best(), 1, PlanOptions::default());
    for heads in [json!(5), json!(0), json!("two")] {
        let metadata = Map::from_iter([("num_heads".to_owned(), heads)]);
        let options = LoadOptions { metadata };
        let error = runtime.load(&files(&folder("vit")), &options).err().unwrap();
        assert_eq!(error.field(), Some("metadata.num_heads"), "{error}");
    }
}
