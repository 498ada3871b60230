//! Sentence encoders through the program: a folder, a graph with its tokenizer, bad input, and a real model.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{EmbeddingModel, OnnxModels, Seedhouse, reference};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/embedding").join(name);
    folder.to_str().unwrap().to_owned()
}

fn expected(name: &str) -> Vec<Value> {
    let file = Path::new(&fixture(name)).join("expected.json");
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

/// Copies a folder without the vectors it is compared with, and without what `leave_out` names.
pub(crate) fn folder(seedhouse: &Seedhouse, name: &str, leave_out: &[&str]) -> String {
    let source = fixture(name);
    let mut left = vec![Path::new(&source).to_owned()];
    let mut copied = seedhouse.file(&format!("{name}/config.json"), b"{}");
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let place = path.strip_prefix(&source).unwrap().to_str().unwrap();
        if place != "expected.json" && !leave_out.contains(&place) {
            let target = seedhouse.file(&format!("{name}/{place}"), &std::fs::read(&path).unwrap());
            if place == "config.json" {
                copied = target;
            }
        }
    }
    Path::new(&copied).parent().unwrap().to_str().unwrap().to_owned()
}

fn numbers(vector: &Value) -> Vec<f64> {
    vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Returns the greatest difference of two vectors.
fn difference(found: &Value, expected: &Value) -> f64 {
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len());
    found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max)
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    product(a, b) / (product(a, a) * product(b, b)).sqrt()
}

#[test]
fn folder_of_a_sentence_encoder_gives_the_reference_vectors_on_the_command_line_and_over_http() {
    for name in ["bert-mean", "bert-cls", "bert-max"] {
        let seedhouse = Seedhouse::new();
        let record = seedhouse.json(&["register", "sentences", &folder(&seedhouse, name, &[])]);
        assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("embedding")), "{record}");
        assert_eq!(record["inspected"]["architecture"], "bert");
        let cases = expected(name);
        let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
        assert_eq!(record["metadata"]["dimensions"], cases[0]["embedding"].as_array().unwrap().len());
        let mut arguments = vec!["embed", "sentences"];
        arguments.extend(&texts);
        let answer = seedhouse.json(&arguments);
        let server = seedhouse.serve();
        let body = json!({"model_id": "sentences", "input": texts});
        let over_http = server.post_json("/api/inference/embeddings", &body).json();
        assert_eq!(over_http["metadata"]["dimensions"], answer["dimensions"]);
        assert_eq!(over_http["metadata"]["digest"], answer["digest"]);
        for (place, case) in cases.iter().enumerate() {
            let found = &answer["embeddings"][place];
            let difference = difference(&found["vector"], &case["embedding"]);
            // The weights of `bert-max` are bf16, and on some processors so are the activations.
            let allowed = if name == "bert-max" { 0.1 } else { 2e-6 };
            assert!(difference < allowed, "{name} {}: {difference}", case["text"]);
            assert_eq!(found["tokens"], case["input_ids"].as_array().unwrap().len());
            assert_eq!(found["truncated"], case["truncated"]);
            assert_eq!(over_http["predictions"][place], found["vector"]);
            assert_eq!(over_http["metadata"]["tokens"][place], found["tokens"]);
            assert_eq!(over_http["metadata"]["truncated"][place], found["truncated"]);
            let alone = json!({"model_id": "sentences", "input": case["text"]});
            let alone = server.post_json("/api/inference/embeddings", &alone).json();
            assert_eq!(alone["predictions"][0], found["vector"], "{name}: alone as in a batch");
        }
    }
}

#[test]
fn lines_of_a_file_follow_the_texts_of_the_command_line() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &folder(&seedhouse, "bert-mean", &[])]);
    let file = seedhouse.file("lines.txt", "rice\n\nwheat".as_bytes());
    let lines = seedhouse.json(&["embed", "sentences", "maize", "--file", &file]);
    let alone = seedhouse.json(&["embed", "sentences", "maize", "rice", "", "wheat"]);
    assert_eq!(lines["embeddings"], alone["embeddings"]);
    let printed = seedhouse.run(&["embed", "sentences", "--file", &file]);
    assert_eq!((printed.code, printed.stdout.lines().count()), (0, 3), "{}", printed.stderr);
    let first: Value = serde_json::from_str(printed.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(first, lines["embeddings"][1]["vector"]);
    seedhouse.run(&["embed", "sentences"]).assert_failed(2, &["TEXT"]);
    seedhouse.run(&["embed", "sentences", "--file", "nowhere.txt"]).assert_failed(3, &["nowhere.txt"]);
}

#[test]
fn prompt_of_the_model_stands_before_texts_unless_another_is_named() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &folder(&seedhouse, "bert-cls", &[])]);
    let of = |arguments: &[&str]| seedhouse.json(&[&["embed", "sentences"], arguments].concat())["embeddings"].clone();
    assert_eq!(of(&["rice"]), of(&["query: rice", "--prompt", "document"]));
    assert_ne!(of(&["rice"]), of(&["rice", "--prompt", "document"]));
    seedhouse.run(&["embed", "sentences", "rice", "--prompt", "passage"]).assert_failed(2, &["`passage`", "`query`"]);
}

