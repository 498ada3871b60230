//! What is refused, and how it is named.

use seedhouse_core::{Code, Error};
use seedhouse_testkit::tiny_gguf::GgufBuilder;
use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, safetensors};
use serde_json::{Value, json};

use super::tiny::{Folder, WIDTH, add, gguf_of, gpt2_folder, llama_folder, read_folder, read_gguf};

type Change<T> = fn(&mut T);

fn refusal(architecture: &str, change: Change<GgufBuilder>) -> Error {
    let mut builder = gguf_of(architecture);
    change(&mut builder);
    read_gguf(&builder).expect_err("refused")
}

#[test]
fn gguf_whose_parts_do_not_fit_is_refused_with_both_values() {
    let cases: [(&str, Change<GgufBuilder>, &str); 17] = [
        (
            "llama",
            |b| {
                b.number("llama.block_count", 3);
            },
            "`blk.2.attn_norm.weight` of shape [8] is missing",
        ),
        (
            "llama",
            |b| {
                b.number("llama.block_count", u32::MAX);
            },
            "`blk.2.attn_norm.weight`",
        ),
        (
            "llama",
            |b| {
                b.number("llama.block_count", 0);
            },
            "`llama.block_count` is 0, but must be between",
        ),
        (
            "llama",
            |b| {
                b.number("llama.feed_forward_length", 11);
            },
            "tensor `blk.0.ffn_gate.weight` has the shape [8, 10], but the metadata asks for [8, 11]",
        ),
        (
            "llama",
            |b| {
                b.number("llama.attention.head_count", 3);
            },
            "but the metadata asks for [8, 18]",
        ),
        (
            "llama",
            |b| {
                b.number("llama.attention.head_count_kv", 4);
            },
            "is 2, but must be a multiple of `llama.attention.head_count_kv`, which is 4",
        ),
        (
            "qwen2",
            |b| {
                b.number("qwen2.rope.dimension_count", 7);
            },
            "is 7, but must be even and at most",
        ),
        (
            "qwen2",
            |b| {
                b.number("qwen2.rope.dimension_count", 1 << 31);
            },
            "must be even and at most",
        ),
        (
            "qwen3",
            |b| {
                b.number("qwen3.context_length", 1 << 25);
            },
            "must be at most 16777216",
        ),
        (
            "qwen3",
            |b| {
                b.float("qwen3.rope.freq_base", f32::NAN);
            },
            "`qwen3.rope.freq_base` is NaN",
        ),
        (
            "qwen3",
            |b| {
                b.float("qwen3.rope.scaling.factor", -2.0);
            },
            "must be finite and at least 0",
        ),
        (
            "qwen3",
            |b| {
                b.remove("qwen3.attention.layer_norm_rms_epsilon");
            },
            "is missing",
        ),
        (
            "qwen3",
            |b| {
                b.float("qwen3.attention.layer_norm_rms_epsilon", 0.0);
            },
            "must be between 0 and 1",
        ),
        (
            "qwen3",
            |b| b.tensors.retain(|tensor| tensor.name != "blk.1.attn_k_norm.weight"),
            "tensor `blk.1.attn_k_norm.weight` of shape [6] is missing",
        ),
        (
            "gpt2",
            |b| {
                b.number("gpt2.context_length", 17);
            },
            "tensor `position_embd.weight` has the shape [8, 16], but the metadata asks for [8, 17]",
        ),
        (
            "gpt2",
            |b| {
                b.texts("tokenizer.ggml.tokens", &["a"]);
            },
            "the vocabulary has 1 tokens, but `token_embd.weight` has the shape [8, 12]",
        ),
        (
            "gpt2",
            |b| {
                b.number("gpt2.vocab_size", 13);
            },
            "is 13, but the vocabulary has 12 tokens",
        ),
    ];
    for (architecture, change, expected) in cases {
        let error = refusal(architecture, change);
        assert_eq!(error.code(), Code::Invalid, "{error}");
        assert!(error.to_string().starts_with("m.gguf is malformed: "), "{error}");
        assert!(error.to_string().contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn gguf_that_is_correct_but_not_computed_is_named() {
    let cases: [(&str, Change<GgufBuilder>, &str); 11] = [
        ("mamba", |_| {}, "architecture `mamba`"),
        (
            "llama",
            |b| {
                b.float("llama.logit_scale", 0.5);
            },
            "metadata `llama.logit_scale` with 0.5",
        ),
        (
            "llama",
            |b| {
                b.number("llama.expert_count", 8);
            },
            "`llama.expert_count` with 8",
        ),
        (
            "llama",
            |b| {
                b.text("llama.rope.scaling.type", "longrope");
            },
            "with the text \"longrope\"",
        ),
        (
            "llama",
            |b| {
                b.number("llama.attention.value_length", 4);
            },
            "values are computed as long as keys",
        ),
        (
            "llama",
            |b| {
                b.numbers("llama.feed_forward_length", &[1, 2]);
            },
            "with an array of 2 values",
        ),
        ("llama", |b| add(b, "blk.0.attn_q_norm.weight", &[6]), "tensor `blk.0.attn_q_norm.weight` of shape [6]"),
        ("qwen2", |b| add(b, "blk.2.attn_q.weight", &[12, 8]), "a qwen2 model of 2 layers has no place for it"),
        ("qwen2", |b| add(b, "position_embd.weight", &[16, 8]), "`position_embd.weight` of shape [8, 16]"),
        (
            "llama",
            |b| {
                let tensor = b.tensor_mut("output_norm.weight");
                (tensor.type_id, tensor.data) = (28, vec![0; 8 * WIDTH]);
            },
            "type F64 of tensor `output_norm.weight`",
        ),
        (
            "llama",
            |b| {
                let tensor = b.tensor_mut("blk.0.ffn_up.weight");
                (tensor.type_id, tensor.data) = (24, vec![0; 10 * WIDTH]);
            },
            "type I8 of tensor `blk.0.ffn_up.weight` is not supported: this runtime computes with F32, F16, BF16, Q8_0, \
             Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K",
        ),
    ];
    for (architecture, change, expected) in cases {
        let error = refusal(architecture, change);
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        assert!(error.to_string().contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn configuration_that_contradicts_itself_or_the_tensors_is_refused_with_both_values() {
    let llama = || llama_folder("LlamaForCausalLM");
    let cases: [(Folder, &str); 16] = [
        (llama().with("hidden_size", json!("wide")), "`hidden_size` is the text `wide`, but must be a whole number"),
        (llama().with("hidden_size", json!(0)), "`hidden_size` is 0"),
        (llama().with("hidden_size", json!(1_u64 << 40)), "`hidden_size` is 1099511627776"),
        (llama().with("hidden_size", Value::Null), "`hidden_size` is missing"),
        (
            llama().with("vocab_size", json!(11)),
            "tensor `model.embed_tokens.weight` has the shape [12, 8], but `config.json` asks for [11, 8]",
        ),
        (llama().with("head_dim", json!(4)), "has the shape [12, 8], but `config.json` asks for [8, 8]"),
        (
            llama().with("head_dim", Value::Null).with("num_attention_heads", json!(3)),
            "`hidden_size` is 8, but must be a",
        ),
        (llama().with("head_dim", json!(7)), "the number of its rotated dimensions is 7, but must be even"),
        (llama().with("num_hidden_layers", json!(3)), "tensor `model.layers.2.input_layernorm.weight` of shape [8] is"),
        (llama().with("num_key_value_heads", json!(3)), "its number of heads is 2, but must be a multiple of its 3"),
        (llama().with("rms_norm_eps", json!(1.5)), "its norm's epsilon is 1.5, but must be between 0 and 1"),
        (llama().with("rope_theta", json!(0.5)), "`rope_theta` is 0.5, but must be finite and at least 1"),
        (llama().with("max_position_embeddings", json!(1 << 25)), "its context length is 33554432"),
        (llama().with("rope_scaling", json!({"rope_type": "linear"})), "`factor` of its rotary positions is missing"),
        (
            llama().with("attention_bias", json!(true)),
            "`model.layers.0.self_attn.q_proj.bias` of shape [12] is missing",
        ),
        (gpt2_folder("").with("n_positions", json!(8)), "tensor `wpe.weight` has the shape [16, 8], but `config.json`"),
    ];
    for (folder, expected) in cases {
        let error = folder.read().expect_err(expected);
        assert_eq!(error.code(), Code::Invalid, "{error}");
        assert!(error.to_string().contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn folder_that_is_correct_but_not_computed_is_named() {
    let llama = || llama_folder("LlamaForCausalLM");
    let with_tensor = |name: &str| {
        let mut folder = llama();
        folder.add(name, &[WIDTH]);
        folder
    };
    let cases: [(Folder, &str); 13] = [
        (llama().with("architectures", json!(["MambaForCausalLM"])), "class `MambaForCausalLM`"),
        (llama().with("architectures", json!([])), "a configuration without a class"),
        (llama().with("logit_scale", json!(0.5)), "field `logit_scale` of `config.json` with 0.5"),
        (llama().with("quantization_config", json!({"bits": 4})), "field `quantization_config`"),
        (llama().with("rope_interleaved", json!(true)), "field `rope_interleaved` of `config.json` with true"),
        (llama().with("hidden_act", json!("relu")), "`hidden_act` with the text `relu`"),
        (llama().with("partial_rotary_factor", json!(0.5)), "`partial_rotary_factor` 0.5"),
        (llama().with("rope_scaling", json!({"type": "dynamic", "factor": 2.0})), "`rope_type` the text `dynamic`"),
        (
            llama().with("rope_scaling", json!({"type": "linear", "factor": 2.0, "beta": 1})),
            "parameter `beta` of rotary positions with 1",
        ),
        (with_tensor("model.layers.0.self_attn.q_proj.bias"), "`model.layers.0.self_attn.q_proj.bias` of shape [8]"),
        (with_tensor("model.extra.weight"), "a llama model of 2 layers has no place for it"),
        (gpt2_folder("").with("scale_attn_by_inverse_layer_idx", json!(true)), "`scale_attn_by_inverse_layer_idx`"),
        (gpt2_folder("").with("add_cross_attention", json!(true)), "`add_cross_attention`"),
    ];
    for (folder, expected) in cases {
        let error = folder.read().expect_err(expected);
        assert_eq!(error.code(), Code::Unsupported, "{error}");
        assert!(error.to_string().contains(expected), "{expected:?}: {error}");
    }
}

#[test]
fn fields_that_change_nothing_and_buffers_of_old_files_are_passed_over() {
    let mut folder = llama_folder("LlamaForCausalLM")
        .with("pretraining_tp", json!(1))
        .with("_name_or_path", json!("x"))
        .with("rope_interleaved", json!(false))
        .with("rope_scaling", Value::Null)
        .with("unheard_of", Value::Null);
    folder.add("model.layers.0.self_attn.rotary_emb.inv_freq", &[3]);
    folder.read().unwrap();
}

#[test]
fn wrong_types_of_folders_are_named() {
    let folder = llama_folder("LlamaForCausalLM");
    let mut entries = folder.entries();
    entries[1] = SafetensorsEntry { dtype: "F64".into(), data: vec![0; 64], ..entries[1].clone() };
    let error = read_folder(&folder.config, &[&safetensors(&entries)]).unwrap_err();
    let expected = "type F64 of tensor `model.norm.weight` is not supported: this runtime computes with F32, F16, BF16";
    assert_eq!((error.code(), error.to_string().as_str()), (Code::Unsupported, expected));
}
