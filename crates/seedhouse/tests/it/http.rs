//! The HTTP API: paths, shapes and the description of both.

use std::collections::BTreeSet;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use seedhouse_testkit::tiny_torch::tiny_efficientnet_checkpoint;
use serde_json::{Value, json};

use crate::support::{Form, Seedhouse, Server};

fn with_tiny_models() -> (Seedhouse, Server) {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let text = Form::new().text("name", "Tiny Text").text("description", "小麦").file("tiny.gguf", &tiny_llama_gguf(1));
    assert_eq!(server.post_form("/api/models", &text).status, 201);
    let metadata = json!({"image_size": 32, "labels": ["小麦", "玉米", "水稻"]}).to_string();
    let image = Form::new()
        .text("hyperparameters", &metadata)
        .file("tiny.pth", &tiny_efficientnet_checkpoint(1, 3))
        .text("name", "tiny-image");
    let answer = server.post_form("/api/models", &image);
    assert_eq!(answer.status, 201, "{}", answer.text);
    (seedhouse, server)
}

#[test]
fn health_is_the_text_that_mlflow_clients_expect() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let answer = server.get("/health");
    assert_eq!((answer.status, answer.text.as_str()), (200, "OK"));
    assert!(!answer.request_id.is_empty());
}

#[test]
fn uploaded_model_has_the_shape_the_web_client_reads() {
    let (_seedhouse, server) = with_tiny_models();
    let model = server.get("/api/models/tiny-text").json();
    assert_eq!(model["id"], "tiny-text_v1");
    assert_eq!(model["model_id"], model["id"]);
    assert_eq!(model["model_type"], "transformer");
    assert_eq!(model["name"], "Tiny Text");
    assert_eq!(model["version"], "1");
    assert_eq!(model["description"], "小麦");
    assert_eq!(model["status"], "ready");
    assert_eq!(model["size"], tiny_llama_gguf(1).len());
    assert_eq!(model["metrics"], json!({}));
    assert_eq!(model["is_pretrained"], false);
    assert!(model["hyperparameters"]["num_layers"].is_number());
    assert!(model["digest"].as_str().unwrap().starts_with("sha256:"));
    assert!(model.get("success").is_none(), "the web client passes objects with `success` through unwrapped");
}

#[test]
fn list_is_a_bare_array_with_and_without_a_slash() {
    let (_seedhouse, server) = with_tiny_models();
    for path in ["/api/models", "/api/models/", "/api/models?limit=9", "/api/models/?search=tiny"] {
        let list = server.get(path).json();
        let ids: Vec<&str> = list.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["tiny-image_v1", "tiny-text_v1"], "{path}");
    }
    assert_eq!(server.get("/api/models?search=%E9%BA%A6").json()[0]["id"], "tiny-text_v1");
    assert_eq!(server.get("/api/models?type=vision").json().as_array().unwrap().len(), 1);
}

#[test]
fn versions_are_listed_newest_first() {
    let (_seedhouse, server) = with_tiny_models();
    let form = Form::new().text("name", "x").text("model_id", "tiny-text_v1.0.1").file("t.gguf", &tiny_llama_gguf(2));
    assert_eq!(server.post_form("/api/models", &form).status, 201);
    let body = server.get("/api/models/tiny-text_v1/versions").json();
    assert_eq!(body["success"], true);
    let versions: Vec<&Value> = body["versions"].as_array().unwrap().iter().map(|entry| &entry["version"]).collect();
    assert_eq!(versions, ["1.0.1", "1"]);
}

#[test]
fn statistics_count_by_type_status_and_framework() {
    let (_seedhouse, server) = with_tiny_models();
    let figures = server.get("/api/model-manager/statistics").json();
    assert_eq!(figures["total_models"], 2);
    assert_eq!(figures["loaded_models"], 0);
    assert_eq!(figures["by_type"], json!({"transformer": 1, "vision": 1}));
    assert_eq!(figures["by_status"], json!({"ready": 2}));
    assert_eq!(figures["by_framework"], json!({"gguf": 1, "pytorch": 1}));
}

