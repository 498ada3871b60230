//! Models of tables through the program: registration, rows over HTTP and the command line, policies, bad input, ONNX graphs.

use std::path::PathBuf;

use seedhouse_testkit::tiny_onnx::{
    Dimension, FLOAT, INT64, TinyOnnx, integer_attribute, tiny_image_classifier, tiny_linear,
};
use seedhouse_testkit::tiny_tabular::{
    soil_declaration, soil_tensors, tabular_file, tiny_soil_classifier, tiny_yield_regressor,
};
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/tabular").join(path)
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(path)).unwrap()).unwrap()
}

fn soil(seedhouse: &Seedhouse) -> Value {
    seedhouse.register("soil", &seedhouse.file("soil.safetensors", &tiny_soil_classifier()))
}

fn ask(server: &Server, body: Value) -> Value {
    server.post_json("/api/inference/tabular", &body).json()
}

fn near(found: &Value, expected: f64) -> bool {
    (found.as_f64().unwrap() - expected).abs() < 1e-6
}

fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[test]
fn classifier_is_registered_with_its_features_and_answers_by_class_name() {
    let seedhouse = Seedhouse::new();
    let record = soil(&seedhouse);
    assert_eq!((&record["status"], &record["type"]), (&json!("ready"), &json!("classification")));
    assert_eq!(
        (&record["framework"], &record["inspected"]["architecture"]),
        (&json!("safetensors"), &json!("tabular"))
    );
    assert_eq!(record["metadata"]["features"], soil_declaration()["features"]);
    assert_eq!(record["metadata"]["classes"], json!(["不适宜", "suitable"]));
    assert_eq!(record.get("claims"), None, "what the file says is no claim");

    let server = seedhouse.serve();
    let row = json!({"pH": 7, "rain": 700, "soil": "clay", "irrigated": false});
    let answer = ask(&server, json!({"model_id": "soil", "row": row}));
    let expected = sigmoid(1.0 + 1.0 + 0.5);
    assert_eq!(
        (&answer["predictions"]["class_name"], &answer["predictions"]["class_id"]),
        (&json!("suitable"), &json!(1))
    );
    assert!(near(&answer["predictions"]["probabilities"]["suitable"], expected), "{answer}");
    assert!(
        near(&answer["predictions"]["probabilities"]["不适宜"], 1.0 - expected)
            && near(&answer["confidence"], expected)
    );
    assert_eq!((&answer["metadata"]["model_id"], &answer["metadata"]["rows"]), (&json!("soil_v1"), &json!(1)));

    // The generic routes ask the version what it takes.
    for (path, body) in [
        ("/api/inference", json!({"model_id": "soil", "input_data": row})),
        ("/api/models/soil/predict", json!({"input_data": row})),
    ] {
        let generic = server.post_json(path, &body).json();
        assert_eq!(generic["result"], answer["predictions"], "{path}");
        assert_eq!(generic["model_id"], "soil_v1");
    }
    let raw = json!({"model_id": "soil", "input_data": {"features": [[7, 700, 0, 0]]}});
    assert_eq!(server.post_json("/api/inference", &raw).json()["result"], json!({"logits": [[0.0, 2.5]]}));
}

#[test]
fn regressor_answers_targets_with_units() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("yield.safetensors", &tiny_yield_regressor());
    let record = seedhouse.register("yield", &file);
    assert_eq!((&record["type"], &record["metadata"]["num_targets"]), (&json!("regression"), &json!(2)));
    let row = r#"{"nitrogen": 150, "crop": "maize"}"#;
    let answer = seedhouse.json(&["predict", "yield", "--row", row]);
    assert_eq!(
        (&answer["targets"], &answer["units"]),
        (&json!({"yield": 6.0, "index": 0.75}), &json!({"yield": "t/ha"}))
    );
    let text = seedhouse.run(&["predict", "yield", "--row", row]);
    assert_eq!(text.stdout, "yield  6 t/ha\nindex  0.75\n");
    let server = seedhouse.serve();
    let body = json!({"input_data": {"nitrogen": 150, "crop": "maize"}});
    let generic = server.post_json("/api/models/yield/predict", &body).json();
    assert_eq!(
        (&generic["result"]["targets"]["yield"], &generic["result"]["units"]["yield"]),
        (&json!(6.0), &json!("t/ha"))
    );
}

