//! The command line: what it prints, where, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::json;

use crate::support::{RealModels, Seedhouse};

fn with_tiny_model() -> (Seedhouse, serde_json::Value) {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("tiny.gguf", &tiny_llama_gguf(1));
    let record = seedhouse.register("小麦", &path);
    (seedhouse, record)
}

#[test]
fn registered_file_is_described_from_its_bytes() {
    let (seedhouse, record) = with_tiny_model();
    assert_eq!(record["model_id"], "小麦_v1");
    assert_eq!(record["status"], "ready");
    assert_eq!(record["type"], "transformer");
    assert_eq!(record["framework"], "gguf");
    assert_eq!(record["ordinal"], 1);
    let bytes = tiny_llama_gguf(1);
    assert_eq!(record["hash"], seedhouse_core::Digest::of(&bytes).hex());
    assert_eq!(record["size_bytes"], bytes.len());
    assert!(record["metadata"]["vocab_size"].as_u64().unwrap() > 256);
    assert!(record.get("claims").is_none(), "{record}");
    let linked = std::fs::read(seedhouse.root().join("小麦_v1.gguf")).unwrap();
    assert_eq!(linked, bytes, "the conventional name stands beside the store");
}

#[test]
fn second_registration_of_a_name_is_its_next_version() {
    let (seedhouse, _) = with_tiny_model();
    let path = seedhouse.file("tiny.gguf", &tiny_llama_gguf(2));
    assert_eq!(seedhouse.register("小麦", &path)["model_id"], "小麦_v2");
    let versions = seedhouse.json(&["versions", "小麦"]);
    let ids: Vec<&str> = versions.as_array().unwrap().iter().map(|entry| entry["model_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["小麦_v2", "小麦_v1"]);
}

#[test]
fn every_form_of_reference_shows_the_same_version() {
    let (seedhouse, record) = with_tiny_model();
    let digest = record["digest"].as_str().unwrap();
    for reference in ["小麦", "小麦_v1", "小麦/1", "小麦:1", "小麦:v1", "models:/小麦/1", &format!("小麦@{digest}")]
    {
        assert_eq!(seedhouse.json(&["show", reference])["model_id"], "小麦_v1", "{reference}");
    }
}

#[test]
fn tables_keep_chinese_and_are_searched_by_one_character() {
    let (seedhouse, _) = with_tiny_model();
    let run = seedhouse.run(&["list", "--search", "麦"]);
    assert_eq!(run.code, 0);
    assert!(run.stdout.contains("小麦_v1"), "{}", run.stdout);
    assert_eq!(seedhouse.json(&["list", "--search", "稻"]), json!([]));
    let run = seedhouse.run(&["show", "小麦"]);
    assert!(run.stdout.contains("sha256:") && run.stdout.contains("tensor_count"), "{}", run.stdout);
}

#[test]
fn generation_is_reproducible_and_streams_what_it_returns() {
    let (seedhouse, _) = with_tiny_model();
    let json = seedhouse.json(&["generate", "小麦", "hello", "--max-tokens", "8"]);
    assert_eq!(json["model_id"], "小麦_v1");
    assert!(json["generated_tokens"].as_u64().unwrap() <= 8);
    let run = seedhouse.run(&["generate", "小麦", "hello", "--max-tokens", "8"]);
    assert_eq!(run.stdout, format!("{}\n", json["text"].as_str().unwrap()));
    assert!(run.stderr.contains("小麦_v1 sha256:"), "{}", run.stderr);
    let drawn = |seed: &str| {
        let arguments = ["generate", "小麦", "hello", "--max-tokens", "20", "--temperature", "5", "--seed", seed];
        seedhouse.json(&arguments)["token_ids"].clone()
    };
    assert_eq!(drawn("7"), drawn("7"));
    assert_ne!(drawn("7"), drawn("8"));
}

#[test]
fn folder_becomes_one_version_with_a_manifest() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("folder/model.gguf", &tiny_llama_gguf(1));
    seedhouse.file("folder/说明/README.md", "说明".as_bytes());
    let folder = std::path::Path::new(&path).parent().unwrap().to_str().unwrap().to_owned();
    let record = seedhouse.register("pack", &folder);
    let paths: Vec<&str> =
        record["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["model.gguf", "说明/README.md"]);
    assert_eq!(std::fs::read_to_string(seedhouse.root().join("pack_v1/说明/README.md")).unwrap(), "说明");
    assert_eq!(seedhouse.json(&["verify", "pack"])["intact"], true);
}

#[test]
fn unverifiable_claims_are_marked() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("tiny.gguf", &tiny_llama_gguf(1));
    let metadata = r#"{"作物": "小麦", "vocab_size": VOCABULARY}"#;
    let vocab_size = seedhouse.register("probe", &path)["metadata"]["vocab_size"].to_string();
    let record =
        seedhouse.json(&["register", "claims", &path, "--metadata", &metadata.replace("VOCABULARY", &vocab_size)]);
    assert_eq!(record["claims"], json!(["metadata.作物"]));
    let shown = seedhouse.run(&["show", "claims"]).stdout;
    let claimed: Vec<&str> = shown.lines().filter(|line| line.contains("(claimed)")).collect();
    assert!(matches!(claimed[..], [line] if line.contains("作物")), "{shown}");
}

#[test]
fn unknown_format_is_kept_and_said_to_be_not_servable() {
    let seedhouse = Seedhouse::new();
    let path = seedhouse.file("notes.bin", b"just some bytes");
    let run = seedhouse.run(&["register", "notes", &path]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("status   registered") && run.stdout.contains("not servable"), "{}", run.stdout);
    seedhouse.run(&["generate", "notes", "hi"]).assert_failed(6, &["notes_v1", "registered"]);
}

#[test]
fn metadata_json_is_up_to_date_after_every_command() {
    let (seedhouse, record) = with_tiny_model();
    let text = std::fs::read_to_string(seedhouse.root().join("metadata.json")).unwrap();
    assert!(text.contains("小麦_v1"), "Chinese stands as it is");
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["models"]["小麦_v1"]["digest"], record["digest"]);
    assert_eq!(file["versions"]["小麦"][0]["model_id"], "小麦_v1");
}

