//! Files that contradict themselves.

use proptest::prelude::*;

use super::*;

/// Returns why the file with a changed declaration is refused.
fn refusal(change: impl FnOnce(&mut Value, &mut Vec<SafetensorsEntry>)) -> Error {
    let (mut declaration, mut tensors) = (soil_declaration(), soil_tensors());
    change(&mut declaration, &mut tensors);
    let file = written(&tabular_file(&declaration, &tensors));
    let runtime = NativeRuntime::new();
    let Err(refused) = load(&runtime, &file.files) else { panic!("the file is loaded") };
    // What is loaded to be refused was inspected before.
    if let Err(inspected) = runtime.inspect(&file.files) {
        assert_eq!(inspected.to_string(), refused.to_string());
    }
    refused
}

#[test]
fn declaration_that_breaks_a_rule_or_its_tensors_is_refused_by_name() {
    type Change = fn(&mut Value, &mut Vec<SafetensorsEntry>);
    fn two_layers() -> Value {
        json!([{"activation": "relu"}, {"activation": "none"}])
    }
    let cases: [(Change, &[&str]); 17] = [
        (|all, _| all["features"][0]["scale"] = json!(0), &["features[0].scale", "`0`"]),
        (|all, _| all["features"][0]["range"] = json!([9, 3]), &["features[0].range", "[9, 3]"]),
        (|all, _| all["features"][1]["name"] = json!("pH"), &["`pH`", "once"]),
        (|all, _| all["classes"] = json!(["a", "a"]), &["`a`", "once"]),
        (|all, _| all["task"] = json!("regression"), &["`regression`", "`classes`"]),
        (|all, _| all["task"] = json!("clustering"), &["`clustering`"]),
        (|all, _| all["optimiser"] = json!("adam"), &["`optimiser`"]),
        (|all, _| all["layers"] = json!([]), &["0 `layers`"]),
        (|all, _| all["layers"][0]["activation"] = json!("relu"), &["`relu`", "`none`"]),
        (|all, _| all["layers"][0]["activation"] = json!("snake"), &["`snake`"]),
        (|all, _| all["layers"] = two_layers(), &["`layers.1.weight`", "missing"]),
        (|all, _| all["features"][2]["categories"] = json!(["clay", "loam"]), &["[2, 7]", "[2, 6]"]),
        (|all, _| all["classes"] = json!(["a", "b", "c"]), &["[2, 7]", "[3, 7]"]),
        (|_, tensors| tensors.truncate(1), &["`layers.0.bias`", "missing"]),
        (
            |_, tensors| tensors.push(SafetensorsEntry::new("layers.1.weight", "F32", &[1], &[0.0])),
            &["`layers.1.weight`", "not part of the network for tables"],
        ),
        (
            |_, tensors| tensors[1] = SafetensorsEntry::new("layers.0.bias", "F32", &[2], &[0.0, f32::NAN]),
            &["`layers.0.bias`", "NaN", "not finite"],
        ),
        (
            |_, tensors| tensors[0] = SafetensorsEntry::new("layers.0.weight", "F32", &[14], &[0.0; 14]),
            &["`layers.0.weight`", "[14]", "2 dimensions"],
        ),
    ];
    for (change, expected) in cases {
        let error = refusal(change);
        assert_eq!(error.code(), Code::Invalid, "{error}");
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{text} should contain {expected:?}");
    }
}

#[test]
fn later_version_of_the_format_is_kept_and_called_that() {
    let mut declaration = soil_declaration();
    declaration["format_version"] = json!(2);
    declaration["trees"] = json!([]);
    let reason = inspect(&tabular_file(&declaration, &soil_tensors())).unwrap().not_servable_because.unwrap();
    assert!(reason.contains("`format_version` 2") && reason.contains("version 1"), "{reason}");
}

#[test]
fn type_that_is_not_computed_with_is_named() {
    let entry = |name: &str, shape: &[u64], bytes| SafetensorsEntry {
        name: name.into(),
        dtype: "F64".into(),
        shape: shape.to_vec(),
        data: vec![0; bytes],
    };
    let tensors = [entry("layers.0.weight", &[2, 7], 112), entry("layers.0.bias", &[2], 16)];
    let reason = inspect(&tabular_file(&soil_declaration(), &tensors)).unwrap().not_servable_because.unwrap();
    assert!(reason.contains("F64") && reason.contains("layers.0."), "{reason}");
}

proptest! {
    #[test]
    fn file_with_a_changed_byte_is_refused_or_computes(place in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = tiny_yield_regressor();
        let place = place % bytes.len();
        bytes[place] = byte;
        let file = written(&bytes);
        if let Ok(model) = load(&NativeRuntime::new(), &file.files) {
            // Whatever was declared, an answer or an error comes of it.
            let features = model.inputs()[0].shape[1].unwrap_or_default();
            let _ = model.run(&[("features", &Tensor::new(vec![1, features], vec![0.0; features]))]);
        }
    }
}
