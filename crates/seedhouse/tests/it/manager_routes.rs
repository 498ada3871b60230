//! The original's `model-manager` routes that hand over, back up and restore, its status, and models that stand on the
//! server's disk: the shapes of its answers, and honest refusals.

use std::fs;

use seedhouse_core::Digest;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

fn with_a_text_model() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let server = seedhouse.serve();
    (seedhouse, server)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn export(server: &Server, id: &str, query: &str) -> crate::support::Answer {
    server.post(&format!("/api/model-manager/{id}/export{query}"), "")
}

#[test]
fn version_is_handed_over_as_it_is_or_as_an_archive() {
    let (seedhouse, server) = with_a_text_model();
    let answer = export(&server, "tiny", "?format=gguf");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    let expected = ["model_id", "format", "export_path", "file_size", "exported_at", "compatibility"];
    assert_eq!(keys(&answer), expected);
    assert_eq!((&answer["model_id"], &answer["format"]), (&json!("tiny_v1"), &json!("gguf")));
    assert_eq!(answer["export_path"], "exports/tiny_v1.gguf");
    assert_eq!(answer["file_size"], tiny_llama_gguf(1).len());
    assert_eq!(answer["compatibility"]["framework"], "gguf");
    assert_eq!(answer["compatibility"]["digest"], Digest::of(tiny_llama_gguf(1)).to_string());
    assert_eq!(fs::read(seedhouse.root().join("exports/tiny_v1.gguf")).unwrap(), tiny_llama_gguf(1));
    for (format, path) in [("bundle", "exports/tiny_v1.tar"), ("oci", "exports/tiny_v1.oci.tar")] {
        for _ in 0..2 {
            let body = json!({"format": format});
            let answer = server.post_json("/api/model-manager/tiny_v1/export", &body).json();
            assert_eq!(answer["export_path"], path, "{answer}");
            assert_eq!(answer["file_size"], fs::metadata(seedhouse.root().join(path)).unwrap().len());
        }
    }
    let elsewhere = Seedhouse::new();
    let bundle = seedhouse.root().join("exports/tiny_v1.tar");
    assert_eq!(elsewhere.json(&["import", bundle.to_str().unwrap()])["imported"][0]["model_id"], "tiny_v1");
    let names: Vec<Value> = server.get("/api/exports").json()["files"].as_array().unwrap().clone();
    assert_eq!(names.len(), 3, "the same version in the same form is one file: {names:?}");
}

#[test]
fn format_that_is_not_written_is_501_and_names_what_can_be_had() {
    let (seedhouse, server) = with_a_text_model();
    for query in ["?format=..%2Fonnx", "?format=pytorch"] {
        export(&server, "tiny", query).assert_problem(501, &["tiny_v1", "bundle, gguf, oci, onnx, safetensors"]);
    }
    let claimed = seedhouse.file("a.bin", b"bytes that nothing reads");
    seedhouse.json(&["register", "opaque", &claimed, "--framework", "tensorflow"]);
    export(&server, "opaque", "?format=tensorflow").assert_problem(501, &["as bin, bundle"]);
    assert_eq!(export(&server, "opaque", "?format=bin").json()["export_path"], "exports/opaque_v1.bin");
    seedhouse.json(&["register", "two", &claimed, &seedhouse.file("b.bin", b"more")]);
    export(&server, "two", "?format=bin").assert_problem(501, &["had as bundle"]);
    server.post_json("/api/models", &json!({"name": "words"}));
    export(&server, "words", "").assert_problem(409, &["words_v1", "registered"]);
    export(&server, "words", "?format=oci").assert_problem_about(400, "references", &["no files"]);
    export(&server, "nobody", "?format=bundle").assert_problem(404, &["nobody"]);
    server.post_json("/api/model-manager/tiny/export", &json!({"format": 7})).assert_problem_about(400, "format", &[]);
}