#[test]
fn rows_of_one_request_have_their_own_answers_and_errors() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    let server = seedhouse.serve();
    let good = json!({"pH": 7, "rain": null, "soil": "沙", "irrigated": true});
    let rows = json!([
        good,
        {"pH": 7, "rain": 1, "soil": "clay"},
        {"pH": 3.4, "rain": 1, "soil": "clay", "irrigated": true},
        {"pH": 7, "rain": 1, "soil": "peat", "irrigated": true},
        {"PH": 7},
        good,
    ]);
    let answer = ask(&server, json!({"model_id": "soil", "rows": rows}));
    let found = answer["predictions"].as_array().unwrap();
    assert_eq!((found.len(), &answer["metadata"]["failed_rows"]), (6, &json!(4)));
    let alone = ask(&server, json!({"model_id": "soil", "row": good}));
    assert_eq!((&found[0], &found[5]), (&alone["predictions"], &alone["predictions"]));
    assert_eq!(found[0]["missing"], json!(["rain"]));
    let cases: [(usize, &str, &[&str]); 4] = [
        (1, "irrigated", &["missing", "required"]),
        (2, "pH", &["3.4", "3.5 to 9.5 pH"]),
        (3, "soil", &["peat", "`clay`, `loam`, `沙`"]),
        (4, "PH", &["did you mean `pH`"]),
    ];
    for (place, field, expected) in cases {
        let error = &found[place]["error"];
        assert_eq!((&error["field"], &error["status"]), (&json!(field), &json!(400)), "{error}");
        let detail = error["detail"].as_str().unwrap();
        assert!(expected.iter().all(|part| detail.contains(part)), "{detail} should contain {expected:?}");
        // The same row alone is a request that fails.
        let body = json!({"model_id": "soil", "row": rows[place]});
        server.post_json("/api/inference/tabular", &body).assert_problem(400, expected);
        let body = json!({"model_id": "soil", "input_data": rows[place]});
        server.post_json("/api/inference", &body).assert_problem(400, expected);
    }
}

#[test]
fn policies_let_unexpected_values_through_and_the_answer_lists_them() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    let server = seedhouse.serve();
    let row = json!({"pH": 10, "rain": 600, "soil": "peat", "irrigated": false, "note": "x"});
    let body = json!({"model_id": "soil", "row": row, "out_of_range": "flag", "unknown_category": "missing", "unknown_feature": "ignore"});
    let answer = ask(&server, body)["predictions"].clone();
    assert_eq!(
        answer["out_of_range"],
        json!([{"feature": "pH", "value": 10.0, "low": 3.5, "high": 9.5, "unit": "pH"}])
    );
    assert_eq!(answer["missing"], json!(["soil"]));
    assert!(near(&answer["probabilities"]["suitable"], sigmoid(7.0 + 1.0)), "{answer}");
    let parameters = json!({"out_of_range": "flag", "unknown_category": "missing", "unknown_feature": "ignore"});
    let generic =
        server.post_json("/api/models/soil/predict", &json!({"input_data": row, "parameters": parameters})).json();
    assert_eq!(generic["result"], answer);
    let flags = ["--out-of-range", "flag", "--unknown-category", "missing", "--unknown-feature", "ignore"];
    let text = seedhouse.run(&[&["predict", "soil", "--row", &row.to_string()][..], &flags].concat());
    assert_eq!(text.code, 0, "{}", text.stderr);
    assert!(text.stderr.contains("`pH` is 10, and the model was made for 3.5 to 9.5 pH"), "{}", text.stderr);
    let wrong = json!({"model_id": "soil", "row": row, "out_of_range": "warn"});
    server.post_json("/api/inference/tabular", &wrong).assert_problem(400, &["out_of_range", "warn", "refuse", "flag"]);
}

