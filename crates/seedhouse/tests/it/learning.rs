//! The closed loop through the program: datasets, training, measuring, quantising, converting, and what a kill leaves.

use std::process::Stdio;
use std::time::{Duration, Instant};

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

/// Rows whose target is a plain function of them, with a group that keeps neighbours together.
fn field_rows(count: usize) -> String {
    let mut text = String::from("rain,soil,氮肥\n");
    for row in 0..count {
        let rain = (row * 37 % 101) as f64 / 10.0;
        let (soil, factor) = [("clay", 1.0), ("sand", -2.0), ("壤土", 0.5)][row % 3];
        text.push_str(&format!("{rain},{soil},{}\n", 3.0 + factor * rain));
    }
    text
}

fn with_fields(seedhouse: &Seedhouse) -> Value {
    let file = seedhouse.file("fields.csv", field_rows(900).as_bytes());
    seedhouse.json(&["dataset", "fields", &file, "--target", "氮肥", "--test", "0.2"])
}

const SETTINGS: &str = r#"{"epochs": 60, "batch_size": 32, "learning_rate": 0.01, "seed": 7, "threads": 1}"#;

fn trained(seedhouse: &Seedhouse) -> Value {
    with_fields(seedhouse);
    let report =
        seedhouse.json(&["train", "advice", "--type", "regression", "--data", "fields", "--settings", SETTINGS]);
    assert_eq!(report["model_id"], "advice_v1");
    seedhouse.json(&["show", "advice"])
}

