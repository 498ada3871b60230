//! Every mistake has a clear answer that names the thing and both values, and leaves nothing behind.

use seedhouse_testkit::tiny_gguf::{tiny_llama, tiny_llama_gguf};
use seedhouse_testkit::tiny_torch::{pickle_with_global, tiny_efficientnet_checkpoint};
use serde_json::{Value, json};

use crate::support::{Form, Seedhouse, Server};

/// Sends a file over HTTP and the command line; both must refuse it and keep nothing.
fn assert_file_refused(file_name: &str, bytes: &[u8], metadata: &str, parts: &[&str]) {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file(file_name, bytes);
    seedhouse.run(&["register", "bad", &path, "--metadata", metadata]).assert_failed(2, parts);
    assert_eq!(seedhouse.json(&["list"]), json!([]));
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());

    let server = seedhouse.serve();
    let form = Form::new().text("name", "bad").text("hyperparameters", metadata).file(file_name, bytes);
    server.post_form("/api/models", &form).assert_problem(400, parts);
    assert_eq!(server.get("/api/models").json(), json!([]));
    assert_eq!(server.get("/health").text, "OK");
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

/// Writes a number over a place of the tiny GGUF file.
fn gguf_with(offset: usize, number: u64) -> Vec<u8> {
    let mut bytes = tiny_llama_gguf(1);
    bytes[offset..offset + 8].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// Places in a GGUF file (version 3): magic, version, number of tensors, number of key-value pairs.
const TENSOR_COUNT: usize = 8;
const KEY_COUNT: usize = 16;

#[test]
fn empty_file_is_refused() {
    assert_file_refused("model.gguf", b"", "{}", &["model.gguf", "empty", "0 bytes"]);
}

#[test]
fn truncated_gguf_is_refused() {
    let bytes = tiny_llama_gguf(1);
    for length in [5, 30, bytes.len() / 2, bytes.len() - 1] {
        assert_file_refused("model.gguf", &bytes[..length], "{}", &["model.gguf", &length.to_string()]);
    }
}

#[test]
fn gguf_with_absurd_counts_is_refused_without_allocating() {
    for offset in [TENSOR_COUNT, KEY_COUNT] {
        assert_file_refused("model.gguf", &gguf_with(offset, u64::MAX), "{}", &["model.gguf", &u64::MAX.to_string()]);
        assert_file_refused(
            "model.gguf",
            &gguf_with(offset, 1 << 40),
            "{}",
            &["model.gguf", &(1u64 << 40).to_string()],
        );
    }
}

#[test]
fn gguf_tensor_past_the_end_is_refused() {
    let mut model = tiny_llama(1);
    model.tensors[0].claimed_offset = Some(1 << 30);
    let bytes = model.build();
    assert_file_refused("model.gguf", &bytes, "{}", &["model.gguf", &(1 << 30).to_string(), &bytes.len().to_string()]);
}

#[test]
fn pickle_with_a_forbidden_global_is_refused_by_name() {
    for (module, name) in [("os", "system"), ("builtins", "eval"), ("torch.hub", "load")] {
        let bytes = pickle_with_global(module, name);
        assert_file_refused(
            "model.pth",
            &bytes,
            "{}",
            &["model.pth", &format!("{module}.{name}"), "nothing was executed"],
        );
    }
}

#[test]
fn hyper_parameters_that_contradict_the_file_are_refused_with_both_numbers() {
    let bytes = tiny_llama_gguf(1);
    assert_file_refused("m.gguf", &bytes, r#"{"vocab_size": 30000}"#, &["metadata.vocab_size", "30000", "m.gguf"]);
    let bytes = tiny_efficientnet_checkpoint(1, 3);
    assert_file_refused("m.pth", &bytes, r#"{"num_classes": 10}"#, &["metadata.num_classes", "10", "3", "m.pth"]);
}

#[test]
fn device_is_not_registered() {
    let seedhouse = Seedhouse::new();
    for device in ["/dev/zero", "/dev/null"] {
        seedhouse.run(&["register", "endless", device]).assert_failed(2, &[device, "must be a file"]);
    }
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

#[test]
fn type_and_framework_that_contradict_the_file_are_refused() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("m.gguf", &tiny_llama_gguf(1));
    seedhouse.run(&["register", "x", &path, "--type", "vision"]).assert_failed(2, &["`vision`", "`transformer`"]);
    seedhouse.run(&["register", "x", &path, "--framework", "onnx"]).assert_failed(2, &["`onnx`", "`gguf`"]);
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

#[test]
fn number_of_labels_must_be_the_number_of_classes() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("m.pth", &tiny_efficientnet_checkpoint(1, 3));
    let labels = seedhouse.file("labels.txt", "小麦\n玉米\n".as_bytes());
    let arguments = ["register", "x", &path, "--labels", &labels, "--metadata", r#"{"image_size": 32}"#];
    seedhouse.run(&arguments).assert_failed(2, &["labels", "2", "3"]);
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

#[test]
fn taken_names_are_refused_and_say_since_when() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("m.gguf", &tiny_llama_gguf(1));
    let first = seedhouse.register("wheat", &path);
    let since = first["created_at"].as_str().unwrap();
    let before = seedhouse.stored_files();
    let other = seedhouse.file("other.gguf", &tiny_llama_gguf(2));
    seedhouse.run(&["register", "wheat", &other, "--version", "1"]).assert_failed(4, &["wheat:1", since, "hint: "]);
    seedhouse.run(&["register", "rice", &other, "--model-id", "wheat_v1"]).assert_failed(4, &["`wheat_v1`", since]);
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "wheat"})).assert_problem(409, &["wheat", since]);
    let form = Form::new().text("name", "wheat").file("other.gguf", &tiny_llama_gguf(2));
    server.post_form("/api/models", &form).assert_problem(409, &["wheat", since]);
    assert_eq!(seedhouse.stored_files(), before);
}

fn serving(name: &str, file: &str, bytes: &[u8], metadata: &str) -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file(file, bytes);
    seedhouse.json(&["register", name, &path, "--metadata", metadata]);
    let server = seedhouse.serve();
    (seedhouse, server)
}

