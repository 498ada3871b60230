//! Folders as they are, and as nobody should write them.

use seedhouse_core::{Digest, ModelType};
use serde_json::json;
use tempfile::TempDir;

use super::*;

/// Returns a safetensors file of F32 tensors full of zeros.
fn safetensors(tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let mut header = Map::new();
    let mut end = 0;
    for (name, shape) in tensors {
        let bytes = shape.iter().product::<u64>() * 4;
        header.insert((*name).into(), json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]}));
        end += bytes;
    }
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    with_header(&Value::Object(header).to_string(), end as usize)
}

fn with_header(header: &str, data_bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

fn folder(files: &[(&str, Vec<u8>)]) -> (TempDir, LocalFiles) {
    let folder = tempfile::tempdir().unwrap();
    let local = |(path, bytes): &(&str, Vec<u8>)| {
        let local = folder.path().join(path);
        std::fs::write(&local, bytes).unwrap();
        LocalFile { path: path.parse().unwrap(), local, digest: Digest::of(bytes) }
    };
    let files = LocalFiles(files.iter().map(local).collect());
    (folder, files)
}

fn config() -> Vec<u8> {
    json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 10, "hidden_size": 4,
        "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 8, "max_position_embeddings": 16})
    .to_string()
    .into()
}

const TABLE: (&str, &[u64]) = ("model.embed_tokens.weight", &[12, 4]);

#[test]
fn folder_is_described_from_its_configuration_and_headers() {
    let index =
        json!({"weight_map": {"model.embed_tokens.weight": "a.safetensors", "norm": "b.safetensors"}}).to_string();
    let (_folder, files) = folder(&[
        ("a.safetensors", safetensors(&[TABLE])),
        ("b.safetensors", safetensors(&[("norm", &[4])])),
        ("config.json", config()),
        ("model.safetensors.index.json", index.into()),
    ]);
    let found = inspect(&files).unwrap().unwrap();
    assert_eq!((found.framework, found.model_type), (Framework::Huggingface, ModelType::Transformer));
    assert_eq!(found.architecture.as_deref(), Some("llama"));
    assert_eq!((found.tensor_count, found.parameter_count), (2, 52));
    assert_eq!(found.tensor_types, BTreeMap::from([("F32".to_owned(), 2)]));
    assert_eq!(
        Value::Object(found.hyper_parameters),
        json!({"vocab_size": 10, "max_seq_len": 16, "d_model": 4, "num_heads": 2, "num_layers": 3, "d_ff": 8})
    );
}

#[test]
fn other_folders_are_not_taken_for_one() {
    for files in [
        vec![("config.json", config())],
        vec![("model.safetensors", safetensors(&[TABLE]))],
        vec![("config.json", b"{\"width\": 3}".to_vec()), ("model.safetensors", safetensors(&[TABLE]))],
    ] {
        assert_eq!(inspect(&folder(&files).1).unwrap(), None);
    }
}

#[test]
fn contradictions_and_broken_files_are_refused_with_both_values() {
    let tensor =
        |shape: &str, offsets: &str| format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let index = |map: Value| json!({ "weight_map": map }).to_string().into_bytes();
    let good = || safetensors(&[TABLE]);
    type Case = (&'static str, Vec<u8>, Option<Vec<u8>>, &'static str);
    let cases: Vec<Case> = vec![
        ("width", safetensors(&[("wte.weight", &[12, 5])]), None, "d_model is 4, but tensor `wte.weight` has 5"),
        ("rows", safetensors(&[("wte.weight", &[9, 4])]), None, "vocab_size is 10, but tensor `wte.weight` has 9"),
        ("empty", Vec::new(), None, "it has 0 bytes"),
        ("length", u64::MAX.to_le_bytes().to_vec(), None, "18446744073709551615 bytes, and 0 follow"),
        ("no JSON", with_header("{", 0), None, "its header"),
        ("deep", with_header(&"[".repeat(100_000), 0), None, "its header"),
        ("no tensor", with_header(r#"{"t":{"dtype":"F32"}}"#, 0), None, "has no type, shape and place"),
        ("gap", with_header(&tensor("[1]", "[4,8]"), 8), None, "should begin at 0 of 8"),
        (
            "backwards",
            with_header(&tensor("[1]", "[0,18446744073709551615]"), 4),
            None,
            "stands at 0 to 18446744073709551615",
        ),
        ("rest", with_header(&tensor("[1]", "[0,4]"), 5), None, "end at byte 4, but 5 bytes follow"),
        ("size", with_header(&tensor("[2]", "[0,4]"), 4), None, "needs 8 bytes, but has 4"),
        ("overflow", with_header(&tensor("[4294967296,4294967296]", "[0,4]"), 4), None, "overflows"),
        (
            "missing shard",
            good(),
            Some(index(json!({"x": "b.safetensors"}))),
            "`b.safetensors`, which is not among the files",
        ),
        ("missing tensor", good(), Some(index(json!({"x": "model.safetensors"}))), "tensor `x` should stand in"),
        ("no map", good(), Some(b"{}".to_vec()), "no object `weight_map`"),
    ];
    for (name, weights, index, expected) in cases {
        let mut files = vec![("config.json", config()), ("model.safetensors", weights)];
        files.extend(index.map(|index| ("model.safetensors.index.json", index)));
        let error = inspect(&folder(&files).1).expect_err(name);
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
    let broken = folder(&[("config.json", b"{".to_vec()), ("model.safetensors", good())]);
    assert!(inspect(&broken.1).unwrap_err().to_string().contains("`config.json`"));
}