#[test]
fn dataset_is_counted_and_named_by_its_digest() {
    let seedhouse = Seedhouse::new();
    let entry = with_fields(&seedhouse);
    assert_eq!((&entry["type"], &entry["status"]), (&json!("dataset"), &json!("registered")));
    assert_eq!((&entry["dataset"]["kind"], &entry["dataset"]["examples"]), (&json!("table"), &json!(900)));
    let parts = entry["dataset"]["parts"].as_object().unwrap();
    assert_eq!(parts.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 900);
    assert!(entry["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(entry["metadata"]["dataset"]["targets"], json!(["氮肥"]));
    assert!(entry.get("claims").is_none_or(Value::is_null), "how files are read is no claim: {}", entry["claims"]);
}

#[test]
fn mistakes_about_datasets_name_the_thing_and_both_values() {
    let seedhouse = Seedhouse::new();
    let ragged = seedhouse.file("ragged.csv", b"a,b\n1,2\n3\n");
    seedhouse.run(&["dataset", "ragged", &ragged]).assert_failed(2, &["ragged.csv"]);
    let fields = seedhouse.file("fields.csv", field_rows(9).as_bytes());
    seedhouse.run(&["dataset", "fields", &fields, "--target", "yield"]).assert_failed(2, &["`yield`", "rain"]);
    seedhouse.run(&["dataset", "fields", &fields, "--test", "1.5"]).assert_failed(2, &["1.5"]);
    assert_eq!(seedhouse.json(&["list"]), json!([]), "nothing was registered");
}

#[test]
fn trained_version_has_files_figures_and_receipts() {
    let seedhouse = Seedhouse::new();
    let record = trained(&seedhouse);
    assert_eq!((&record["status"], &record["type"]), (&json!("trained"), &json!("regression")));
    assert!(record["metrics"]["r2"].as_f64().unwrap() > 0.95, "{}", record["metrics"]);
    assert!(record.get("claims").is_none_or(Value::is_null), "{}", record["claims"]);
    let kinds: Vec<&str> =
        record["receipts"].as_array().unwrap().iter().map(|receipt| receipt["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["training", "evaluation"]);
    let dataset = seedhouse.json(&["show", "fields"]);
    for receipt in record["receipts"].as_array().unwrap() {
        assert_eq!(receipt["dataset"]["digest"], dataset["digest"]);
        assert_eq!(receipt["digest"], record["digest"]);
        assert!(receipt["command"].as_str().unwrap().starts_with("seedhouse "));
        assert!(receipt["host"]["threads"].as_u64().unwrap() > 0);
    }
    let row = seedhouse.json(&["predict", "advice", "--row", r#"{"rain": 4, "soil": "clay"}"#]);
    let answer = row["targets"]["氮肥"].as_f64().unwrap();
    assert!((answer - 7.0).abs() < 1.5, "{row}");
    let checkpoints = std::fs::read_dir(seedhouse.root().join("work")).unwrap();
    assert_eq!(checkpoints.count(), 0, "checkpoints go when they are not needed any more");
}

#[test]
fn receipt_is_measured_again_and_agrees() {
    let seedhouse = Seedhouse::new();
    let record = trained(&seedhouse);
    let again = seedhouse.json(&["evaluate", "advice", "--receipt", "2", "--tolerance", "0"]);
    assert_eq!(again["agrees"], true, "{again}");
    assert_eq!(again["figures"]["r2"]["receipt"], record["metrics"]["r2"]);
    let evaluation = seedhouse.json(&["evaluate", "advice", "--data", "fields", "--split", "validation"]);
    assert_eq!(evaluation["receipt"]["dataset"]["part"], "validation");
    seedhouse.run(&["evaluate", "advice", "--receipt", "9"]).assert_failed(2, &["`9`", "3 receipts"]);
    let limited = seedhouse.json(&["evaluate", "advice", "--data", "fields", "--limit", "10", "--against", "advice"]);
    assert_eq!(limited["receipt"]["dataset"]["examples"], 10);
    assert_eq!(limited["difference"]["r2"], 0.0);
}

#[test]
fn measurement_of_what_a_model_learned_from_became_its_accuracy() {
    let seedhouse = Seedhouse::new();
    let record = trained(&seedhouse);
    for more in [["--split", "train"], ["--limit", "10"]] {
        let measured = seedhouse.json(&[&["evaluate", "advice", "--data", "fields"][..], &more].concat());
        assert_ne!(measured["receipt"]["metrics"]["r2"], record["metrics"]["r2"], "{more:?}");
        assert_eq!(seedhouse.json(&["show", "advice"])["metrics"], record["metrics"], "{more:?}");
    }
    let whole = seedhouse.json(&["evaluate", "advice", "--data", "fields"]);
    assert!(whole["receipt"]["metrics"]["latency_ms_p50"].as_f64().unwrap() > 0.0, "{whole}");
    let now = seedhouse.json(&["show", "advice"]);
    assert_eq!(now["metrics"]["latency_ms_p95"], whole["receipt"]["metrics"]["latency_ms_p95"]);
    assert_eq!(now["receipts"].as_array().unwrap().len(), 5);
}

#[test]
fn receipt_of_a_training_was_said_to_disagree() {
    let seedhouse = Seedhouse::new();
    trained(&seedhouse);
    seedhouse
        .run(&["evaluate", "advice", "--receipt", "1"])
        .assert_failed(2, &["no measurement on a dataset", "seedhouse train advice"]);
}

/// Pictures of two classes that a small network tells apart: a bright and a dark half.
fn picture_folder(seedhouse: &Seedhouse) -> String {
    for number in 0..60_u8 {
        for (class, left, right) in [("left", 200, 20), ("right", 20, 200)] {
            let picture = image::GrayImage::from_fn(12, 12, |x, y| {
                let noise = (u32::from(number) * 7 + x * 3 + y * 5) % 30;
                image::Luma([(if x < 6 { left } else { right } as u32 + noise) as u8])
            });
            let mut file = std::io::Cursor::new(Vec::new());
            picture.write_to(&mut file, image::ImageFormat::Png).unwrap();
            seedhouse.file(&format!("halves/{class}/{number}.png"), &file.into_inner());
        }
    }
    seedhouse.file_path("halves").to_str().unwrap().to_owned()
}

#[test]
fn pictures_are_learned_recognised_and_drawn() {
    let seedhouse = Seedhouse::new();
    let folder = picture_folder(&seedhouse);
    seedhouse.json(&["dataset", "halves", &folder, "--stratify", "--test", "0.2"]);
    for (name, metadata) in [
        ("cnn", r#"{"model_type": "cnn", "base_channels": 4, "num_layers": 2}"#),
        ("vit", r#"{"model_type": "vit", "base_channels": 16, "num_layers": 1, "num_heads": 2, "patch_size": 4}"#),
    ] {
        let settings = r#"{"epochs": 12, "batch_size": 8, "learning_rate": 0.01, "threads": 1}"#;
        let train =
            ["train", name, "--type", "vision", "--data", "halves", "--metadata", metadata, "--settings", settings];
        let report = seedhouse.json(&train);
        assert_eq!(report["metrics"]["accuracy"], 1.0, "{name}: {report}");
        let made = seedhouse.json(&["quantize", name, "--type", "int8", "--data", "halves"]);
        assert!(made["quantization"]["accuracy_drop"].as_f64().unwrap() <= 0.1, "{made}");
    }
    let metadata = r#"{"base_channels": 8, "channel_multipliers": [1, 2], "num_res_blocks": 1, "num_heads": 1, "num_timesteps": 50,
        "num_groups": 4, "num_classes": 2}"#;
    let settings = r#"{"steps": 60, "batch_size": 8, "learning_rate": 0.003, "threads": 1}"#;
    let train =
        ["train", "halver", "--type", "diffusion", "--data", "halves", "--metadata", metadata, "--settings", settings];
    let report = seedhouse.json(&train);
    let loss = report["metrics"]["denoising_loss"].as_f64().unwrap();
    assert!(loss > 0.0 && loss < 0.9, "better than to say nothing: {report}");
    let drawn = seedhouse.file("drawn.png", b"");
    seedhouse.json(&["imagine", "halver", "--class", "left", "--steps", "5", "-o", &drawn]);
    let again = seedhouse.json(&["evaluate", "halver", "--receipt", "2", "--tolerance", "0"]);
    assert_eq!(again["agrees"], true, "{again}");
    // Classes were taken by their numbers: that of another dataset was drawn as whatever has its number here.
    for number in 0..10 {
        let picture = std::fs::read(seedhouse.file_path(&format!("halves/left/{number}.png"))).unwrap();
        seedhouse.file(&format!("thirds/middle/{number}.png"), &picture);
    }
    seedhouse.json(&["dataset", "thirds", seedhouse.file_path("thirds").to_str().unwrap(), "--test", "0.5"]);
    seedhouse
        .run(&["evaluate", "halver", "--data", "thirds"])
        .assert_failed(2, &["`middle`", "no class of `halver_v1`"]);
}

#[test]
fn language_model_is_trained_with_its_tokenizer_and_compared_with_its_quantised_self() {
    let seedhouse = Seedhouse::new();
    let text =
        "The wheat grows and the rain falls on the field of wheat.\nA farmer sows maize, and the maize grows.\n\n"
            .repeat(400);
    let file = seedhouse.file("fields.txt", text.as_bytes());
    seedhouse.json(&["dataset", "fields_text", &file, "--test", "0.1"]);
    let metadata =
        r#"{"vocab_size": 300, "max_seq_len": 32, "d_model": 32, "num_layers": 1, "num_heads": 2, "d_ff": 64}"#;
    let settings = r#"{"steps": 150, "batch_size": 8, "learning_rate": 0.01, "threads": 1}"#;
    let train = [
        "train",
        "writer",
        "--type",
        "transformer",
        "--data",
        "fields_text",
        "--metadata",
        metadata,
        "--settings",
        settings,
    ];
    let report = seedhouse.json(&train);
    assert!(report["metrics"]["perplexity"].as_f64().unwrap() < 8.0, "{report}");
    let written = seedhouse.json(&["generate", "writer", "The wheat grows", "--max-tokens", "8"]);
    assert!(!written["text"].as_str().unwrap().is_empty(), "{written}");
    let made = seedhouse.json(&["quantize", "writer", "--type", "int8", "--data", "fields_text"]);
    assert!(made["metrics"]["top1_agreement"].as_f64().unwrap() > 0.8, "{made}");
    assert!(made["metrics"]["kl_divergence"].as_f64().unwrap() < 0.1, "{made}");
    let folder = seedhouse.file_path("out");
    for format in ["onnx", "gguf", "safetensors"] {
        let made = seedhouse.json(&["convert", "writer_v1", "--format", format, "--output", folder.to_str().unwrap()]);
        assert!(made["greatest_difference"].as_f64().unwrap() < 1e-3, "{format}: {made}");
    }
    let same = seedhouse.json(&["import", folder.join("writer_v1").to_str().unwrap(), "--name", "copied"]);
    assert_eq!(same["status"], "ready");
}

#[test]
fn folder_made_of_a_gguf_file_stood_in_a_folder_of_its_own_name_and_was_compared_with_nothing() {
    let seedhouse = Seedhouse::new();
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &tiny_llama_gguf(1)));
    let out = seedhouse.file_path("out");
    let made = seedhouse.json(&["convert", "tiny", "--format", "safetensors", "--output", out.to_str().unwrap()]);
    assert!(made["greatest_difference"].as_f64().unwrap() <= 0.05, "{made}");
    assert!(out.join("tiny_v1/config.json").is_file());
    let again = seedhouse.json(&["import", out.join("tiny_v1").to_str().unwrap(), "--name", "again"]);
    assert_eq!((&again["framework"], &again["status"]), (&json!("huggingface"), &json!("ready")));
}

#[test]
fn same_settings_and_seed_give_the_same_bytes() {
    let digest = || trained(&Seedhouse::new())["digest"].clone();
    assert_eq!(digest(), digest());
}

#[test]
fn quantised_version_is_measured_and_refused_beyond_its_limit() {
    let seedhouse = Seedhouse::new();
    let original = trained(&seedhouse);
    let refused =
        seedhouse.run(&["quantize", "advice", "--type", "int4", "--data", "fields", "--max-drop", "0.000001"]);
    refused.assert_failed(6, &["advice_v1", "int4", "0.000001"]);
    assert_eq!(seedhouse.json(&["list", "--search", "advice"]).as_array().unwrap().len(), 1, "nothing was registered");
    let made = seedhouse.json(&["quantize", "advice", "--type", "int8", "--data", "fields", "--max-drop", "0.05"]);
    assert_eq!(made["model_id"], "advice_v1_quantized_int8");
    let record = seedhouse.json(&["show", "advice_v1_quantized_int8"]);
    assert_eq!((&record["status"], &record["parent"]), (&json!("quantized"), &json!("advice_v1")));
    let quantization = &record["quantization"];
    assert_eq!((&quantization["enabled"], &quantization["type"]), (&json!(true), &json!("int8")));
    assert_eq!(quantization["original_model_id"], "advice_v1");
    let sizes = [&record, &original].map(|record| record["size_bytes"].as_f64().unwrap());
    assert_eq!(quantization["compression_ratio"], sizes[0] / sizes[1]);
    let drop = quantization["accuracy_drop"].as_f64().unwrap();
    let expected = original["metrics"]["r2"].as_f64().unwrap() - record["metrics"]["r2"].as_f64().unwrap();
    assert!((drop - expected).abs() < 1e-12 && drop <= 0.05, "{drop} {expected}");
    assert!(quantization["inference_speedup"].as_f64().unwrap() > 0.0);
    assert_eq!(record["receipts"][0]["against"]["model_id"], "advice_v1");
    let again = seedhouse.json(&["evaluate", "advice_v1_quantized_int8", "--receipt", "1"]);
    assert_eq!(again["agrees"], true, "{again}");
    seedhouse
        .run(&["quantize", "advice_v1_quantized_int8", "--type", "int4"])
        .assert_failed(10, &["quantised already", "name `advice_v1`"]);
    seedhouse.run(&["quantize", "advice_v1", "--type", "int8"]).assert_failed(4, &["advice_v1_quantized_int8"]);
}

#[test]
fn version_with_files_is_trained_further_as_its_successor() {
    let seedhouse = Seedhouse::new();
    let first = trained(&seedhouse);
    let settings = r#"{"epochs": 2, "learning_rate": 0.0001, "seed": 1, "threads": 1}"#;
    let report = seedhouse.json(&["train", "advice", "--data", "fields", "--settings", settings]);
    assert_eq!(report["model_id"], "advice_v2");
    let second = seedhouse.json(&["show", "advice_v2"]);
    assert_eq!((&second["parent"], &second["relation"]), (&json!("advice_v1"), &json!("finetuned")));
    assert_ne!(first["digest"], second["digest"]);
    assert!(
        second["metrics"]["r2"].as_f64().unwrap() > 0.95,
        "it began where the other one ended: {}",
        second["metrics"]
    );
    assert_eq!(seedhouse.json(&["show", "advice_v1"])["digest"], first["digest"]);
}

#[test]
fn mistakes_about_trainings_are_told_before_anything_is_computed() {
    let seedhouse = Seedhouse::new();
    with_fields(&seedhouse);
    seedhouse.run(&["train", "new", "--data", "fields"]).assert_failed(2, &["`new`", "--type vision"]);
    seedhouse.run(&["train", "new", "--type", "vision", "--data", "absent"]).assert_failed(3, &["`absent`"]);
    seedhouse
        .run(&["train", "new", "--type", "regression", "--data", "fields", "--learning-rate", "0"])
        .assert_failed(2, &["learning_rate", "`0`"]);
    let wrong = seedhouse.run(&["train", "clothes", "--type", "vision", "--data", "fields", "--epochs", "1"]);
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("vision") || wrong.stderr.contains("picture"), "{}", wrong.stderr);
    assert_eq!(seedhouse.json(&["show", "clothes"])["status"], "failed");
    let model = seedhouse.run(&["train", "again", "--type", "regression", "--data", "clothes"]);
    model.assert_failed(2, &["`clothes`", "dataset"]);
}

#[test]
fn model_is_converted_and_answers_the_same() {
    let seedhouse = Seedhouse::new();
    trained(&seedhouse);
    let folder = seedhouse.root().join("..").join("out");
    let folder = folder.to_str().unwrap();
    let made = seedhouse.json(&["convert", "advice", "--format", "onnx", "--output", folder]);
    assert!(made["greatest_difference"].as_f64().unwrap() < 1e-4, "{made}");
    let path = made["path"].as_str().unwrap();
    assert!(path.ends_with("advice_v1.onnx"), "{path}");
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(made["digest"], seedhouse_core::Digest::of(&bytes).to_string());
    seedhouse.run(&["convert", "advice", "--format", "gguf", "--output", folder]).assert_failed(10, &["gguf"]);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "what failed leaves nothing");
    let again = seedhouse.run(&["convert", "advice", "--format", "onnx", "--output", folder]);
    again.assert_failed(2, &["advice_v1.onnx"]);
    assert_eq!(std::fs::read(path).unwrap(), bytes, "what has the name stays");
}

#[test]
fn classifier_of_images_of_any_size_was_compared_with_images_too_small_for_it() {
    let seedhouse = Seedhouse::new();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../native/fixtures/vision/resnet-bottleneck/model.safetensors");
    seedhouse.json(&["register", "resnet", fixture, "--metadata", r#"{"image_size": 64}"#]);
    let folder = seedhouse.file_path("out");
    let made = seedhouse.json(&["convert", "resnet", "--format", "onnx", "--output", folder.to_str().unwrap()]);
    assert!(made["greatest_difference"].as_f64().unwrap() < 1e-4, "{made}");
}

/// Waits until a task of the original's routes has ended.
fn ended(server: &Server, task: &str) -> Value {
    let begun = Instant::now();
    loop {
        let task = server.get(&format!("/api/models/training/{task}")).json();
        if matches!(task["status"].as_str().unwrap(), "completed" | "failed" | "cancelled") {
            return task;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{task}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn routes_of_the_original_train_and_quantise_for_real() {
    let seedhouse = Seedhouse::new();
    with_fields(&seedhouse);
    let server = seedhouse.serve();
    let made = server.post_json("/api/models", &json!({"name": "advice", "model_type": "regression"}));
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["model_id"].as_str().unwrap().to_owned();
    let body =
        json!({"training_data": {"dataset": "fields"}, "config": {"num_epochs": 60, "learning_rate": 0.01, "seed": 7}});
    let asked = server.post_json(&format!("/api/models/{id}/train"), &body);
    assert_eq!(asked.status, 202, "{}", asked.text);
    let asked = asked.json();
    assert_eq!(
        (&asked["success"], &asked["status"], &asked["progress"]),
        (&json!(true), &json!("training"), &json!(0.0))
    );
    let task = ended(&server, asked["task_id"].as_str().unwrap());
    assert_eq!((&task["status"], &task["progress"]), (&json!("completed"), &json!(100.0)), "{task}");
    assert_eq!(task["model_status"], "trained");
    assert!(task["metrics"]["r2"].as_f64().unwrap() > 0.95, "{task}");
    assert_eq!(server.get("/api/training/tasks").json()["total_count"], 1);
    let quantised = server.post_json(&format!("/api/models/{id}/quantize"), &json!({"dataset": "fields"}));
    assert_eq!(quantised.status, 200, "{}", quantised.text);
    let quantised = quantised.json();
    assert!(quantised["quantization"]["accuracy_drop"].is_number(), "{quantised}");
    let asked = json!({"input_data": {"rain": 4, "soil": "clay"}, "quantization_type": "int8"});
    let answer = server.post_json(&format!("/api/models/{id}/inference/quantized"), &asked);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["model_id"], quantised["model_id"]);
    assert!(answer.json()["prediction"]["targets"]["氮肥"].is_number(), "{}", answer.text);
    let absent = json!({"input_data": {"rain": 4, "soil": "clay"}, "quantization_type": "int4"});
    server
        .post_json(&format!("/api/models/{id}/inference/quantized"), &absent)
        .assert_problem(404, &["quantized_int4"]);
    server
        .post_json(&format!("/api/models/{id}/train"), &json!({"training_data": {"x": [1, 2]}}))
        .assert_problem(400, &["training_data.dataset"]);
    let evaluated = server.post_json(&format!("/api/models/{id}/evaluate"), &json!({"dataset": "fields"}));
    assert_eq!(evaluated.status, 202, "{}", evaluated.text);
}

#[test]
fn cancelled_training_is_stopped_and_two_of_one_version_are_refused() {
    let seedhouse = Seedhouse::new();
    with_fields(&seedhouse);
    let server = seedhouse.serve();
    server.post_json("/api/models", &json!({"name": "advice", "model_type": "regression"}));
    let body = json!({"training_data": {"dataset": "fields"}, "config": {"steps": 100_000_000, "seed": 7}});
    let asked = server.post_json("/api/models/advice_v1/train", &body);
    assert_eq!(asked.status, 202, "{}", asked.text);
    let task = asked.json()["task_id"].as_str().unwrap().to_owned();
    server.post_json("/api/models/advice_v1/train", &body).assert_problem(409, &["advice_v1", &task]);
    let begun = Instant::now();
    while server.get("/api/models/advice_v1").json()["status"] != "training" {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.send("DELETE", &format!("/api/training/{task}"), &[], &json!(null)).status, 200);
    assert_eq!(ended(&server, &task)["status"], "cancelled");
    assert_eq!(server.get("/api/models/advice_v1").json()["status"], "stopped");
}

/// Kills of the test; `SEEDHOUSE_TEST_KILLS` changes the number.
const KILLS: u32 = 5;

#[test]
fn training_that_is_killed_again_and_again_ends_as_if_it_never_was() {
    let kills = std::env::var("SEEDHOUSE_TEST_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let whole = Seedhouse::new();
    let seedhouse = Seedhouse::new();
    let steps = u64::from(kills) * 4000;
    let settings =
        format!(r#"{{"steps": {steps}, "batch_size": 8, "checkpoint_every": 200, "seed": 3, "threads": 1}}"#);
    let train = ["train", "advice", "--type", "regression", "--data", "fields", "--settings", &settings];
    for seedhouse in [&whole, &seedhouse] {
        with_fields(seedhouse);
    }
    whole.json(&train);
    let job = {
        let detached: Vec<&str> = train.iter().copied().chain(["--detach"]).collect();
        seedhouse.json(&detached)["id"].as_u64().unwrap().to_string()
    };
    let mut killed = 0;
    let begun = Instant::now();
    let mut delay = Duration::from_millis(150);
    loop {
        assert!(begun.elapsed() < Duration::from_secs(600), "{killed} kills");
        let mut server = Server::start_with(seedhouse.command(), &["--job-lease", "1s"]);
        if killed < kills {
            std::thread::sleep(delay);
            delay = Duration::from_millis(150 + (u64::from(killed) * 379) % 1700);
            server.kill();
            killed += 1;
            let record = seedhouse.json(&["show", "advice"]);
            let status = record["status"].as_str().unwrap();
            assert!(matches!(status, "registered" | "training" | "trained"), "{status}");
            assert_eq!(record.get("digest").is_some(), status == "trained", "{record}");
            continue;
        }
        let task = ended(&server, &job);
        assert_eq!(task["status"], "completed", "{task}");
        break;
    }
    let [one, other] = [&whole, &seedhouse].map(|seedhouse| seedhouse.json(&["show", "advice"]));
    assert_eq!(one["digest"], other["digest"], "bit for bit the same");
    assert_eq!(other["status"], "trained");
    assert_eq!(killed, kills);
}

#[test]
fn job_of_a_killed_command_is_finished_by_another() {
    let seedhouse = Seedhouse::new();
    with_fields(&seedhouse);
    let settings = r#"{"steps": 3000, "batch_size": 8, "seed": 3, "threads": 1}"#;
    let train = ["train", "advice", "--type", "regression", "--data", "fields", "--settings", settings, "--detach"];
    let job = seedhouse.json(&train)["id"].as_u64().unwrap().to_string();
    let mut command = seedhouse.command();
    let mut running = command.args(["jobs", "run", &job]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    running.kill().unwrap();
    running.wait().unwrap();
    let begun = Instant::now();
    loop {
        let run = seedhouse.run(&["jobs", "run", &job]);
        if run.code == 0 {
            break;
        }
        // Until its lease is over nobody knows that the first one is gone; or it was done before the kill.
        run.assert_failed(5, &["job", &job]);
        if run.stderr.contains("succeeded") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", run.stderr);
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(seedhouse.json(&["show", "advice"])["status"], "trained");
}
