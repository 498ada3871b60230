//! The routes of the original's front end beyond `/api/models`: their shapes, and honest refusals where there is nothing yet.

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Form, Seedhouse, Server};

fn with_a_text_model() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let form = Form::new().text("name", "tiny").file("tiny.gguf", &tiny_llama_gguf(1));
    assert_eq!(server.post_form("/api/models/import", &form).status, 201);
    (seedhouse, server)
}

fn generate(server: &Server) -> u16 {
    server
        .post_json("/api/inference/text/generation", &json!({"model_id": "tiny", "prompt": "a", "max_length": 1}))
        .status
}

fn loaded(server: &Server) -> Value {
    server.get("/api/model-manager/statistics").json()["loaded_models"].clone()
}

#[test]
fn imported_file_becomes_a_version_in_both_shapes() {
    let (_seedhouse, server) = with_a_text_model();
    let form = Form::new()
        .text("name", "小麦 分类")
        .text("version", "1.0.0")
        .text("model_type", "classification")
        .text("metadata", "{\"crops\": [\"小麦\"]}")
        .file("weights.bin", b"some bytes");
    let answer = server.post_form("/api/model-manager/import-from-file", &form);
    assert_eq!(answer.status, 201, "{}", answer.text);
    let answer = answer.json();
    assert_eq!((&answer["success"], &answer["model_id"]), (&json!(true), &json!("小麦-分类_v1.0.0")));
    assert_eq!(answer["import_info"]["original_file"], "weights.bin");
    assert_eq!(answer["import_info"]["file_size"], 10);
    let versions = server.fetch("/api/model-manager/versions/小麦-分类").json();
    assert_eq!((&versions["base_id"], &versions["versions"][0]["version"]), (&json!("小麦-分类"), &json!("1.0.0")));
    assert_eq!(server.get("/api/models/tiny").json()["size"], tiny_llama_gguf(1).len());
}

#[test]
fn import_that_is_sent_again_with_its_key_returns_the_version_it_made() {
    let (_seedhouse, server) = with_a_text_model();
    let form = Form::new().text("name", "again").file("w.bin", b"bytes");
    for path in ["/api/models/import", "/api/model-manager/import-from-file"] {
        let send = || server.client().try_post_form_with(path, &[("idempotency-key", "import-1")], &form).unwrap();
        for answer in [send(), send()] {
            assert_eq!((answer.status, &answer.json()["model_id"]), (201, &json!("again_v1")), "{}", answer.text);
        }
    }
}

#[test]
fn import_without_a_file_is_refused() {
    let (_seedhouse, server) = with_a_text_model();
    for path in ["/api/models/import", "/api/model-manager/import-from-file"] {
        server.post_form(path, &Form::new().text("name", "m")).assert_problem_about(400, "file", &["required"]);
        server.post_json(path, &json!({"name": "m"})).assert_problem(400, &["multipart"]);
    }
}

#[test]
fn paused_version_answers_no_requests_until_it_is_started() {
    let (_seedhouse, server) = with_a_text_model();
    assert_eq!((generate(&server), loaded(&server)), (200, json!(1)));
    for _ in 0..2 {
        let paused = server.post("/api/models/tiny/pause", "").json();
        assert_eq!(
            paused,
            json!({"success": true, "message": "`tiny_v1` is stopped", "model_id": "tiny_v1", "status": "stopped"})
        );
    }
    assert_eq!((generate(&server), loaded(&server)), (409, json!(0)));
    let events = server.get("/api/models/tiny/history").json()["events"].as_array().unwrap().len();
    assert_eq!(events, 2, "pausing again is no change");
    assert_eq!(server.post("/api/models/tiny/start", "").json()["status"], "running");
    assert_eq!((generate(&server), loaded(&server)), (200, json!(1)));
    assert_eq!(server.get("/api/models/tiny").json()["status"], "ready");
}

#[test]
fn version_that_cannot_be_loaded_is_not_started() {
    let (_seedhouse, server) = with_a_text_model();
    server.post_form("/api/models", &Form::new().text("name", "opaque").file("a.bin", b"bytes"));
    server.post("/api/models/opaque/start", "").assert_problem(409, &["opaque_v1"]);
    assert_eq!(server.get("/api/models/opaque").json()["status"], "registered");
    server.post_json("/api/models", &json!({"name": "words"}));
    server.post("/api/models/words/start", "").assert_problem(409, &["words_v1"]);
    server.post("/api/models/nobody/start", "").assert_problem(404, &["nobody"]);
}

#[test]
fn reload_and_clear_name_what_they_did() {
    let (_seedhouse, server) = with_a_text_model();
    for route in ["/api/model-manager/tiny/reload", "/api/models/tiny/reload"] {
        let reloaded = server.post(route, "").json();
        assert_eq!((&reloaded["model_id"], &reloaded["from_cache"]), (&json!("tiny_v1"), &json!(false)));
    }
    let cleared = server.post("/api/model-manager/cache/clear", "").json();
    assert_eq!((&cleared["cleared_models"], loaded(&server)), (&json!(["tiny_v1"]), json!(0)));
    assert_eq!(server.post("/api/model-manager/cache/clear", "").json()["cleared_models"], json!([]));
}

#[test]
fn what_is_not_there_yet_says_so() {
    let (_seedhouse, server) = with_a_text_model();
    server.post_json("/api/models/cloud-import", &json!({})).assert_problem(501, &["is not supported: "]);
    server.get("/api/models/training/7").assert_problem(404, &["7"]);
}