#[test]
fn tables_in_files_are_answered_line_by_line() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    let csv = "\u{feff}pH,rain,soil,irrigated,plot\n7,,clay,true,A\n6.5,600,沙,0,B\n7,1e4,loam,false,C\n";
    let csv = seedhouse.file("plots.csv", csv.as_bytes());
    let refused = seedhouse.run(&["predict", "soil", "--rows", &csv]);
    refused.assert_failed(2, &["row 1: ", "`plot`", "3 of 3"]);
    assert_eq!(refused.stdout, "-\n-\n-\n");
    let run = seedhouse.run(&["predict", "soil", "--rows", &csv, "--unknown-feature", "ignore"]);
    run.assert_failed(2, &["row 1: missing: `rain`", "row 3: `rain` is `10000`", "0 to 3000 mm", "1 of 3"]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!((lines.len(), lines[2]), (3, "-"));
    assert_eq!(lines[0], format!("{:.4}\tsuitable", sigmoid(1.0 - 1.0 + 0.5 + 3.0)));
    assert_eq!(lines[1], format!("{:.4}\t不适宜", 1.0 - sigmoid(-1.0)));

    let array =
        r#"[{"pH": 7, "soil": "clay", "irrigated": true}, {"pH": 6.5, "rain": 600, "soil": "沙", "irrigated": false}]"#;
    let array = seedhouse.file("plots.json", array.as_bytes());
    let lines = "{\"pH\": 7, \"soil\": \"clay\", \"irrigated\": true}\n{\"pH\": 6.5, \"rain\": 600, \"soil\": \"沙\", \"irrigated\": false}\n";
    let lines = seedhouse.file("plots.jsonl", lines.as_bytes());
    let answers = [&array, &lines].map(|file| seedhouse.json(&["predict", "soil", "--rows", file])["rows"].clone());
    assert_eq!(answers[0], answers[1]);
    assert_eq!((&answers[0][0]["class_name"], &answers[0][1]["class_name"]), (&json!("suitable"), &json!("不适宜")));

    let cases =
        [("empty.csv", "", "empty"), ("short.csv", "pH,rain\n1\n", "line: 2"), ("cut.json", "[{\"pH\": 7}", "EOF")];
    for (name, text, expected) in cases {
        let file = seedhouse.file(name, text.as_bytes());
        seedhouse.run(&["predict", "soil", "--rows", &file]).assert_failed(2, &[name, expected]);
    }
    seedhouse.run(&["predict", "soil"]).assert_failed(2, &["--row", "`pH`, `rain`"]);
    seedhouse.run(&["predict", "soil", "--input", "pH=7"]).assert_failed(2, &["--row", "`pH`, `rain`"]);
    seedhouse.run(&["predict", "soil", "--rows", "nowhere.csv"]).assert_failed(3, &["nowhere.csv"]);
    seedhouse.run(&["predict", "soil", "--row", "{pH: 7}"]).assert_failed(2, &["--row"]);
}

#[test]
fn numbers_are_those_of_another_implementation() {
    let seedhouse = Seedhouse::new();
    for (name, case) in [("crops", "crop-classifier"), ("yield", "yield-regressor")] {
        let file = fixture(&format!("{case}/model.safetensors"));
        seedhouse.register(name, file.to_str().unwrap());
    }
    let server = seedhouse.serve();
    let expected = read_json("crop-classifier/expected.json");
    let answer = ask(&server, json!({"model_id": "crops", "rows": expected["rows"]}));
    for (found, expected) in
        answer["predictions"].as_array().unwrap().iter().zip(expected["probabilities"].as_array().unwrap())
    {
        for (class, expected) in ["小麦", "maize", "rice"].iter().zip(expected.as_array().unwrap()) {
            assert!(near(&found["probabilities"][class], expected.as_f64().unwrap()), "{found} {expected}");
        }
    }
    check_yields(&server, "yield");
}

