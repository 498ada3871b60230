//! Folders of every class.

use seedhouse_testkit::tiny_safetensors::safetensors;
use serde_json::{Value, json};

use super::tiny::{
    CONTEXT, FEED_FORWARD, Folder, HEAD_WIDTH, HEADS, LAYERS, VOCAB, WIDTH, assert_columns, assert_rows, gpt2_folder,
    llama_folder, numbers, read_folder,
};
use crate::decoder::{FeedForward, NormKind, NormPlacement, Positions, Role, RotaryStyle, Storage};

#[test]
fn families_of_llama_are_read() {
    let cases = [
        ("LlamaForCausalLM", "llama", false),
        ("MistralForCausalLM", "mistral", false),
        ("Qwen2ForCausalLM", "qwen2", true),
        ("Qwen3ForCausalLM", "qwen3", false),
    ];
    for (class, architecture, has_biases) in cases {
        let model = llama_folder(class).read().unwrap();
        let spec = &model.spec;
        assert_eq!(spec.architecture, architecture);
        assert_eq!((spec.width, spec.layers, spec.query_heads, spec.key_value_heads), (WIDTH, LAYERS, HEADS, 1));
        assert_eq!((spec.head_width, spec.feed_forward_width), (HEAD_WIDTH, FEED_FORWARD));
        assert_eq!((spec.vocab_size, spec.context_length, spec.tied_output), (VOCAB, CONTEXT, false));
        assert_eq!((spec.norm.kind, spec.norm.placement, spec.norm.epsilon), (NormKind::Rms, NormPlacement::Pre, 1e-6));
        assert_eq!((spec.feed_forward, spec.head_norms), (FeedForward::GatedSilu, class == "Qwen3ForCausalLM"));
        let Positions::Rotary(rotary) = &spec.positions else { panic!("positions are learned") };
        assert_eq!((rotary.style, rotary.dimensions, rotary.attention_factor), (RotaryStyle::Halves, HEAD_WIDTH, 1.0));
        let tensors = &model.tensors;
        assert_rows(tensors, (None, Role::Output), "lm_head.weight", 0);
        for (role, name) in [
            (Role::Query, "self_attn.q_proj"),
            (Role::Key, "self_attn.k_proj"),
            (Role::AttentionOutput, "self_attn.o_proj"),
            (Role::Up, "mlp.up_proj"),
            (Role::FeedForwardNorm, "post_attention_layernorm"),
        ] {
            assert_rows(tensors, (Some(1), role), &format!("model.layers.1.{name}.weight"), 0);
        }
        assert_eq!(tensors.of_layer(0, Role::ValueBias).is_some(), has_biases);
        if has_biases {
            assert_rows(tensors, (Some(0), Role::ValueBias), "model.layers.0.self_attn.v_proj.bias", 0);
        }
    }
}

#[test]
fn gpt2_is_read_with_and_without_its_prefix() {
    for prefix in ["", "transformer."] {
        let model = gpt2_folder(prefix).read().unwrap();
        let spec = &model.spec;
        assert_eq!(
            (&spec.positions, spec.feed_forward, spec.tied_output),
            (&Positions::Learned, FeedForward::GeluTanh, true)
        );
        assert_eq!((spec.norm.kind, spec.context_length, spec.head_width), (NormKind::Layer, CONTEXT, WIDTH / HEADS));
        let name = |part: &str| format!("{prefix}h.1.{part}");
        let tensors = &model.tensors;
        for (role, first) in [(Role::Query, 0), (Role::Key, WIDTH), (Role::Value, 2 * WIDTH)] {
            assert_columns(tensors, (1, role), &name("attn.c_attn.weight"), (3 * WIDTH, first));
        }
        let bias = tensors.layer_tensor(1, Role::ValueBias).to_vec();
        assert_eq!(bias, numbers(&name("attn.c_attn.bias"), 3 * WIDTH)[2 * WIDTH..]);
        assert_columns(tensors, (1, Role::Up), &name("mlp.c_fc.weight"), (FEED_FORWARD, 0));
        assert_columns(tensors, (1, Role::Down), &name("mlp.c_proj.weight"), (WIDTH, 0));
        assert_rows(tensors, (None, Role::FinalNormBias), &format!("{prefix}ln_f.bias"), 0);
    }
}

#[test]
fn half_precision_numbers_are_read_as_they_are() {
    for (dtype, storage) in [("F16", Storage::F16), ("BF16", Storage::BF16)] {
        for folder in [llama_folder("LlamaForCausalLM"), gpt2_folder("")] {
            let is_gpt2 = folder.config.contains_key("n_embd");
            let model = Folder { dtype, ..folder }.read().unwrap();
            assert!(model.tensors.all().all(|source| source.storage() == storage));
            match is_gpt2 {
                true => assert_columns(&model.tensors, (0, Role::Key), "h.0.attn.c_attn.weight", (3 * WIDTH, WIDTH)),
                false => assert_rows(&model.tensors, (None, Role::TokenEmbedding), "model.embed_tokens.weight", 0),
            }
        }
    }
}