#[test]
fn bad_requests_are_refused_with_the_field_and_both_values() {
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "sentences", &folder(&seedhouse, "bert-mean", &[])]);
    let server = seedhouse.serve();
    let cases = [
        (json!({"model_id": "sentences", "input": []}), 400, "input", "`0`"),
        (json!({"model_id": "sentences", "input": vec!["a"; 2049]}), 400, "input", "`2049`"),
        (json!({"model_id": "sentences", "input": ["a", 7]}), 400, "input[1]", "a number"),
        (json!({"model_id": "sentences", "input": {"a": 1}}), 400, "input", "an object"),
        (json!({"model_id": "sentences", "input": "a", "prompt_name": "query"}), 400, "prompt_name", "no prompts"),
        (json!({"model_id": "sentences", "input": "a", "timeout_seconds": 0}), 400, "timeout_seconds", "above 0"),
    ];
    for (body, status, field, part) in cases {
        let answer = server.post_json("/api/inference/embeddings", &body);
        assert_eq!(answer.status, status, "{body}");
        let problem = answer.json();
        assert_eq!(problem["field"], field, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{problem}");
    }
    let late = json!({"model_id": "sentences", "input": "a", "timeout_seconds": 1e-9});
    assert_eq!(server.post_json("/api/inference/embeddings", &late).status, 504);
    let tensors = json!({"model_id": "sentences", "input_data": {"input_ids": [[1]]}});
    let answer = server.post_json("/api/inference", &tensors);
    assert!(answer.status == 409 && answer.json()["detail"].as_str().unwrap().contains("sentence encoder"));
}

#[test]
fn folder_that_is_not_whole_is_kept_and_says_why_it_is_not_served() {
    for missing in ["tokenizer.json", "modules.json", "1_Pooling/config.json"] {
        let seedhouse = Seedhouse::new();
        let record = seedhouse.json(&["register", "sentences", &folder(&seedhouse, "bert-mean", &[missing])]);
        let reason = record["inspected"]["not_servable_because"].as_str().unwrap();
        assert!(reason.contains(&format!("without `{missing}`")), "{reason}");
        seedhouse.run(&["embed", "sentences", "rice"]).assert_failed(6, &["sentences_v1"]);
    }
}

#[test]
fn real_model_gives_the_reference_vectors() {
    let Some(model) = EmbeddingModel::find() else { return };
    let seedhouse = Seedhouse::new();
    let record = seedhouse.json(&["register", "minilm", &model.folder()]);
    assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("embedding")), "{record}");
    for (key, value) in
        [("dimensions", 384), ("max_seq_len", 256), ("num_layers", 6), ("num_heads", 12), ("d_ff", 1536)]
    {
        assert_eq!(record["metadata"][key], value, "{key}");
    }
    let reference = reference("minilm-l6-v2.json");
    let cases = reference["cases"].as_array().unwrap();
    let mut arguments = vec!["embed", "minilm"];
    arguments.extend(cases.iter().map(|case| case["text"].as_str().unwrap()));
    let answer = seedhouse.json(&arguments);
    for (found, case) in answer["embeddings"].as_array().unwrap().iter().zip(cases) {
        assert_eq!(found["tokens"], case["input_ids"].as_array().unwrap().len());
        let difference = difference(&found["vector"], &case["embedding"]);
        println!("{}: {difference:.1e}", case["text"]);
        // The reference is written with six digits.
        assert!(difference < 1e-5, "{}: {difference}", case["text"]);
    }
    let vectors: Vec<Vec<f64>> =
        answer["embeddings"].as_array().unwrap().iter().map(|found| numbers(&found["vector"])).collect();
    for (row, a) in vectors.iter().enumerate() {
        for (column, b) in vectors.iter().enumerate() {
            let expected = reference["cosine_matrix_fp32"][row][column].as_f64().unwrap();
            assert!((cosine(a, b) - expected).abs() < 2e-5, "{row} and {column}");
        }
    }
}

#[test]
fn real_model_in_8_bits_stays_near_the_reference() {
    let Some(model) = EmbeddingModel::find() else { return };
    let seedhouse = Seedhouse::new();
    seedhouse.json(&["register", "minilm", &model.folder()]);
    let mut command = seedhouse.command();
    command.env("SEEDHOUSE_WEIGHTS", "int8");
    let server = crate::support::Server::start(command);
    for case in reference("minilm-l6-v2.json")["cases"].as_array().unwrap() {
        let body = json!({"model_id": "minilm", "input": case["text"]});
        let answer = server.post_json("/api/inference/embeddings", &body).json();
        let near = cosine(&numbers(&answer["predictions"][0]), &numbers(&case["embedding"]));
        println!("{}: {near}", case["text"]);
        assert!(near > 0.99, "{}: {near}", case["text"]);
    }
}

#[test]
fn graph_with_a_tokenizer_gives_the_vectors_of_onnx_runtime() {
    let (Some(graphs), Some(model)) = (OnnxModels::find(), EmbeddingModel::find()) else { return };
    let seedhouse = Seedhouse::new();
    let graph = seedhouse.file("graph/model.onnx", &std::fs::read(graphs.path("minilm-l6-v2.int8.onnx")).unwrap());
    seedhouse.file("graph/tokenizer.json", &std::fs::read(model.file("tokenizer.json")).unwrap());
    let folder = Path::new(&graph).parent().unwrap().to_str().unwrap();
    let metadata = r#"{"pooling": "mean", "normalize": true, "max_seq_len": 256}"#;
    let record = seedhouse.json(&["register", "minilm", folder, "--type", "embedding", "--metadata", metadata]);
    assert_eq!(record["status"], "ready", "{record}");
    let server = seedhouse.serve();
    for case in reference("minilm-l6-v2.json")["cases"].as_array().unwrap() {
        let body = json!({"model_id": "minilm", "input": case["text"]});
        let answer = server.post_json("/api/inference/embeddings", &body).json();
        let near = cosine(&numbers(&answer["predictions"][0]), &numbers(&case["embedding_int8_onnx"]));
        println!("{}: {near}", case["text"]);
        // Each layer rounds to 8 bits, where a last bit of f32 decides.
        assert!(near > 0.999, "{}: {near}", case["text"]);
    }
}