#[test]
fn labels_beside_probabilities_are_left_aside() {
    let graph = TinyOnnx::new(17)
        .node("Softmax", &["x"], &["probabilities"], &[])
        .node("Cast", &["x"], &["label"], &[integer_attribute("to", INT64)])
        .input("x", FLOAT, &[Dimension::Size(-1), Dimension::Size(3)])
        .output("label", INT64, &[Dimension::Size(-1), Dimension::Size(3)])
        .output("probabilities", FLOAT, &[Dimension::Size(-1), Dimension::Size(3)]);
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("labelled.onnx", &graph.bytes());
    let metadata = json!({"features": ["a", "b", "c"], "classes": ["x", "y", "z"]}).to_string();
    let record = seedhouse.json(&["register", "labelled", &file, "--metadata", &metadata]);
    assert_eq!(record["metadata"]["output_activation"], "softmax", "{record}");
    let found = seedhouse.json(&["predict", "labelled", "--row", r#"{"a": 1, "b": 2, "c": 0}"#]);
    let expected = 1.0 / (1.0 + (-1.0_f64).exp() + (-2.0_f64).exp());
    assert!(found["class_name"] == "y" && near(&found["confidence"], expected), "{found}");
}

/// Compares targets with what PyTorch computed in f64.
fn check_yields(server: &Server, model_id: &str) {
    let expected = read_json("yield-regressor/expected.json");
    let answer = ask(server, json!({"model_id": model_id, "rows": expected["rows"]}));
    assert_eq!(answer["metadata"]["units"], json!({"yield": "t/ha", "protein": "%"}));
    for (found, expected) in
        answer["predictions"].as_array().unwrap().iter().zip(expected["results"].as_array().unwrap())
    {
        for (target, expected) in ["yield", "protein", "risk"].iter().zip(expected.as_array().unwrap()) {
            let difference = found["targets"][target].as_f64().unwrap() - expected.as_f64().unwrap();
            // f32 through six layers, of numbers about 10.
            assert!(difference.abs() < 1e-5, "{found} {expected}");
        }
    }
}

#[test]
fn graph_with_declared_features_answers_as_the_file_that_says_them_itself() {
    let seedhouse = Seedhouse::new();
    let record = seedhouse.register("own", fixture("yield-regressor/model.safetensors").to_str().unwrap());
    let metadata =
        json!({"features": record["metadata"]["features"], "targets": record["metadata"]["targets"]}).to_string();
    let graph = fixture("yield-regressor.onnx");
    let arguments = ["register", "graph", graph.to_str().unwrap(), "--type", "regression", "--metadata", &metadata];
    let record = seedhouse.json(&arguments);
    assert_eq!(record["status"], "ready", "{record}");
    assert_eq!(record["claims"], json!(["type", "metadata.features", "metadata.targets"]));
    let server = seedhouse.serve();
    check_yields(&server, "graph");
}

#[test]
fn small_graph_classifies_rows_and_says_what_does_not_fit() {
    let seedhouse = Seedhouse::new();
    let file = seedhouse.file("linear.onnx", &tiny_linear().bytes());
    let register = |name: &str, metadata: Value| {
        seedhouse.run(&["register", name, &file, "--type", "classification", "--metadata", &metadata.to_string()])
    };
    let declared = json!({"features": ["a", {"name": "b", "range": [0, 9]}], "classes": ["x", "y", "z"]});
    assert_eq!(register("linear", declared).code, 0);
    let server = seedhouse.serve();
    // Logits 9.5, 12 and 14.5.
    let answer = ask(&server, json!({"model_id": "linear", "row": {"a": 1, "b": 2}}));
    assert_eq!(answer["predictions"]["class_name"], "z");
    assert!(near(&answer["confidence"], 1.0 / (1.0 + (-2.5_f64).exp() + (-5.0_f64).exp())), "{answer}");
    let tensors = json!({"model_id": "linear", "input_data": {"x": [[1, 2]]}});
    assert_eq!(server.post_json("/api/inference", &tensors).json()["result"], json!({"y": [[9.5, 12.0, 14.5]]}));
    let cases: [(Value, &[&str]); 4] = [
        (json!({"features": ["a"], "classes": ["x", "y", "z"]}), &["1 features", "2 inputs"]),
        (json!({"features": ["a", "b"], "classes": ["x", "y"]}), &["2 classes", "3 results"]),
        (json!({"features": ["a", "b"]}), &["metadata.classes", "targets"]),
        (
            json!({"features": ["a", {"name": "b", "range": [9, 0]}], "classes": ["x", "y", "z"]}),
            &["features[1].range", "[9, 0]"],
        ),
    ];
    for (metadata, expected) in cases {
        register("wrong", metadata).assert_failed(2, expected);
    }
    seedhouse.json(&["register", "plain", &file]);
    let row = json!({"model_id": "plain", "row": {"a": 1}});
    server.post_json("/api/inference/tabular", &row).assert_problem(409, &["plain", "metadata.features"]);
}

#[test]
fn models_for_something_else_say_so() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    let tiny = seedhouse.file("tiny.gguf", &seedhouse_testkit::tiny_gguf::tiny_llama_gguf(1));
    seedhouse.json(&["register", "tiny", &tiny]);
    let colours = seedhouse.file("colours.onnx", &tiny_image_classifier().bytes());
    seedhouse.json(&["register", "colours", &colours, "--metadata", r#"{"image_size": 8}"#]);
    let server = seedhouse.serve();
    for (model_id, expected) in [("tiny", "language model"), ("colours", "takes images")] {
        let body = json!({"model_id": model_id, "row": {"pH": 1}});
        server.post_json("/api/inference/tabular", &body).assert_problem(409, &[model_id, expected]);
    }
    let picture = json!({"model_id": "soil", "image_data": [[[0, 0, 0]]]});
    server.post_json("/api/inference/image/classification", &picture).assert_problem(409, &["rows of named features"]);
    let prompt = json!({"input_data": {"prompt": "a"}, "parameters": {"max_tokens": 2}});
    assert!(server.post_json("/api/models/tiny/predict", &prompt).json()["result"]["text"].is_string());
    server.post_json("/api/models/soil/predict", &prompt).assert_problem(409, &["soil", "text generation"]);
    server.post_json("/api/models/nothing/predict", &prompt).assert_problem(404, &["nothing"]);
}

#[test]
fn requests_that_are_none_are_refused() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    let server = seedhouse.serve();
    let cases: [(Value, &[&str]); 7] = [
        (json!({"model_id": "soil"}), &["rows", "missing"]),
        (json!({"model_id": "soil", "rows": []}), &["`rows`", "1 to 65536"]),
        (json!({"model_id": "soil", "rows": {}, "row": {}}), &["rows"]),
        (json!({"model_id": "soil", "rows": [], "row": {}}), &["`row`", "`rows`"]),
        (json!({"model_id": "soil", "rows": [7]}), &["rows[0]", "an object from feature to value"]),
        (json!({"model_id": "soil", "row": {}}), &["`pH`", "missing"]),
        (json!({"rows": []}), &["model_id"]),
    ];
    for (body, expected) in cases {
        server.post_json("/api/inference/tabular", &body).assert_problem(400, expected);
    }
    // Numbers beyond what JSON's readers hold, and what is no JSON at all.
    for (row, expected) in
        [(r#"{"pH": 1e999}"#, "out of range"), (r#"{"pH": NaN}"#, "expected"), (r#"{"pH": 7, "pH": 8}"#, "given twice")]
    {
        let body = format!(r#"{{"model_id": "soil", "row": {row}}}"#);
        server.post("/api/inference/tabular", &body).assert_problem(400, &[expected]);
    }
}

#[test]
fn file_that_contradicts_its_declaration_is_not_registered() {
    let seedhouse = Seedhouse::new();
    let mut declaration = soil_declaration();
    declaration["features"][0]["scale"] = json!(-1);
    let file = seedhouse.file("broken.safetensors", &tabular_file(&declaration, &soil_tensors()));
    seedhouse.run(&["register", "broken", &file]).assert_failed(2, &["features[0].scale", "`-1`", "above 0"]);
    let good = seedhouse.file("soil.safetensors", &tiny_soil_classifier());
    let claims = [
        (r#"{"num_classes": 3}"#, &["3", "2"][..]),
        (r#"{"labels": ["a", "b", "c"]}"#, &["3 labels", "2 classes"]),
        (r#"{"classes": ["a", "b"]}"#, &["metadata.classes", "suitable"]),
    ];
    for (metadata, expected) in claims {
        seedhouse.run(&["register", "soil", &good, "--metadata", metadata]).assert_failed(2, expected);
    }
    seedhouse
        .run(&["register", "soil", &good, "--type", "regression"])
        .assert_failed(2, &["regression", "classification"]);
}

#[test]
fn alias_moves_to_a_classifier_that_was_tried() {
    let seedhouse = Seedhouse::new();
    soil(&seedhouse);
    soil(&seedhouse);
    let server = seedhouse.serve();
    for version in ["soil_v1", "soil_v2"] {
        let moved =
            server.send("PUT", "/api/models/soil/aliases/live", &[], &json!({"model_id": version, "warm": true}));
        assert_eq!(moved.status, 200, "{}", moved.text);
        let row = json!({"pH": 7, "soil": "clay", "irrigated": true});
        let answer = ask(&server, json!({"model_id": "soil@live", "row": row}));
        assert_eq!(answer["metadata"]["model_id"], version);
    }
}