#[test]
fn other_format_is_written_compared_and_described() {
    let (seedhouse, server) = with_a_text_model();
    let answer = export(&server, "tiny", "");
    assert_eq!(answer.status, 200, "{}", answer.text);
    let answer = answer.json();
    assert_eq!((&answer["format"], &answer["export_path"]), (&json!("onnx"), &json!("exports/tiny_v1.onnx")));
    let bytes = fs::read(seedhouse.root().join("exports/tiny_v1.onnx")).unwrap();
    assert_eq!(answer["file_size"], bytes.len());
    let compatibility = &answer["compatibility"];
    assert_eq!(compatibility["digest"], Digest::of(&bytes).to_string());
    assert!(compatibility["greatest_difference"].as_f64().unwrap() < 0.05, "{answer}");
    assert_eq!(compatibility["opset"], 17);
}

#[test]
fn damaged_bytes_are_not_handed_over_and_leave_no_file() {
    let (seedhouse, server) = with_a_text_model();
    let hex = Digest::of(tiny_llama_gguf(1)).hex();
    let blob = seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(&hex);
    let mut bytes = tiny_llama_gguf(1);
    bytes[100] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, bytes).unwrap();
    for format in ["gguf", "bundle", "oci"] {
        export(&server, "tiny", &format!("?format={format}")).assert_problem(500, &[&hex]);
    }
    fs::remove_file(&blob).unwrap();
    export(&server, "tiny", "?format=gguf").assert_problem(500, &["tiny_v1", "missing"]);
    assert_eq!(fs::read_dir(seedhouse.root().join("exports")).unwrap().count(), 0);
}

#[test]
fn records_are_backed_up_and_restored_in_the_originals_shapes() {
    let (seedhouse, server) = with_a_text_model();
    let backup = server.post("/api/model-manager/backup", "");
    assert_eq!(backup.status, 200, "{}", backup.text);
    let backup = backup.json();
    assert_eq!(keys(&backup), ["backup_path", "backup_size", "total_models", "backup_time"]);
    let path = backup["backup_path"].as_str().unwrap();
    assert!(path.starts_with("backup/metadata_backup_") && path.ends_with(".json"), "{path}");
    assert_eq!(backup["total_models"], 1);
    let bytes = fs::read(seedhouse.root().join(path)).unwrap();
    assert_eq!(backup["backup_size"], bytes.len());
    let named = server.post("/api/model-manager/backup?backup_path=mine.json", "").json();
    assert_eq!(named["backup_path"], "backup/mine.json");
    server.post("/api/model-manager/backup?backup_path=backup/mine.json", "").assert_problem_about(
        400,
        "backup_path",
        &["exists already"],
    );

    seedhouse.json(&["update", "tiny", "--description", "later"]);
    seedhouse.register("rice", &seedhouse.file("rice.bin", b"rice"));
    let restored = server.post_json("/api/model-manager/restore", &json!({"backup_path": path}));
    assert_eq!(restored.status, 200, "{}", restored.text);
    let restored = restored.json();
    assert_eq!(keys(&restored), ["success", "message", "restore_info"]);
    assert_eq!(restored["success"], true);
    assert_eq!(keys(&restored["restore_info"]), ["backup_path", "restored_models", "restore_time"]);
    assert_eq!(restored["restore_info"]["restored_models"], 1);
    assert_eq!(restored["restore_info"]["backup_path"], path);
    let listed = server.get("/api/models").json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["description"]), (1, &json!("")), "{listed}");
    let again = server.post("/api/model-manager/restore?backup_path=mine.json", "").json();
    assert_eq!(again["restore_info"]["restored_models"], 0, "it is as the backup says");
    server.post("/api/model-manager/restore", "").assert_problem_about(400, "backup_path", &["required"]);
    server.post("/api/model-manager/restore?backup_path=no.json", "").assert_problem(404, &["no.json"]);
}

