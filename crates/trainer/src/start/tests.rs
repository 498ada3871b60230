//! What a version to begin with says, and what of it is refused.

use std::path::Path;

use seedhouse_core::Digest;
use serde_json::json;

use super::*;
use crate::safetensors::{self, TensorRef};

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn files(folder: &Path) -> LocalFiles {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let file = |name: &String| LocalFile {
        path: name.parse().unwrap(),
        local: folder.join(name),
        digest: Digest::of(std::fs::read(folder.join(name)).unwrap()),
    };
    LocalFiles(names.iter().map(file).collect())
}

/// Returns what a configuration says beside the user.
fn said(config: &Value, metadata: &Value) -> Result<Map<String, Value>> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", config.to_string().as_bytes());
    with_defaults(metadata.as_object().unwrap(), &files(folder.path()))
}

fn with(mut config: Value, name: &str, value: Value) -> Value {
    config[name] = value;
    config
}

fn llama() -> Value {
    json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64, "vocab_size": 300})
}

fn gpt2() -> Value {
    json!({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4,
        "n_positions": 64, "vocab_size": 300})
}

fn post_norm() -> Value {
    json!({"architectures": ["PostNormDecoder"], "model_type": "post_norm_decoder", "d_model": 16, "num_heads": 4,
        "num_layers": 2, "d_ff": 32, "max_seq_len": 64, "vocab_size": 300})
}

#[test]
fn missing_fields_meant_something_else_than_to_the_runtime() {
    let sizes = json!({"d_model": 16, "num_heads": 4, "num_layers": 2, "max_seq_len": 64, "vocab_size": 300});
    let cases = [
        (
            llama(),
            json!({"architecture": "llama", "d_ff": 32, "num_key_value_heads": 4, "rms_norm_eps": 1e-6,
                "tie_word_embeddings": false, "rope_theta": 10_000.0}),
        ),
        (gpt2(), json!({"architecture": "gpt2", "d_ff": 64, "tie_word_embeddings": true})),
        (post_norm(), json!({"architecture": "post_norm_decoder", "d_ff": 32, "tie_word_embeddings": false})),
    ];
    for (config, expected) in cases {
        let found = said(&config, &json!({})).unwrap();
        let mut all = sizes.as_object().unwrap().clone();
        all.extend(expected.as_object().unwrap().clone());
        assert_eq!(Value::Object(found), Value::Object(all));
    }
}

#[test]
fn fields_are_read_under_their_old_and_new_names() {
    let rotary =
        |name: &str, value: Value| said(&with(llama(), name, value), &json!({})).unwrap()["rope_theta"].clone();
    assert_eq!(rotary("rope_theta", json!(5e5)), 5e5);
    assert_eq!(rotary("rope_parameters", json!({"rope_type": "default", "rope_theta": 5e5})), 5e5);
    assert_eq!(rotary("rope_scaling", json!({"type": "default"})), 1e4);
    let inner = said(&with(gpt2(), "n_inner", json!(48)), &json!({})).unwrap()["d_ff"].clone();
    assert_eq!(inner, 48);
    for harmless in ["torch_dtype", "_name_or_path", "transformers_version", "eos_token_id"] {
        said(&with(llama(), harmless, json!("any")), &json!({})).unwrap();
    }
}

