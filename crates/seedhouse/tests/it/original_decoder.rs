//! The original system's decoder as a torch checkpoint, with the hyper-parameters of its record.

use std::path::PathBuf;

use seedhouse_testkit::tiny_torch::legacy_checkpoint;
use serde_json::{Value, json};

use crate::support::Seedhouse;

/// A model of the fixtures of `native`, as a folder of the Hugging Face libraries.
fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../native/fixtures/decoders/original")
}

/// The same weights as torch writes them.
fn checkpoint() -> Vec<u8> {
    let bytes = std::fs::read(fixture().join("model.safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: Value = serde_json::from_slice(header).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let tensors =
        header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").map(|(name, tensor)| {
            assert_eq!(tensor["dtype"], "F32");
            let shape: Vec<usize> = tensor["shape"].as_array().unwrap().iter().map(number).collect();
            let place = &tensor["data_offsets"];
            let bytes = &data[number(&place[0])..number(&place[1])];
            let values: Vec<f32> = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (name, shape, values)
        });
    let tensors: Vec<_> = tensors.collect();
    let views: Vec<(&str, &[usize], &[f32])> =
        tensors.iter().map(|(name, shape, values)| (name.as_str(), &shape[..], &values[..])).collect();
    legacy_checkpoint(&views)
}

/// Writes a folder with the checkpoint, and with the tokenizer where that is wanted; returns its path.
fn folder(seedhouse: &Seedhouse, name: &str, with_tokenizer: bool) -> String {
    let file = seedhouse.file(&format!("{name}/model.pth"), &checkpoint());
    if with_tokenizer {
        for part in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
            seedhouse.file(&format!("{name}/{part}"), &std::fs::read(fixture().join(part)).unwrap());
        }
    }
    file.strip_suffix("/model.pth").unwrap().to_owned()
}

fn record() -> Value {
    json!({"vocab_size": 101, "max_seq_len": 64, "d_model": 32, "num_heads": 4, "num_layers": 2, "d_ff": 48})
}

#[test]
fn checkpoint_with_a_tokenizer_generates_what_the_folder_of_the_same_weights_does() {
    let seedhouse = Seedhouse::new();
    let path = folder(&seedhouse, "checkpoint", true);
    let registered = seedhouse.json(&["register", "original", &path, "--metadata", &record().to_string()]);
    assert_eq!((&registered["status"], &registered["type"]), (&json!("ready"), &json!("transformer")), "{registered}");
    assert_eq!(registered["metadata"], record());
    assert_eq!(registered["inspected"]["architecture"], "post_norm_decoder");
    assert_eq!(registered["claims"], json!(["metadata.num_heads"]), "the shapes prove the rest");
    let expected = seedhouse.register("folder", fixture().to_str().unwrap());
    assert_eq!(expected["status"], "ready", "{expected}");
    for prompt in ["the thing in", "In the beginning"] {
        let text = |model: &str| seedhouse.json(&["generate", model, prompt, "--max-tokens", "12"])["text"].clone();
        assert_eq!(text("original"), text("folder"), "{prompt}");
    }
}

#[test]
fn checkpoint_that_lacks_something_is_registered_and_says_what() {
    let seedhouse = Seedhouse::new();
    let mut headless = record();
    headless.as_object_mut().unwrap().remove("num_heads");
    for (name, with_tokenizer, record, expected) in [
        ("alone", false, record(), "a language model without `tokenizer.json`"),
        ("headless", true, headless, "a `post_norm_decoder` checkpoint without `num_heads`"),
        ("unsaid", true, json!({}), "a `post_norm_decoder` checkpoint without `num_heads`"),
    ] {
        let path = folder(&seedhouse, name, with_tokenizer);
        let registered = seedhouse.json(&["register", name, &path, "--metadata", &record.to_string()]);
        let reason = registered["inspected"]["not_servable_because"].as_str().expect("a reason");
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(registered["status"], "registered");
        assert_eq!(registered["metadata"]["max_seq_len"], 64, "what the shapes say is kept");
        seedhouse.run(&["generate", name, "the"]).assert_failed(6, &[name]);
    }
}

#[test]
fn record_that_contradicts_the_checkpoint_is_refused_with_both_values() {
    let seedhouse = Seedhouse::new();
    let path = folder(&seedhouse, "checkpoint", true);
    for (field, value, code, parts) in [
        ("d_model", 64, 2, ["64", "32"]),
        ("num_layers", 3, 2, ["3", "2"]),
        ("num_heads", 3, 2, ["`metadata.d_model` is `32`", "`num_heads`, which is 3"]),
        ("num_heads", 0, 2, ["`metadata.num_heads` is `0`", "whole number"]),
    ] {
        let mut record = record();
        record[field] = value.into();
        let run = seedhouse.run(&["register", "original", &path, "--metadata", &record.to_string()]);
        run.assert_failed(code, &parts);
    }
    assert_eq!(seedhouse.json(&["list"]), json!([]), "nothing was registered");
}