#[test]
fn wrong_generation_requests_are_refused_with_field_and_value() {
    let (seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let long = "x".repeat(300);
    let cases: [(Value, u16, i32, &[&str]); 10] = [
        (json!({"model_id": "rice"}), 404, 3, &["model `rice` not found"]),
        (json!({"model_id": "tiny:9"}), 404, 3, &["version `tiny:9` not found"]),
        (json!({"model_id": "tiny_v2"}), 404, 3, &["tiny_v2"]),
        (json!({"temperature": -1.0}), 400, 2, &["`temperature`", "-1"]),
        (json!({"top_p": 2.0}), 400, 2, &["`top_p`", "2"]),
        (json!({"top_p": 0.0}), 400, 2, &["`top_p`", "0"]),
        (json!({"max_length": 0}), 400, 2, &["0", "at least 1"]),
        (json!({"prompt": long}), 400, 2, &["the prompt has", "tokens", "tiny_v1", "64"]),
        (json!({"prompt": ""}), 400, 2, &["prompt"]),
        (json!({"model_id": "../etc"}), 400, 2, &["../etc"]),
    ];
    for (case, status, code, parts) in cases {
        let mut body = json!({"model_id": "tiny", "prompt": "hello"});
        body.as_object_mut().unwrap().extend(case.as_object().unwrap().clone());
        server.post_json("/api/inference/text/generation", &body).assert_problem(status, parts);
        seedhouse.run(&generate_arguments(&body)).assert_failed(code, parts);
    }
    assert_eq!(server.get("/health").text, "OK");
}

/// The same request for the command line.
fn generate_arguments(body: &Value) -> Vec<&'static str> {
    let text = |key: &str| body[key].as_str().unwrap().to_owned();
    let mut arguments = vec!["generate".to_owned(), text("model_id"), text("prompt")];
    for (key, option) in [("temperature", "--temperature"), ("top_p", "--top-p"), ("max_length", "--max-tokens")] {
        if let Some(value) = body.get(key) {
            arguments.extend([option.to_owned(), value.to_string()]);
        }
    }
    // Leaked on purpose: a few short strings of a test.
    arguments.into_iter().map(|argument| &*argument.leak()).collect()
}