#[test]
fn mistakes_have_messages_hints_and_exit_codes() {
    let (seedhouse, _) = with_tiny_model();
    seedhouse.run(&["show", "rice"]).assert_failed(3, &["model `rice` not found", "hint: "]);
    seedhouse.run(&["show", "小麦:9"]).assert_failed(3, &["version `小麦:9` not found", "hint: "]);
    seedhouse.run(&["show", "小麦/7"]).assert_failed(3, &["version `小麦/7` not found"]);
    seedhouse
        .run(&["register", "x", "/nonexistent/model.gguf"])
        .assert_failed(3, &["file `/nonexistent/model.gguf` not found"]);
    seedhouse.run(&["frobnicate"]).assert_failed(2, &["frobnicate"]);
    seedhouse.run(&["register", "../x", "y"]).assert_failed(2, &["../x", "must not"]);
    seedhouse.run(&["serve", "--listen", "0.0.0.0:0"]).assert_failed(2, &["0.0.0.0:0", "loopback"]);
    let json = seedhouse.run(&["show", "rice", "--json"]);
    assert_eq!(json.code, 3);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["code"], "not_found");
}

#[test]
fn every_failure_is_json_when_json_was_asked_for() {
    let (seedhouse, _) = with_tiny_model();
    type Case<'c> = (&'c [&'c str], i32, &'c str, Option<&'c str>, &'c str);
    let cases: [Case<'_>; 6] = [
        (&["--json", "frobnicate"], 2, "invalid", None, "frobnicate"),
        (&["generate", "--json"], 2, "invalid", None, "<REFERENCE>"),
        (&["show", "../x", "--json"], 2, "invalid", Some("REFERENCE"), "`../x`"),
        (&["register", "x", "y", "--version", "newest", "--json"], 2, "invalid", Some("--version"), "`newest`"),
        (&["serve", "--listen", "0.0.0.0:0", "--json"], 2, "invalid", Some("listen"), "loopback"),
        (&["show", "rice", "--json"], 3, "not_found", None, "rice"),
    ];
    for (arguments, exit_code, code, field, part) in cases {
        let run = seedhouse.run(arguments);
        run.assert_failed(exit_code, &[part]);
        let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap_or_else(|_| panic!("{}", run.stderr));
        assert_eq!((error["code"].as_str(), error["field"].as_str()), (Some(code), field), "{error}");
    }
    let help = seedhouse.run(&["--json", "--help"]);
    assert!(help.code == 0 && help.stdout.contains("Usage:"), "{}", help.stdout);
    let version = seedhouse.run(&["--version", "--json"]);
    assert!(version.code == 0 && version.stdout.starts_with("seedhouse "), "{}", version.stdout);
}

#[test]
fn verification_errors_are_json_when_json_was_asked_for() {
    let (seedhouse, record) = with_tiny_model();
    let hash = record["hash"].as_str().unwrap();
    std::fs::remove_file(seedhouse.root().join("blobs/sha256").join(&hash[..2]).join(hash)).unwrap();
    let run = seedhouse.run(&["verify", "--json"]);
    assert_eq!(run.code, 11);
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap_or_else(|_| panic!("{}", run.stderr));
    assert_eq!(error["code"], "corrupt");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&run.stdout).unwrap()["intact"], false);
}

