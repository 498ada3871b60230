//! One flipped bit is found, named, and never served.

use std::path::PathBuf;

use seedhouse_core::Digest;
use seedhouse_testkit::tiny_gguf::tiny_llama_gguf;
use serde_json::json;

use crate::support::Seedhouse;

fn blob(seedhouse: &Seedhouse, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    seedhouse.root().join("blobs/sha256").join(&hex[..2]).join(hex)
}

/// Changes a stored blob in place, as a failing disk would.
fn flip_one_bit(path: &PathBuf) -> Digest {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // Blobs are read-only.
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, &bytes).unwrap();
    Digest::of(&bytes)
}

#[test]
fn flipped_bit_is_named_by_verify_and_the_version_is_not_loaded() {
    let seedhouse = Seedhouse::new();
    let bytes = tiny_llama_gguf(1);
    let path = seedhouse.file("tiny.gguf", &bytes);
    seedhouse.register("tiny", &path);
    seedhouse.register("healthy", &seedhouse.file("other.gguf", &tiny_llama_gguf(2)));
    let expected = Digest::of(&bytes);
    let actual = flip_one_bit(&blob(&seedhouse, &expected));

    let named = ["tiny.gguf", "tiny_v1", &expected.to_string(), &actual.to_string()];
    seedhouse.run(&["verify"]).assert_failed(11, &named);
    seedhouse.run(&["verify", "tiny"]).assert_failed(11, &named);
    assert_eq!(seedhouse.run(&["verify", "healthy"]).code, 0);
    seedhouse.run(&["generate", "tiny", "hello"]).assert_failed(11, &named);

    let server = seedhouse.serve();
    let ask = |model_id: &str| {
        server.post_json(
            "/api/inference/text/generation",
            &json!({"model_id": model_id, "prompt": "hello", "max_length": 2}),
        )
    };
    ask("tiny").assert_problem(500, &named);
    ask("tiny").assert_problem(500, &named);
    assert_eq!(ask("healthy").status, 200, "the server still serves what is intact");
}

#[test]
fn missing_blob_is_named() {
    let seedhouse = Seedhouse::new();
    let bytes = tiny_llama_gguf(1);
    seedhouse.register("tiny", &seedhouse.file("tiny.gguf", &bytes));
    std::fs::remove_file(blob(&seedhouse, &Digest::of(&bytes))).unwrap();
    let named = ["tiny.gguf", "missing", &Digest::of(&bytes).to_string()];
    seedhouse.run(&["verify"]).assert_failed(11, &named);
    seedhouse.run(&["generate", "tiny", "hello"]).assert_failed(11, &named);
}