#[test]
fn broken_json_is_refused_with_what_was_found() {
    let (_seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let deep_array = "[".repeat(100_000);
    let deep_unknown = format!("{{\"unknown\": {}", "[".repeat(100_000));
    for path in ["/api/inference/text/generation", "/api/inference/image/classification", "/api/models"] {
        for (body, part) in [
            ("", "is empty"),
            ("{", "EOF"),
            ("not json", "begins with `n`"),
            ("[1]", "begins with `[`"),
            ("\u{feff}", "begins with"),
            ("{} {}", if path == "/api/models" { "`name`" } else { "`model_id`" }),
            (&deep_array, "begins with `[`"),
            (&deep_unknown, "EOF"),
        ] {
            server.post(path, body).assert_problem(400, &[part]);
        }
    }
    let trailing = r#"{"name": "x"} {}"#;
    server.post("/api/models", trailing).assert_problem(400, &["trailing characters"]);
    let deep = format!(r#"{{"name": "deep", "hyperparameters": {{"x": {}"#, "[".repeat(100_000));
    server.post("/api/models", &deep).assert_problem(400, &["recursion limit"]);
    assert_eq!(server.get("/api/models").json().as_array().unwrap().len(), 1);
}

#[test]
fn wrong_types_are_refused_with_field_value_and_rule() {
    let (_seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let (text, image, models) =
        ("/api/inference/text/generation", "/api/inference/image/classification", "/api/models");
    let ask = |field: &str, value: Value| json!({"model_id": "tiny", "prompt": "hello", field: value});
    let whole = "whole number from 0";
    let cases: [(&str, Value, &str, &[&str]); 16] = [
        (text, json!({}), "model_id", &["required"]),
        (text, json!({"model_id": "tiny"}), "prompt", &["messages"]),
        (text, ask("model_id", json!(7)), "model_id", &["`7`", "a string"]),
        (text, ask("top_k", json!(-1)), "top_k", &["`-1`", whole]),
        (text, ask("max_length", json!(1.5)), "max_length", &["`1.5`", whole]),
        (text, ask("max_length", json!("many")), "max_length", &["`many`", whole]),
        (text, ask("temperature", Value::Null), "temperature", &["`null`", "a number"]),
        (text, ask("stream", json!("yes")), "stream", &["`yes`", "`true` or `false`"]),
        (text, ask("stop", json!(["a", 7])), "stop[1]", &["`7`", "a string"]),
        (text, ask("messages", json!([])), "messages", &["prompt"]),
        (text, json!({"model_id": "tiny", "messages": [{"role": "user"}]}), "messages[0].content", &["required"]),
        (image, json!({"model_id": "tiny"}), "image_data", &["required"]),
        (
            image,
            json!({"model_id": "tiny", "image_data": [[[0, "x", 0]]]}),
            "image_data[0][0][1]",
            &["`x`", "a number"],
        ),
        (image, json!({"model_id": "tiny", "image_data": [[7]]}), "image_data[0][0]", &["`7`", "an array"]),
        (models, json!({"name": 7}), "name", &["`7`", "a string"]),
        (models, json!({"name": "x", "metadata": {}, "hyperparameters": {}}), "hyperparameters", &["once"]),
    ];
    for (path, body, field, parts) in cases {
        server.post_json(path, &body).assert_problem_about(400, field, parts);
    }
    for (query, field, value) in
        [("limit=-1", "limit", "`-1`"), ("limit=x", "limit", "`x`"), ("limit=1.5", "limit", "`1.5`")]
    {
        server.get(&format!("/api/models?{query}")).assert_problem_about(400, field, &[value, whole]);
    }
    let form = Form::new().text("model_id", "tiny").text("top_k", "-1").file("a.png", b"x");
    server.post_form(image, &form).assert_problem_about(400, "top_k", &["`-1`", whole]);
}

#[test]
fn fields_are_reported_as_the_user_wrote_them() {
    let (seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let (text, image) = ("/api/inference/text/generation", "/api/inference/image/classification");
    let zero = json!({"model_id": "tiny", "prompt": "a", "max_length": 0});
    server.post_json(text, &zero).assert_problem_about(400, "max_length", &["`0`"]);
    seedhouse.run(&["generate", "tiny", "a", "--max-tokens", "0"]).assert_failed(2, &["`--max-tokens`", "`0`"]);
    for reference in ["../etc", "tiny:newest", "tiny@sha256:12", "tiny/0", ""] {
        let named = format!("`{reference}`");
        let body = json!({"model_id": reference, "prompt": "a"});
        server.post_json(text, &body).assert_problem_about(400, "model_id", &[&named]);
        let body = json!({"model_id": reference, "image_data": [[[0, 0, 0]]]});
        server.post_json(image, &body).assert_problem_about(400, "model_id", &[&named]);
        let form = Form::new().text("model_id", reference).file("a.png", b"x");
        server.post_form(image, &form).assert_problem_about(400, "model_id", &[&named]);
    }
    server.get("/api/models/tiny:newest").assert_problem_about(400, "model_id", &["`tiny:newest`"]);
    server.get("/api/models/tiny:newest/versions").assert_problem_about(400, "model_id", &["`tiny:newest`"]);
    let name = json!({"name": "Wheat/Leaves"});
    server.post_json("/api/models", &name).assert_problem_about(400, "name", &["`Wheat/Leaves`"]);
}

#[test]
fn sampling_parameters_without_sampling_are_refused_unless_they_are_the_defaults() {
    let (seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let path = "/api/inference/text/generation";
    for (field, value) in [
        ("temperature", json!(0.5)),
        ("top_k", json!(3)),
        ("top_p", json!(0.5)),
        ("min_p", json!(0.5)),
        ("seed", json!(7)),
    ] {
        let body = json!({"model_id": "tiny", "prompt": "hello", "max_length": 1, field: value});
        server.post_json(path, &body).assert_problem_about(400, "do_sample", &[&format!("`{field}`")]);
    }
    let defaults = json!({"model_id": "tiny", "prompt": "hello", "max_length": 1, "temperature": 1.0, "repetition_penalty": 1.0,
        "num_return_sequences": 1, "beam_search": false, "beam_width": 5, "early_stopping": true, "no_repeat_ngram_size": 0,
        "do_sample": false, "top_p": 1.0, "top_k": 0});
    assert_eq!(server.post_json(path, &defaults).status, 200, "what the original's clients send");
    for (option, value) in [("--top-k", "3"), ("--top-p", "0.5"), ("--min-p", "0.5"), ("--seed", "7")] {
        let refused = seedhouse.run(&["generate", "tiny", "hello", option, value]);
        refused.assert_failed(2, &[option, value, "--temperature"]);
        let drawn =
            seedhouse.run(&["generate", "tiny", "hello", "--max-tokens", "1", "--temperature", "1", option, value]);
        assert_eq!(drawn.code, 0, "{}", drawn.stderr);
    }
}

#[test]
fn body_over_the_limit_is_refused_with_both_sizes() {
    let seedhouse = Seedhouse::new();
    let limits = ["--max-json-bytes", "1000", "--max-upload-bytes", "5000"];
    let server = Server::start_with(seedhouse.command(), &limits);
    let body = json!({"name": "x".repeat(2000)}).to_string();
    server.post("/api/models", &body).assert_problem(413, &[&body.len().to_string(), "1000"]);
    let form = Form::new().text("name", "big").file("model.bin", &[7; 6000]);
    server.post_form("/api/models", &form).assert_problem(413, &["5000"]);
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
    assert_eq!(server.get("/api/models").json(), json!([]));
}

#[test]
fn body_that_outgrows_the_limit_without_announcing_it_is_refused() {
    let seedhouse = Seedhouse::new();
    let server = Server::start_with(seedhouse.command(), &["--max-json-bytes", "1000", "--max-upload-bytes", "5000"]);
    let chunked = |content_type: &str, body: &[u8]| server.post_chunked("/api/models", content_type, body);
    chunked("application/json", &[b' '; 2000]).assert_problem(413, &["1000"]);
    let form = Form::new().text("name", "big").file("model.bin", &[7; 6000]);
    chunked(&form.content_type(), &form.body()).assert_problem(413, &["5000"]);
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}

#[test]
fn what_is_not_an_image_is_refused() {
    let checkpoint = tiny_efficientnet_checkpoint(1, 3);
    let (seedhouse, server) = serving("net", "net.pth", &checkpoint, r#"{"image_size": 32}"#);
    let path = "/api/inference/image/classification";
    let huge_header =
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\x86\xa0\0\x01\x86\xa0\x08\x02\0\0\0\x27\x30\x9c\x9f\0\0\0\x01IDAT";
    let gif = b"GIF89a\x01\0\x01\0\0\0\0;";
    let cases: [(&[u8], u16, i32, &str); 5] = [
        (b"", 400, 2, "0 bytes"),
        (b"not an image", 400, 2, "[6e 6f 74 20]"),
        (b"\x89PNG\r\n\x1a\n", 400, 2, "the image"),
        (gif, 400, 2, "`image/gif`"),
        (huge_header, 413, 9, "100000 x 100000"),
    ];
    for (bytes, status, code, part) in cases {
        let form = Form::new().text("model_id", "net").file("cat.png", bytes);
        server.post_form(path, &form).assert_problem(status, &[part]);
        let file = seedhouse.file("cat.png", bytes);
        seedhouse.run(&["classify", "net", &file]).assert_failed(code, &[part]);
    }
    seedhouse.run(&["classify", "net", "/nonexistent.png"]).assert_failed(3, &["/nonexistent.png"]);
    let nested = |image_data: Value, top_k: i64| json!({"model_id": "net", "image_data": image_data, "top_k": top_k});
    for (body, parts) in [
        (nested(json!([]), 1), vec!["image_data"]),
        (nested(json!([[[0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]), 1), vec!["image_data"]),
        (nested(json!([[[0, 0, 300]]]), 1), vec!["image_data", "300"]),
        (nested(json!([[[0, 0, 0]]]), 4), vec!["top_k", "4", "3"]),
        (nested(json!([[[0, 0, 0]]]), 0), vec!["top_k", "0"]),
        (nested(json!([[[0, 0, 0]]]), -1), vec!["-1"]),
    ] {
        server.post_json(path, &body).assert_problem(400, &parts);
    }
    assert_eq!(server.get("/health").text, "OK");
}

#[test]
fn model_of_another_task_is_refused() {
    let (_seedhouse, server) = serving("tiny", "tiny.gguf", &tiny_llama_gguf(1), "{}");
    let body = json!({"model_id": "tiny", "image_data": [[[0, 0, 0]]]});
    server
        .post_json("/api/inference/image/classification", &body)
        .assert_problem(409, &["tiny_v1", "image classification"]);
}

#[test]
fn names_that_could_reach_a_path_are_refused_everywhere() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for name in ["../x", "..", "a/b", "a\\b", "a\0b", "/etc/passwd", "C:x"] {
        server.post_json("/api/models", &json!({ "name": name })).assert_problem(400, &["`name`"]);
        let body = json!({"name": "x", "model_id": name});
        server.post_json("/api/models", &body).assert_problem(400, &["`model_id`"]);
    }
    for file_name in ["../x", "/etc/passwd", "a/../../x", "a\\\\b"] {
        let form = Form::new().text("name", "x").file(file_name, b"bytes");
        server.post_form("/api/models", &form).assert_problem(400, &["path"]);
    }
    server.get("/api/models/%ff").assert_problem_about(400, "model_id", &["UTF-8"]);
    for path in ["/api/models/..%2f..%2fetc%2fpasswd", "/api/models/%252e%252e", "/api/models/a%00b"] {
        assert!([400, 404].contains(&server.get(path).status), "{path}");
    }
    assert_eq!(seedhouse.stored_files(), Vec::<String>::new());
}
