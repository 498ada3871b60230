//! Scrubbing: a damaged byte is found, marked, not served, repaired from a copy, and served again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seedhouse_core::Digest;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::{Value, json};

use crate::support::{Seedhouse, Server};

fn blob(seedhouse: &Seedhouse, bytes: &[u8]) -> PathBuf {
    let hex = Digest::of(bytes).hex();
    seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// Changes one bit in place, under every name of the file, as a failing disk would.
fn flip_one_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, &bytes).unwrap();
}

fn generate(server: &Server, model: &str) -> crate::support::Answer {
    let body = json!({"model_id": model, "prompt": "hello", "max_length": 2});
    server.post_json("/api/inference/text/generation", &body)
}

fn scrub(server: &Server, body: &Value) -> Value {
    let id = server.post_json("/api/scrub", body).json()["id"].as_u64().unwrap();
    let begun = Instant::now();
    loop {
        let job = server.get(&format!("/api/jobs/{id}")).json();
        if !["queued", "running"].contains(&job["state"].as_str().unwrap()) {
            assert_eq!(job["state"], "succeeded", "{job}");
            return job["result"].clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a registry with two versions of a model that answers, and a copy of it.
fn two_versions_and_a_copy() -> (Seedhouse, Seedhouse, [Vec<u8>; 2]) {
    let files = [tiny_llama_gguf(1), tiny_llama_gguf(2)];
    let [registry, copy] = [Seedhouse::new(), Seedhouse::new()];
    for seedhouse in [&registry, &copy] {
        for file in &files {
            seedhouse.register("tiny", &seedhouse.file("tiny.gguf", file));
        }
    }
    (registry, copy, files)
}

#[test]
fn damaged_version_is_marked_not_served_repaired_and_served_again() {
    let (seedhouse, copy, [_, newest]) = two_versions_and_a_copy();
    let server = seedhouse.serve();
    let whole = generate(&server, "tiny");
    assert_eq!(whole.json()["metadata"]["model_id"], "tiny_v2", "{}", whole.text);
    flip_one_bit(&blob(&seedhouse, &newest));

    let result = scrub(&server, &json!({"bytes_per_second": 0}));
    assert_eq!((&result["damaged"], &result["repaired"]), (&json!(1), &json!(0)));
    assert_eq!(result["findings"][0]["versions"], json!(["tiny_v2"]));
    // It was loaded before it was damaged, and is refused all the same.
    let expected = Digest::of(&newest).to_string();
    generate(&server, "tiny_v2").assert_problem(500, &["tiny_v2", "corrupt", &expected]);
    assert_eq!(generate(&server, "tiny").json()["metadata"]["model_id"], "tiny_v1", "the newest one that is whole");
    let shown = server.get("/api/models/tiny_v2").json();
    assert_eq!(shown["integrity"]["state"], "corrupt");
    assert_eq!(shown["integrity"]["files"][0]["finding"], "corrupt");
    assert_eq!(server.get("/api/models/tiny/versions").json()["versions"][0]["integrity"]["state"], "corrupt");
    assert_eq!(server.get("/api/model-manager/statistics").json()["corrupt_models"], 1);
    assert_eq!(server.get("/api/models?filter=integrity.state%3Dcorrupt").json().as_array().unwrap().len(), 1);
    assert!(seedhouse.run(&["show", "tiny_v2"]).stdout.contains("CORRUPT since"));
    assert!(seedhouse.run(&["list"]).stdout.contains("ready (CORRUPT)"));

    let result = scrub(&server, &json!({"bytes_per_second": 0, "repair_from": copy.root()}));
    assert_eq!((&result["damaged"], &result["repaired"]), (&json!(1), &json!(1)));
    let again = generate(&server, "tiny");
    assert_eq!(again.json()["metadata"]["model_id"], "tiny_v2");
    assert_eq!(again.json()["predictions"], whole.json()["predictions"]);
    assert_eq!(server.get("/api/model-manager/statistics").json()["corrupt_models"], 0);
    let events = server.get("/api/models/tiny_v2/history").json()["events"].clone();
    let actions: Vec<&str> = events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["register", "found_corrupt", "found_whole"]);
    assert_eq!(fs::read(seedhouse.root().join("tiny_v2.gguf")).unwrap(), newest, "its name leads to whole bytes");
    assert_eq!(seedhouse.run(&["verify"]).code, 0);
    assert_eq!(seedhouse.run(&["audit", "verify"]).code, 0);
}

#[test]
fn scrub_in_the_foreground_tells_what_is_damaged_by_its_exit_code() {
    let (seedhouse, copy, [first, newest]) = two_versions_and_a_copy();
    let run = seedhouse.run(&["scrub", "--rate", "0"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("2 artifacts") && run.stdout.contains("0 damaged"), "{}", run.stdout);
    flip_one_bit(&blob(&seedhouse, &newest));
    fs::remove_file(blob(&seedhouse, &first)).unwrap();
    let run = seedhouse.run(&["scrub", "--rate", "0"]);
    assert_eq!(run.code, 11, "{}", run.stderr);
    for part in ["CORRUPT", "MISSING", "tiny_v1", "tiny_v2", "NOT REPAIRED", &Digest::of(&newest).to_string()] {
        assert!(run.stdout.contains(part), "`{part}` is missing in {}", run.stdout);
    }
    let metadata = fs::read_to_string(seedhouse.root().join("metadata.json")).unwrap();
    assert!(metadata.contains("\"integrity\""), "metadata.json says so, too");

    let copy_root = copy.root();
    let copy_root = copy_root.to_str().unwrap();
    let report = seedhouse.json(&["scrub", "--rate", "0", "--repair-from", copy_root]);
    assert_eq!((&report["damaged"], &report["repaired"]), (&json!(2), &json!(2)), "{report}");
    assert_eq!(report["restored"].as_array().unwrap().len(), 2);
    assert_eq!(seedhouse.run(&["verify"]).code, 0);
    assert_eq!(seedhouse.run(&["generate", "tiny", "hello", "--max-tokens", "1"]).code, 0);
    seedhouse.run(&["scrub", "--repair-from", "/nonexistent"]).assert_failed(3, &["/nonexistent"]);
}

#[test]
fn repair_by_another_process_reaches_a_server_that_holds_the_damaged_bytes() {
    let (seedhouse, copy, [_, newest]) = two_versions_and_a_copy();
    let server = seedhouse.serve();
    let whole = generate(&server, "tiny_v2").json();
    flip_one_bit(&blob(&seedhouse, &newest));
    let copy_root = copy.root();
    let report = seedhouse.json(&["scrub", "--rate", "0", "--repair-from", copy_root.to_str().unwrap()]);
    assert_eq!(report["repaired"], 1);
    let loads = |server: &Server| server.get("/api/slots").json()["loads"].clone();
    assert_eq!(loads(&server), 1);
    assert_eq!(generate(&server, "tiny_v2").json()["predictions"], whole["predictions"]);
    assert_eq!(loads(&server), 2, "the version was loaded anew from the whole bytes");
    let statistics = server.get("/api/model-manager/statistics").json();
    assert_eq!(statistics["loaded_models"], 1, "the damaged bytes are not kept");
}

#[test]
fn damaged_byte_is_repaired_from_a_bundle_a_backup_or_an_image_layout() {
    let (seedhouse, _, [first, newest]) = two_versions_and_a_copy();
    let path = |name: &str| seedhouse.root().parent().unwrap().join(name).to_str().unwrap().to_owned();
    let [plain, compressed, layout, backup] = ["plain.tar", "small.tar.zst", "layout.tar", "all.tar"].map(path);
    seedhouse.json(&["export", "tiny/1", "tiny/2", "-o", &plain]);
    seedhouse.json(&["export", "tiny/1", "tiny/2", "--zstd", "-o", &compressed]);
    seedhouse.json(&["export", "tiny/2", "--format", "oci", "-o", &layout]);
    seedhouse.json(&["backup", "-o", &backup]);
    for archive in [&plain, &compressed, &layout, &backup] {
        flip_one_bit(&blob(&seedhouse, &newest));
        let report = seedhouse.json(&["scrub", "--rate", "0", "--repair-from", archive]);
        assert_eq!((&report["damaged"], &report["repaired"]), (&json!(1), &json!(1)), "{archive}: {report}");
        assert_eq!(seedhouse.run(&["verify"]).code, 0, "{archive}");
    }
    flip_one_bit(&blob(&seedhouse, &first));
    let run = seedhouse.run(&["scrub", "--rate", "0", "--repair-from", &layout]);
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert!(run.stdout.contains("there is no copy"), "the layout holds another version: {}", run.stdout);
    let server = seedhouse.serve();
    let result = scrub(&server, &json!({"bytes_per_second": 0, "repair_from": plain}));
    assert_eq!((&result["damaged"], &result["repaired"]), (&json!(1), &json!(1)), "{result}");
}

#[test]
fn archive_that_is_damaged_itself_repairs_nothing_and_is_named() {
    let (seedhouse, _, [_, newest]) = two_versions_and_a_copy();
    let path = |name: &str| seedhouse.root().parent().unwrap().join(name).to_str().unwrap().to_owned();
    let [plain, compressed] = ["plain.tar", "small.tar.zst"].map(path);
    seedhouse.json(&["export", "tiny/2", "-o", &plain]);
    seedhouse.json(&["export", "tiny/2", "--zstd", "-o", &compressed]);
    flip_one_bit(&blob(&seedhouse, &newest));
    let [whole, small] = [&plain, &compressed].map(|path| fs::read(path).unwrap());
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let file = seedhouse.file("flipped.tar", &flipped);
    let run = seedhouse.run(&["scrub", "--rate", "0", "--repair-from", &file]);
    assert!(run.code == 11 && run.stdout.contains("the copy is damaged, too"), "{run:?}");
    for (name, bytes, expected) in [
        ("cut.tar", whole[..whole.len() / 2].to_vec(), "before `blobs/sha256/"),
        ("cut.tar.zst", small[..small.len() / 2].to_vec(), "archive to repair from"),
        ("empty", Vec::new(), "archive to repair from"),
        ("words", b"no archive at all".repeat(100), "not a tar archive"),
        ("nothing.tar", vec![0; 10240], "with blobs in it"),
    ] {
        let file = seedhouse.file(name, &bytes);
        seedhouse.run(&["scrub", "--rate", "0", "--repair-from", &file]).assert_failed(2, &[expected]);
    }
    let server = seedhouse.serve();
    let words = json!({"repair_from": path("words")});
    server.post_json("/api/scrub", &words).assert_problem(400, &["not a tar archive"]);
}