#[test]
fn demo_on_a_public_address_is_refused_before_anything_is_registered() {
    let seedhouse = Seedhouse::new();
    let run = seedhouse.run(&["demo", "--models", "/nonexistent", "--listen", "0.0.0.0:0"]);
    run.assert_failed(2, &["0.0.0.0:0", "loopback"]);
    assert_eq!(run.stdout, "", "nothing was begun");
}

#[test]
fn address_that_is_taken_is_told_before_anything_is_registered() {
    let seedhouse = Seedhouse::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = seedhouse.run(&["demo", "--models", "/nonexistent", "--listen", &address]);
    run.assert_failed(15, &[&address]);
    assert_eq!(run.stdout, "");
}

#[test]
fn demo_prints_the_address_that_port_0_became_and_json_for_machines() {
    let Some(models) = RealModels::find() else { return };
    let seedhouse = Seedhouse::new();
    let folder = models.path("");
    let mut command = seedhouse.command();
    command.args(["demo", "--models", &folder, "--listen", "127.0.0.1:0"]);
    let mut demo = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let usage = lines.find(|line| line.starts_with("curl ")).unwrap();
    let listens = lines.find(|line| line.contains(" listens on ")).unwrap();
    let url = listens.rsplit(' ').next().unwrap();
    assert!(usage.contains(url) && !url.ends_with(":0"), "{usage} {listens}");
    demo.kill().unwrap();
    demo.wait().unwrap();

    let transcript = &seedhouse.json(&["demo", "--models", &folder, "--once"])["real_models"];
    assert_eq!(transcript["registered"].as_array().unwrap().len(), 2);
    assert!(transcript["verified"].as_array().unwrap().iter().all(|file| file["finding"] == "intact"));
    assert!(transcript["generated"][0]["text"].as_str().unwrap().starts_with(" Paris"));
    assert_eq!(transcript["classified"].as_array().unwrap().len(), 3);
}

#[test]
fn demo_shows_every_family_and_the_receipts_of_its_models_without_a_file_beside_it() {
    let seedhouse = Seedhouse::new();
    let images = seedhouse.file("clothes.png", b"");
    let transcript = seedhouse.json(&["demo", "--once", "--images", &images]);
    let models = transcript["models"].as_array().unwrap();
    let types: std::collections::BTreeSet<&str> = models.iter().map(|model| model["type"].as_str().unwrap()).collect();
    let families = ["classification", "diffusion", "optimization", "regression", "transformer", "vision"];
    assert_eq!(types, families.into_iter().collect());
    for model in models.iter().filter(|model| model["type"] != "optimization") {
        let receipts = model["receipts"].as_array().unwrap();
        assert!(!receipts.is_empty(), "{model}");
        for receipt in receipts {
            assert_eq!(receipt["digest"], model["digest"], "a receipt is about these very bytes");
            assert!(receipt["dataset"]["digest"].is_string() && receipt["command"].is_string(), "{receipt}");
        }
    }
    for family in families {
        assert!(!transcript["families"][family].is_null(), "{family}");
    }
    assert!(std::fs::read(&images).unwrap().starts_with(b"\x89PNG"));
    let shown = seedhouse.run(&["demo", "--once"]);
    assert!(shown.stdout.contains("$ seedhouse evaluate clothes_cnn_v1 --data fashion_data_v1"), "{}", shown.stdout);
}

#[test]
fn server_says_where_it_listens_as_json() {
    let seedhouse = Seedhouse::new();
    let mut command = seedhouse.command();
    let mut server =
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(said["listens"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{line}");
}

#[test]
fn show_prints_hash_path_and_what_it_does_not_know() {
    let (seedhouse, record) = with_tiny_model();
    let shown = seedhouse.run(&["show", "小麦"]).stdout;
    for field in ["hash", "file_path", "size_bytes"] {
        let value = record[field].as_str().map_or_else(|| record[field].to_string(), str::to_owned);
        let line = shown.lines().find(|line| line.trim_start().starts_with(field)).unwrap_or_else(|| panic!("{shown}"));
        assert!(line.contains(&value), "{line}");
    }
}

#[test]
fn mistyped_root_is_an_error_not_an_empty_registry() {
    let seedhouse = Seedhouse::new();
    seedhouse.run(&["list"]).assert_failed(3, &["registry", "not found", "hint: "]);
    assert!(!seedhouse.root().exists());
}
