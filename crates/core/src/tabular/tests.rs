//! Declarations that break a rule, and values as inputs.

use serde_json::{Value, json};

use super::*;
use crate::{Code, Error};

fn read(declared: Value) -> crate::Result<Table> {
    Table::read("metadata.", declared.as_object().unwrap())
}

fn mixed() -> Value {
    json!({
        "features": [
            {"name": "pH", "unit": "pH", "range": [3.5, 9.5], "mean": 6.5, "scale": 0.5, "missing": {"fill": 7, "indicator": true}},
            {"name": "irrigated", "kind": "boolean", "missing": {"fill": true}},
            {"name": "土壤", "kind": "categorical", "categories": ["clay", "loam", "sand"], "missing": {"indicator": true}},
            {"name": "crop", "kind": "categorical", "categories": ["wheat", "rice"], "encoding": "embedding", "embedding_width": 2},
            {"name": "zone", "kind": "categorical", "categories": ["1", "2"], "encoding": "index"},
            "rain",
        ],
        "targets": [{"name": "yield", "unit": "t/ha", "mean": 4, "scale": 2}, "loss"],
    })
}

#[test]
fn values_of_every_kind_become_the_inputs_that_are_declared() {
    let table = read(mixed()).unwrap();
    assert_eq!((table.input_width(), table.output_width()), (11, 2));
    let embedding = [0.25, 0.5, -1.0, -2.0];
    let nothing = f32::NAN;
    let cases = [
        ([8.0, 0.0, 2.0, 1.0, 1.0, 30.0], [3.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, -2.0, 1.0, 30.0]),
        ([nothing, nothing, nothing, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.25, 0.5, 0.0, 0.0]),
    ];
    for (raw, expected) in cases {
        let mut inputs = [f32::MAX; 11];
        let mut rest = &mut inputs[..];
        for (feature, raw) in table.features.iter().zip(raw) {
            feature.check_raw(raw).unwrap();
            let (own, others) = rest.split_at_mut(feature.width());
            feature.encode(raw, &embedding, own);
            rest = others;
        }
        assert_eq!(inputs, expected);
    }
}

#[test]
fn numbers_that_are_no_raw_ones_are_refused() {
    let table = read(mixed()).unwrap();
    let cases = [
        (0, f32::INFINITY, "finite"),
        (1, 0.5, "0 or 1"),
        (2, 3.0, "0 to 2"),
        (2, -1.0, "0 to 2"),
        (2, 0.5, "0 to 2"),
        (3, f32::NAN, "missing"),
    ];
    for (place, raw, expected) in cases {
        let rule = table.features[place].check_raw(raw).unwrap_err();
        assert!(rule.contains(expected), "{place} {raw}: {rule}");
    }
}

#[test]
fn standardised_numbers_come_back() {
    let standard = Standard { mean: 600.0, scale: 200.0 };
    assert_eq!((standard.apply(1000.0), standard.undo(2.0)), (2.0, 1000.0));
}

#[test]
fn declarations_that_break_a_rule_are_refused_by_the_name_of_the_field() {
    type Change = fn(&mut Value);
    let cases: [(Change, &[&str]); 24] = [
        (|all| all["features"] = json!([]), &["`metadata.features`", "`0`"]),
        (|all| all["features"] = json!("pH"), &["`metadata.features`", "array"]),
        (|all| all["features"][5] = json!("pH"), &["`pH`", "once"]),
        (|all| all["features"][5] = json!(""), &["features[5].name"]),
        (|all| all["features"][5] = json!(7), &["features[5]", "`7`"]),
        (|all| all["features"][0]["rang"] = json!([1, 2]), &["features[0]", "`rang`"]),
        (|all| all["features"][0]["kind"] = json!("number"), &["`number`", "`numeric`"]),
        (|all| all["features"][0]["range"] = json!([9.5, 9.5]), &["features[0].range", "[9.5, 9.5]"]),
        (|all| all["features"][0]["scale"] = json!(0), &["features[0].scale", "`0`"]),
        (|all| all["features"][0]["scale"] = json!(-1), &["features[0].scale", "`-1`"]),
        (|all| all["features"][0]["missing"] = json!({}), &["features[0].missing", "`fill`"]),
        (|all| all["features"][0]["missing"]["fill"] = json!("acid"), &["features[0].missing.fill", "acid"]),
        (|all| all["features"][0]["missing"]["fill"] = json!(1e39), &["features[0].missing.fill"]),
        (|all| all["features"][0]["categories"] = json!(["a"]), &["features[0].categories", "numeric"]),
        (|all| all["features"][1]["range"] = json!([0, 1]), &["features[1].range", "boolean"]),
        (|all| all["features"][2]["unit"] = json!("m"), &["features[2].unit", "categorical"]),
        (|all| all["features"][2]["categories"] = json!(["a", "a"]), &["features[2].categories", "`a`"]),
        (|all| all["features"][2]["categories"] = json!([]), &["features[2].categories", "`0`"]),
        (|all| all["features"][2]["embedding_width"] = json!(3), &["features[2].embedding_width"]),
        (|all| all["features"][3]["embedding_width"] = json!(null), &["features[3].embedding_width", "missing"]),
        (|all| all["targets"] = json!(["a", "a"]), &["`metadata.targets`", "`a`"]),
        (|all| all["classes"] = json!(["a", "b"]), &["`metadata.targets`", "`classes`"]),
        (|all| all["targets"] = json!(null), &["`metadata.classes`", "missing"]),
        (|all| all["targets"][0]["scale"] = json!(0), &["targets[0].scale"]),
    ];
    for (change, expected) in cases {
        let mut declared = mixed();
        change(&mut declared);
        let error = read(declared).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }) && error.code() == Code::Invalid);
        let text = error.to_string();
        assert!(expected.iter().all(|part| text.contains(part)), "{text} should contain {expected:?}");
    }
}

#[test]
fn classes_are_an_array_or_an_object_and_labels_mean_the_same() {
    for classes in [json!({"classes": ["低", "high"]}), json!({"labels": {"1": "high", "0": "低"}})] {
        let mut declared = json!({"features": ["a"]});
        declared.as_object_mut().unwrap().extend(classes.as_object().unwrap().clone());
        assert_eq!(read(declared).unwrap().outcome, Outcome::Classes(vec!["低".into(), "high".into()]));
    }
    for classes in [json!(["one"]), json!("high"), json!({"0": "a", "2": "b"}), json!([1, 2])] {
        let error = read(json!({"features": ["a"], "classes": classes})).unwrap_err();
        assert_eq!(error.field(), Some("metadata.classes"), "{error}");
    }
}

#[test]
fn open_sides_of_a_range_let_everything_in() {
    let range = |low, high| Range { low, high };
    assert!(range(None, Some(2.0)).contains(-1e30) && !range(None, Some(2.0)).contains(2.1));
    assert!(range(Some(0.0), None).contains(0.0) && !range(Some(0.0), None).contains(-0.1));
    assert_eq!(range(Some(0.5), Some(9.0)).text(), "0.5 to 9");
}
