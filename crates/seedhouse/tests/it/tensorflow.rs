//! What TensorFlow and Keras write, through the program: described, verified, and said to be not served.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::Seedhouse;

fn fixture(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/tensorflow").join(path);
    path.to_str().unwrap().to_owned()
}

/// Registers a SavedModel and returns its record and what TensorFlow says about the same files.
fn registered(seedhouse: &Seedhouse, metadata: &[&str]) -> (Value, Value) {
    let expected = std::fs::read(fixture("linear/expected.json")).unwrap();
    let record = seedhouse.json(&[&["register", "linear", &fixture("linear")], metadata].concat());
    (record, serde_json::from_slice(&expected).unwrap())
}

#[test]
fn saved_model_is_described_verified_and_not_served() {
    let seedhouse = Seedhouse::new();
    let (record, expected) = registered(&seedhouse, &[]);
    assert_eq!((&record["framework"], &record["status"]), (&json!("tensorflow"), &json!("registered")));
    for field in ["tensorflow_version", "tags", "signatures", "variables"] {
        assert_eq!(record["metadata"][field], expected[field], "{field}");
    }
    assert_eq!(record["inspected"]["parameter_count"], 10);
    assert_eq!(record["claims"], Value::Null);
    let reason = record["inspected"]["not_servable_because"].as_str().unwrap();
    assert!(reason.contains("TensorFlow SavedModel") && reason.contains("tf2onnx"), "{reason}");
    assert_eq!(seedhouse.run(&["verify"]).code, 0);

    seedhouse.run(&["predict", "linear", "--input", "x=[[1, 2]]"]).assert_failed(6, &["linear_v1", "tf2onnx"]);
    let server = seedhouse.serve();
    let body = json!({"model_id": "linear", "input_data": {"x": [[1, 2]]}});
    let answer = server.post_json("/api/inference", &body);
    answer.assert_problem(409, &["`linear_v1`", "cannot be served", "TensorFlow SavedModel"]);
}

#[test]
fn claims_about_a_saved_model_are_held_against_it() {
    let seedhouse = Seedhouse::new();
    let (record, _) = registered(&seedhouse, &["--metadata", r#"{"tags": ["serve"], "crop": "wheat"}"#]);
    assert_eq!(record["claims"], json!(["metadata.crop"]));
    for (metadata, parts) in
        [(r#"{"tensorflow_version": "1.15.0"}"#, ["1.15.0", "2.21.0"]), (r#"{"parameter_count": 11}"#, ["11", "10"])]
    {
        seedhouse.run(&["register", "linear", &fixture("linear"), "--metadata", metadata]).assert_failed(2, &parts);
    }
    let run = seedhouse.run(&["register", "linear", &fixture("linear"), "--framework", "pytorch"]);
    run.assert_failed(2, &["`pytorch`", "`tensorflow`"]);
}

#[test]
fn half_a_saved_model_is_refused_and_nothing_stays() {
    let seedhouse = Seedhouse::new();
    let run = seedhouse.run(&["register", "linear", &fixture("linear/saved_model.pb")]);
    run.assert_failed(2, &["register the whole folder"]);
    assert_eq!(seedhouse.stored_files(), [""; 0]);
}

#[test]
fn checkpoints_and_keras_files_are_kept_with_a_reason() {
    let seedhouse = Seedhouse::new();
    for path in ["checkpoint", "keras/model.keras", "keras/model.h5", "keras/model.weights.h5"] {
        let record = seedhouse.json(&["register", "network", &fixture(path)]);
        assert_eq!(record["framework"], "tensorflow", "{path}");
        let reason = record["inspected"]["not_servable_because"].as_str().unwrap();
        assert!(reason.contains("ONNX"), "{path}: {reason}");
    }
}
