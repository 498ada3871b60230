//! Tiny ONNX graphs through the program: registration, tensors over HTTP and the command line, images.

use seedhouse_testkit::tiny_onnx::{Dimension, FLOAT, TinyOnnx, tiny_image_classifier, tiny_linear};
use serde_json::{Value, json};

use crate::support::Seedhouse;

#[test]
fn graph_is_registered_with_its_inputs_and_computes_over_http_and_the_command_line() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    let record = seedhouse.json(&["register", "linear", &file]);
    assert_eq!((&record["status"], &record["framework"]), (&json!("ready"), &json!("onnx")));
    assert_eq!(record["metadata"]["inputs"], json!([{"name": "x", "dtype": "float32", "shape": [null, 2]}]));
    assert_eq!(record["inspected"]["parameter_count"], 9);

    let expected = json!({"y": [[9.5, 12.0, 14.5], [0.5, 0.0, -0.5]]});
    let answer = seedhouse.json(&["predict", "linear", "--input", "x=[[1, 2], [0, 0.0]]"]);
    assert_eq!(answer["outputs"], expected);
    let npy = [
        b"\x93NUMPY\x01\x00\x3a\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2)}\n".as_slice(),
        &[1.0_f64, 2.0, 0.0, 0.0].map(f64::to_le_bytes).concat(),
    ]
    .concat();
    let npy = seedhouse.file("x.npy", &npy);
    assert_eq!(seedhouse.json(&["predict", "linear", "--input", &format!("x={npy}")])["outputs"], expected);

    let server = seedhouse.serve();
    let body = json!({"model_id": "linear", "input_data": {"x": [[1, 2], [0, 0]]}});
    let answer = server.post_json("/api/inference", &body).json();
    assert_eq!(answer["result"], expected);
    assert_eq!(answer["model_version"], "1");
    assert!(answer["inference_time"].as_f64().unwrap() > 0.0);
}

#[test]
fn tensors_that_do_not_fit_are_answered_with_both_values() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    seedhouse.json(&["register", "linear", &file]);
    let server = seedhouse.serve();
    let cases: [(Value, &[&str]); 7] = [
        (json!({"z": [[1, 2]]}), &["`z`", "`x` (float32 [?, 2])"]),
        (json!({}), &["`x`", "missing"]),
        (json!({"x": [[1, 2, 3]]}), &["[1, 3]", "[?, 2]"]),
        (json!({"x": [1, 2]}), &["`[2]`", "[?, 2]"]),
        (json!({"x": [[true, false]]}), &["true", "float32"]),
        (json!({"x": [[1, 2], [3]]}), &["1 items", "2"]),
        (json!({"x": "wheat"}), &["wheat", "nested lists"]),
    ];
    for (input, expected) in cases {
        let answer = server.post_json("/api/inference", &json!({"model_id": "linear", "input_data": input}));
        answer.assert_problem(400, expected);
    }
}

#[test]
fn image_classifier_with_preprocessing_and_labels_classifies_images() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("colours.onnx", &tiny_image_classifier().bytes());
    let labels = seedhouse.file("labels.json", r#"["红", "green", "blue"]"#.as_bytes());
    let metadata = r#"{"image_size": 8}"#;
    seedhouse.json(&["register", "colours", &file, "--type", "vision", "--metadata", metadata, "--labels", &labels]);
    let server = seedhouse.serve();
    let body = json!({"model_id": "colours", "image_data": vec![vec![[255, 0, 0]; 4]; 4], "top_k": 1});
    let answer = server.post_json("/api/inference/image/classification", &body).json();
    assert_eq!(answer["predictions"][0]["class_name"], "红");
}

#[test]
fn probabilities_of_a_graph_are_not_softened_again() {
    let graph = TinyOnnx::new(17)
        .node("GlobalAveragePool", &["image"], &["means"], &[])
        .node("Flatten", &["means"], &["logits"], &[])
        .node("Softmax", &["logits"], &["probabilities"], &[])
        .input("image", FLOAT, &[Dimension::Size(-1), Dimension::Size(3), Dimension::Size(4), Dimension::Size(4)])
        .output("probabilities", FLOAT, &[Dimension::Size(-1), Dimension::Size(3)]);
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("colours.onnx", &graph.bytes());
    let metadata = r#"{"preprocess": {"size": [4, 4], "mean": [0, 0, 0], "std": [1, 1, 1]}}"#;
    let record = seedhouse.json(&["register", "colours", &file, "--metadata", metadata]);
    assert_eq!(record["metadata"]["output_activation"], "softmax");
    let server = seedhouse.serve();
    let body = json!({"model_id": "colours", "image_data": vec![vec![[2, 1, 0]; 4]; 4]});
    let answer = server.post_json("/api/inference/image/classification", &body).json();
    let found = answer["predictions"][0]["confidence"].as_f64().unwrap();
    let expected = 1.0 / (1.0 + (-1.0_f64).exp() + (-2.0_f64).exp());
    assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
}

#[test]
fn graph_that_is_not_computed_is_kept_and_says_why() {
    let graph = TinyOnnx::new(17)
        .node("StringNormalizer", &["x"], &["y"], &[])
        .input("x", FLOAT, &[Dimension::Size(1)])
        .output("y", FLOAT, &[Dimension::Size(1)]);
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("words.onnx", &graph.bytes());
    let record = seedhouse.json(&["register", "words", &file]);
    assert_eq!(record["status"], "registered");
    let reason = record["inspected"]["not_servable_because"].as_str().unwrap();
    assert!(reason.contains("`StringNormalizer`"), "{reason}");
}

#[test]
fn language_model_has_no_tensors() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("tiny.gguf", &seedhouse_testkit::tiny_gguf::tiny_llama_gguf(1));
    seedhouse.json(&["register", "tiny", &file]);
    let server = seedhouse.serve();
    let tensors = server.post_json("/api/inference", &json!({"model_id": "tiny", "input_data": {"x": [1]}}));
    assert!(tensors.json()["detail"].as_str().unwrap().contains("it is a language model"));
    let body = json!({"model_id": "tiny", "input_data": {"prompt": "a"}, "parameters": {"max_tokens": 2}});
    assert!(server.post_json("/api/inference", &body).json()["result"]["text"].is_string());
}