#[test]
fn status_says_how_the_registry_is_and_not_where() {
    let (seedhouse, server) = with_a_text_model();
    let body = json!({"model_id": "tiny", "prompt": "a", "max_length": 1});
    assert_eq!(server.post_json("/api/inference/text/generation", &body).status, 200);
    let answer = server.get("/api/model-manager/status");
    assert!(!answer.text.contains(seedhouse.root().parent().unwrap().to_str().unwrap()), "{}", answer.text);
    let status = answer.json();
    assert_eq!(keys(&status), ["status", "storage", "cache", "training", "statistics", "timestamp"]);
    assert_eq!(status["status"], "running");
    assert_eq!(status["storage"], json!({"path": "registry", "exists": true, "metadata_file_exists": true}));
    assert_eq!(status["cache"], json!({"size": 1, "models": ["tiny_v1"]}));
    assert_eq!(status["training"], json!({"active_tasks": 0, "task_ids": []}));
    assert_eq!(status["statistics"]["total_models"], 1);
    server.post("/api/model-manager/cache/clear", "");
    assert_eq!(server.get("/api/model-manager/status").json()["cache"], json!({"size": 0, "models": []}));
}

fn pretrained(server: &Server, body: &Value) -> crate::support::Answer {
    server.post_json("/api/models/pretrained", body)
}

#[test]
fn model_on_the_servers_disk_is_registered_in_the_originals_shape() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let imports = seedhouse.root().join("imports");
    fs::create_dir_all(imports.join("小麦/词表")).unwrap();
    fs::write(imports.join("tiny.gguf"), tiny_llama_gguf(1)).unwrap();
    fs::write(imports.join("小麦/weights.bin"), b"weights").unwrap();
    fs::write(imports.join("小麦/词表/vocab.txt"), "病虫害").unwrap();
    let answer = pretrained(&server, &json!({"model_name_or_path": "tiny.gguf"}));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let answer = answer.json();
    assert_eq!(keys(&answer), ["success", "model_id", "message", "model_format"]);
    assert_eq!((&answer["success"], &answer["model_id"]), (&json!(true), &json!("tiny_v1")));
    assert_eq!(answer["model_format"], "gguf", "what the file is, not the original's default");
    let body = json!({"model_name_or_path": "imports/小麦", "name": "Wheat", "metadata": {"crops": ["小麦"]}});
    assert_eq!(pretrained(&server, &body).json()["model_id"], "wheat_v1");
    let files = server.get("/api/models/wheat/files").json()["files"].clone();
    let paths: Vec<&str> = files.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["weights.bin", "词表/vocab.txt"]);
    assert!(imports.join("tiny.gguf").exists(), "what was registered stays where it was");
    pretrained(&server, &json!({"model_name_or_path": "tiny.gguf"})).assert_problem(409, &["tiny"]);
}

#[test]
fn what_is_not_in_the_folder_is_refused_naming_it_and_nothing_is_downloaded() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let imports = seedhouse.root().join("imports");
    fs::create_dir_all(imports.join("leaky")).unwrap();
    fs::write(imports.join("tiny.gguf"), tiny_llama_gguf(1)).unwrap();
    for name in
        ["bert-base-chinese", "google/vit-base", "/etc/passwd", "../seedhouse.db", seedhouse.root().to_str().unwrap()]
    {
        pretrained(&server, &json!({"model_name_or_path": name})).assert_problem_about(
            400,
            "model_name_or_path",
            &["folder `imports`"],
        );
    }
    for name in ["https://example.com/model.onnx", "s3://bucket/key"] {
        pretrained(&server, &json!({"model_name_or_path": name})).assert_problem(501, &["downloading", "`imports`"]);
    }
    for (body, field) in [
        (json!({}), "model_name_or_path"),
        (json!({"model_name_or_path": "tiny.gguf", "model_format": "onnx"}), "framework"),
        (json!({"model_name_or_path": "tiny.gguf", "model_type": "vision"}), "type"),
        (json!({"model_name_or_path": "tiny.gguf", "name": "a/b"}), "name"),
        (json!({"model_name_or_path": "leaky"}), "paths"),
    ] {
        let answer = pretrained(&server, &body);
        assert_eq!((answer.status, &answer.json()["field"]), (400, &json!(field)), "{}", answer.text);
    }
    std::os::unix::fs::symlink(seedhouse.root().join("seedhouse.db"), imports.join("leaky/weights.bin")).unwrap();
    let answer = pretrained(&server, &json!({"model_name_or_path": "leaky"}));
    answer.assert_problem(400, &["imports/leaky/weights.bin", "outside"]);
    assert_eq!(server.get("/api/models").json(), json!([]));
}