#[test]
fn tensors_may_stand_in_several_files() {
    let folder = llama_folder("LlamaForCausalLM");
    let entries = folder.entries();
    let (first, second) = entries.split_at(7);
    let files = [safetensors(first), safetensors(second)];
    let model = read_folder(&folder.config, &[&files[0], &files[1]]).unwrap();
    assert_rows(&model.tensors, (Some(1), Role::Down), "model.layers.1.mlp.down_proj.weight", 0);
    let error = read_folder(&folder.config, &[&files[0], &safetensors(&entries)]).unwrap_err().to_string();
    assert!(error.contains("stands here and in file `0.safetensors`"), "{error}");
}

#[test]
fn tied_output_is_the_embedding_and_a_copy_must_be_one() {
    let mut folder = llama_folder("LlamaForCausalLM").with("tie_word_embeddings", json!(true));
    let error = folder.read().unwrap_err().to_string();
    assert!(error.starts_with("tensor `lm_head.weight` beside a tied embedding is not supported"), "{error}");
    let mut entries = folder.entries();
    entries[2].data = entries[0].data.clone();
    let model = read_folder(&folder.config, &[&safetensors(&entries)]).unwrap();
    assert_eq!(model.tensors.output().name(), "model.embed_tokens.weight");
    folder.tensors.retain(|(name, _)| name != "lm_head.weight");
    assert!(folder.read().unwrap().spec.tied_output);
}

#[test]
fn windows_are_those_of_the_library() {
    let window = |class: &str, fields: Value| {
        let mut folder = llama_folder(class);
        folder.config.extend(fields.as_object().unwrap().clone());
        folder.read().map(|model| model.spec.sliding_window)
    };
    let (mistral, qwen) = ("MistralForCausalLM", "Qwen2ForCausalLM");
    let cases = [
        (mistral, json!({"sliding_window": null}), None),
        (mistral, json!({"sliding_window": 5}), Some(5)),
        (mistral, json!({"sliding_window": 4096}), None),
        (mistral, json!({"sliding_window": 5, "layer_types": ["sliding_attention", "sliding_attention"]}), Some(5)),
        (qwen, json!({"sliding_window": 5, "use_sliding_window": false, "max_window_layers": 0}), None),
        (qwen, json!({"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 0}), Some(5)),
        (qwen, json!({"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 2}), None),
        (qwen, json!({"sliding_window": 99, "use_sliding_window": true, "max_window_layers": 1}), None),
    ];
    for (class, fields, expected) in cases {
        assert_eq!(window(class, fields.clone()).unwrap(), expected, "{class} {fields}");
    }
    let mixed = json!({"sliding_window": 5, "use_sliding_window": true, "max_window_layers": 1});
    assert!(window(qwen, mixed).unwrap_err().to_string().contains("same window"));
    let mixed = json!({"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]});
    assert!(window(mistral, mixed).unwrap_err().to_string().contains("`layer_types`"));
}

#[test]
fn scalings_of_positions_are_read_from_both_forms() {
    let rotary = |fields: Value| {
        let mut folder = llama_folder("LlamaForCausalLM");
        folder.config.extend(fields.as_object().unwrap().clone());
        let Positions::Rotary(rotary) = folder.read().unwrap().spec.positions else { panic!("positions are learned") };
        (rotary.frequencies, rotary.attention_factor)
    };
    let (plain, _) = rotary(json!({}));
    let linear: Vec<f64> = plain.iter().map(|speed| speed / 2.0).collect();
    for fields in [
        json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
        json!({"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2}}),
        json!({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}, "rope_theta": null}),
    ] {
        assert_eq!(rotary(fields.clone()), (linear.clone(), 1.0), "{fields}");
    }
    let theta =
        rotary(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}, "rope_theta": null})).0;
    assert!((theta[2] - 500_000_f64.powf(-4.0 / 6.0)).abs() < 1e-15);
    let llama3 = json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}});
    let (llama3, _) = rotary(llama3);
    assert_eq!(llama3[0], plain[0]);
    let yarn = |more: Value| {
        let mut parameters = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        rotary(json!({"rope_scaling": parameters})).1
    };
    let louder = 0.1 * 4_f32.ln() + 1.0;
    assert!((yarn(json!({})) - louder).abs() < 1e-6);
    assert_eq!(yarn(json!({"attention_factor": 0.5})), 0.5);
    assert_eq!(yarn(json!({"mscale": 1.0, "mscale_all_dim": 1.0})), 1.0);
}

#[test]
fn activations_are_read() {
    let cases = [("gelu", FeedForward::GatedGelu), ("gelu_pytorch_tanh", FeedForward::GatedGeluTanh)];
    for (name, expected) in cases {
        let spec = llama_folder("LlamaForCausalLM").with("hidden_act", json!(name)).read().unwrap().spec;
        assert_eq!(spec.feed_forward, expected);
    }
    let spec = gpt2_folder("").with("activation_function", json!("gelu")).read().unwrap().spec;
    assert_eq!(spec.feed_forward, FeedForward::Gelu);
}