#[test]
fn arithmetic_that_is_not_trained_was_ignored() {
    let cases = [
        (
            with(llama(), "rope_scaling", json!({"rope_type": "linear", "factor": 2})),
            vec!["`rope_type`", "linear", "default"],
        ),
        (
            with(llama(), "rope_parameters", json!({"rope_type": "yarn", "factor": 4.0})),
            vec!["`rope_parameters`", "yarn", "default"],
        ),
        (
            with(llama(), "rope_parameters", json!({"partial_rotary_factor": 0.5})),
            vec!["partial_rotary_factor", "0.5", "1.0"],
        ),
        (with(llama(), "rope_scaling", json!({"factor": 2})), vec!["`factor`", "2", "not known"]),
        (with(llama(), "rope_scaling", json!("linear")), vec!["`rope_scaling`", "linear", "an object"]),
        (with(llama(), "hidden_act", json!("gelu")), vec!["`hidden_act`", "gelu", "silu"]),
        (with(llama(), "head_dim", json!(8)), vec!["`head_dim`", "8", "4 is trained"]),
        (with(llama(), "attention_bias", json!(true)), vec!["`attention_bias`", "true", "false"]),
        (with(llama(), "mlp_bias", json!(true)), vec!["`mlp_bias`", "true", "false"]),
        (with(llama(), "layer_types", json!(["sliding_attention"])), vec!["layer_types", "sliding_attention", "full"]),
        (with(llama(), "sliding_window", json!(32)), vec!["`sliding_window`", "32", "not known"]),
        (with(gpt2(), "activation_function", json!("relu")), vec!["`activation_function`", "relu", "gelu_new"]),
        (with(gpt2(), "layer_norm_epsilon", json!(1e-6)), vec!["`layer_norm_epsilon`", "1e-6", "0.00001"]),
        (with(gpt2(), "scale_attn_weights", json!(false)), vec!["`scale_attn_weights`", "false", "true"]),
        (with(gpt2(), "scale_attn_by_inverse_layer_idx", json!(true)), vec!["scale_attn_by_inverse_layer_idx", "true"]),
        (with(post_norm(), "layer_norm_eps", json!(1e-12)), vec!["`layer_norm_eps`", "1e-12", "0.00001"]),
        (with(llama(), "architectures", json!(["MistralForCausalLM"])), vec!["MistralForCausalLM", "LlamaForCausalLM"]),
        (with(llama(), "architectures", Value::Null), vec!["null", "LlamaForCausalLM"]),
        (with(llama(), "hidden_size", Value::Null), vec!["`hidden_size` is missing"]),
        (with(llama(), "vocab_size", json!(-1)), vec!["`vocab_size` is -1", "above 0"]),
    ];
    for (config, expected) in cases {
        let error = said(&config, &json!({})).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "`{error}` should have {expected:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = with_defaults(&Map::new(), &files(folder.path())).unwrap_err().to_string();
    assert!(error.contains("`config.json` is `missing`"), "{error}");
}

#[test]
fn one_and_one_point_zero_were_two_numbers() {
    let metadata = json!({"rope_theta": 10_000, "d_model": 16.0});
    assert!(said(&llama(), &metadata).is_ok());
    let error = said(&llama(), &json!({"rope_theta": 20_000})).unwrap_err().to_string();
    assert!(error.contains("metadata.rope_theta") && error.contains("20000") && error.contains("10000"), "{error}");
    assert!(said(&post_norm(), &json!({"architecture": "original"})).is_ok());
    assert!(said(&gpt2(), &json!({"architecture": "original"})).is_err());
}

fn write_tensors(folder: &Path, file: &str, names: &[&str]) {
    let tensors: Vec<TensorRef<'_>> =
        names.iter().map(|name| TensorRef { name: (*name).to_owned(), shape: vec![2], numbers: &[1.0, 2.0] }).collect();
    safetensors::write(&folder.join(file), &[], &tensors).unwrap();
}

#[test]
fn a_tensor_of_two_files_was_the_last_one_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let refused = |expected: &[&str]| {
        let error = Weights::open(&files(path)).unwrap_err().to_string();
        assert!(expected.iter().all(|part| error.contains(part)), "`{error}` should have {expected:?}");
    };
    let index = |places: Value| {
        write(path, "model.safetensors.index.json", json!({"weight_map": places}).to_string().as_bytes());
    };
    refused(&["`start`", "must have a safetensors file"]);
    write_tensors(path, "one.safetensors", &["a", "b"]);
    assert_eq!(Weights::open(&files(path)).unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    write_tensors(path, "two.safetensors", &["b", "c"]);
    refused(&["one.safetensors, two.safetensors", "model.safetensors.index.json"]);
    index(json!({"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}));
    refused(&["`one.safetensors` and `two.safetensors`", "`b` stands in both"]);
    write_tensors(path, "two.safetensors", &["c"]);
    let mut weights = Weights::open(&files(path)).unwrap();
    assert_eq!((weights.shape("c"), weights.shape("d")), (Some(&[2][..]), None));
    assert_eq!((weights.numbers("c").unwrap(), weights.numbers("d").unwrap()), (Some(vec![1.0, 2.0]), None));
    index(json!({"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}));
    refused(&["`b` should stand in `two.safetensors`, and stands in `one.safetensors`"]);
    index(json!({"a": "one.safetensors", "c": "two.safetensors"}));
    refused(&["`b` should stand in `no file`"]);
    index(json!({"a": "three.safetensors"}));
    refused(&["`three.safetensors`", "does not have"]);
    index(json!({"a": 3}));
    refused(&["`a` is 3", "the name of a file"]);
    // As in the runtime, a file with all weights goes first.
    write_tensors(path, "model.safetensors", &["d"]);
    assert_eq!(Weights::open(&files(path)).unwrap().names().collect::<Vec<_>>(), ["d"]);
}