#[test]
fn record_without_files_is_all_claims_and_not_servable() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let body = json!({"name": "计划", "hyperparameters": {"d_model": 512}, "model_type": "ai", "unknown": 1});
    let answer = server.post_json("/api/models/", &body);
    assert_eq!(answer.status, 201, "{}", answer.text);
    let model = answer.json();
    assert_eq!((&model["id"], &model["status"]), (&json!("计划_v1"), &json!("registered")));
    assert_eq!(model["claims"], json!(["metadata.d_model", "type"]));
    let ask = json!({"model_id": "计划_v1", "prompt": "hi"});
    server.post_json("/api/inference/text/generation", &ask).assert_problem(409, &["计划_v1", "registered"]);
    let ready = json!({"name": "other", "status": "ready"});
    server.post_json("/api/models", &ready).assert_problem(400, &["`status`", "`ready`", "no files"]);
}

#[test]
fn generation_answers_in_the_original_shape() {
    let (_seedhouse, server) = with_tiny_models();
    let body = json!({"model_id": "tiny-text", "prompt": "hello", "max_length": 5});
    let answer = server.post_json("/api/inference/text/generation", &body).json();
    assert!(answer["predictions"].is_string());
    assert_eq!(answer["confidence"], Value::Null);
    assert!(answer["processing_time"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["metadata"]["model_id"], "tiny-text_v1");
    assert!(answer["metadata"]["output_length"].as_u64().unwrap() <= 5);
    assert!(answer["metadata"]["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn streamed_pieces_are_the_text_of_the_whole_answer() {
    let (_seedhouse, server) = with_tiny_models();
    let ask = |stream: bool| {
        let body = json!({"model_id": "tiny-text", "prompt": "hello", "max_length": 12, "do_sample": true,
                          "temperature": 3, "seed": 5, "stream": stream});
        server.post_json("/api/inference/text/generation", &body)
    };
    let whole = ask(false).json();
    let streamed = ask(true);
    assert_eq!(streamed.content_type, "text/event-stream");
    let (pieces, end) = streamed.text.split_once("event: done\n").expect("the stream ends with `done`");
    let text: String = pieces
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(text, whole["predictions"].as_str().unwrap());
    let end: Value = serde_json::from_str(end.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(end["metadata"]["output_length"], whole["metadata"]["output_length"]);
    let wrong = json!({"model_id": "tiny-text", "prompt": "x".repeat(500), "stream": true});
    server.post_json("/api/inference/text/generation", &wrong).assert_problem(400, &["tokens", "context"]);
}

#[test]
fn messages_go_through_the_chat_template_of_the_model() {
    let (_seedhouse, server) = with_tiny_models();
    let body = json!({"model_id": "tiny-text", "messages": [{"role": "user", "content": "hi"}], "max_length": 3});
    let answer = server.post_json("/api/inference/text/generation", &body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let plain = json!({"model_id": "tiny-text", "prompt": "hi", "max_length": 3});
    let plain = server.post_json("/api/inference/text/generation", &plain).json();
    assert!(answer.json()["metadata"]["input_length"].as_u64() > plain["metadata"]["input_length"].as_u64());
}

#[test]
fn file_and_nested_array_of_the_same_image_are_classified_alike() {
    let (_seedhouse, server) = with_tiny_models();
    let pixels: Vec<Vec<[u8; 3]>> =
        (0..32u8).map(|y| (0..32u8).map(|x| [x * 8, y * 8, x.wrapping_mul(y)]).collect()).collect();
    let path = "/api/inference/image/classification";
    let nested = json!({"model_id": "tiny-image", "image_data": pixels, "top_k": 3});
    let nested = server.post_json(path, &nested).json();
    let form = Form::new().text("model_id", "tiny-image").text("top_k", "3").file("image.png", &png(&pixels));
    let file = server.post_form(path, &form);
    assert_eq!(file.status, 200, "{}", file.text);
    let file = file.json();
    assert_eq!(file["predictions"], nested["predictions"]);
    assert_eq!(file["confidence"], file["predictions"][0]["confidence"]);
    let names: BTreeSet<&str> =
        file["predictions"].as_array().unwrap().iter().map(|class| class["class_name"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["小麦", "玉米", "水稻"]));
    let sum: f64 =
        file["predictions"].as_array().unwrap().iter().map(|class| class["confidence"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
}

#[test]
fn model_with_fewer_than_five_classes_answers_all_of_them_by_default() {
    let (_seedhouse, server) = with_tiny_models();
    let path = "/api/inference/image/classification";
    let pixels = [[[1, 2, 3]; 4]; 4];
    let nested = server.post_json(path, &json!({"model_id": "tiny-image", "image_data": pixels}));
    let form = Form::new().text("model_id", "tiny-image").file("a.png", &png(&[vec![[1, 2, 3]; 4]]));
    for answer in [nested, server.post_form(path, &form)] {
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        assert_eq!(answer["predictions"].as_array().unwrap().len(), 3);
        assert_eq!(answer["metadata"]["top_k"], 3);
    }
}

fn png(pixels: &[Vec<[u8; 3]>]) -> Vec<u8> {
    let bytes: Vec<u8> = pixels.iter().flatten().flatten().copied().collect();
    let image = image::RgbImage::from_raw(pixels[0].len() as u32, pixels.len() as u32, bytes).unwrap();
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn every_described_operation_is_routed() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    let document = server.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 7, "{:?}", paths.keys());
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys().filter(|method| ["get", "post"].contains(&method.as_str()))
        {
            let path = path.replace("{model_id}", "nothing");
            let answer = if method == "get" { server.get(&path) } else { server.post(&path, "{}") };
            assert!(answer.status != 405, "{method} {path}");
            assert!(!answer.text.contains("route `"), "{method} {path}: {}", answer.text);
        }
    }
}

#[test]
fn unknown_route_and_method_are_problems_too() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    server.get("/api/nothing").assert_problem(404, &["GET /api/nothing"]);
    let refused = server.post("/health", "");
    refused.assert_problem_about(405, "method", &["`POST`", "`/health`", "GET"]);
    assert_eq!(refused.allow, "GET,HEAD");
    let refused = server.post("/api/models/x", "");
    refused.assert_problem(405, &["`POST`", "GET"]);
}

#[test]
fn equal_files_are_stored_once_and_the_statistics_say_what_that_saves() {
    let seedhouse = Seedhouse::new();
    let server = seedhouse.serve();
    for (name, bytes) in [("a", "same bytes"), ("b", "same bytes"), ("c", "others")] {
        let form = Form::new().text("name", name).file("w.bin", bytes.as_bytes());
        assert_eq!(server.post_form("/api/models", &form).status, 201);
    }
    assert_eq!(server.send("DELETE", "/api/models/b", &[], &Value::Null).status, 200);
    let expected = json!({"artifacts": 2, "stored_bytes": 16, "named_bytes": 26, "saved_by_deduplication_bytes": 10});
    let figures = server.get("/api/model-manager/statistics?storage=true").json();
    assert_eq!(
        (&figures["storage"], &figures["total_models"], &figures["training_tasks"]),
        (&expected, &json!(2), &json!(0))
    );
    assert!(server.get("/api/model-manager/statistics").json().get("storage").is_none());
    assert_eq!(seedhouse.json(&["statistics"])["storage"], expected);
    let text = seedhouse.run(&["statistics"]).stdout;
    assert!(text.contains("2 versions of 2 models") && text.contains("10 B saved"), "{text}");
}

#[test]
fn body_that_a_route_does_not_read_leaves_the_connection_usable() {
    let (_seedhouse, server) = with_tiny_models();
    let unread = "x".repeat(1 << 20);
    for _ in 0..20 {
        assert_eq!(server.post("/api/model-manager/cache/clear", &unread).status, 200);
        assert_eq!(server.get("/health").status, 200);
    }
}
