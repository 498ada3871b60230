//! Models whose every number follows from the name of its tensor and its place, so that a test can say what must be read.

use std::sync::Arc;

use seedhouse_core::Result;
use seedhouse_testkit::tiny_gguf::GgufBuilder;
use seedhouse_testkit::tiny_safetensors::{SafetensorsEntry, plain_numbers, safetensors};
use serde_json::{Map, Value, json};

use crate::decoder::{DecoderModel, DecoderTensors, Role, gguf, huggingface};
use crate::gguf::Gguf;
use crate::mapped_file::MappedFile;

pub(super) const WIDTH: usize = 8;
pub(super) const HEADS: usize = 2;
pub(super) const HEAD_WIDTH: usize = 6;
pub(super) const FEED_FORWARD: usize = 10;
pub(super) const VOCAB: usize = 12;
pub(super) const CONTEXT: usize = 16;
pub(super) const LAYERS: usize = 2;

/// A number that F32, F16 and BF16 hold exactly.
pub(super) fn number(tensor: &str, index: usize) -> f32 {
    let of_name = tensor.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let mixed = of_name.wrapping_add(index as u32).wrapping_mul(2_654_435_761) >> 24;
    (f32::from(u8::try_from(mixed).unwrap()) - 128.0) / 64.0
}

pub(super) fn numbers(tensor: &str, count: usize) -> Vec<f32> {
    (0..count).map(|index| number(tensor, index)).collect()
}

/// Adds a tensor of such numbers. `shape` is outermost first.
pub(super) fn add(builder: &mut GgufBuilder, name: &str, shape: &[usize]) {
    let sizes: Vec<u64> = shape.iter().rev().map(|size| *size as u64).collect();
    let values = numbers(name, shape.iter().product());
    builder.tensor(name, &sizes, 0, plain_numbers("F32", &values));
}

/// Returns a model of an architecture with heads of `HEAD_WIDTH`, one of them for keys and values but in `gpt2`.
pub(super) fn gguf_of(architecture: &str) -> GgufBuilder {
    let mut builder = GgufBuilder::default();
    let is_gpt2 = architecture == "gpt2";
    let (head_width, key_value_heads) = if is_gpt2 { (WIDTH / HEADS, HEADS) } else { (HEAD_WIDTH, 1) };
    let key = |key: &str| format!("{architecture}.{key}");
    let tokens: Vec<String> = (0..VOCAB).map(|id| format!("t{id}")).collect();
    builder
        .text("general.architecture", architecture)
        .number(&key("block_count"), LAYERS as u32)
        .number(&key("context_length"), CONTEXT as u32)
        .number(&key("embedding_length"), WIDTH as u32)
        .number(&key("feed_forward_length"), FEED_FORWARD as u32)
        .number(&key("attention.head_count"), HEADS as u32)
        .texts("tokenizer.ggml.tokens", &tokens);
    let (query, key_value) = (HEADS * head_width, key_value_heads * head_width);
    add(&mut builder, "token_embd.weight", &[VOCAB, WIDTH]);
    add(&mut builder, "output_norm.weight", &[WIDTH]);
    if is_gpt2 {
        builder.float(&key("attention.layer_norm_epsilon"), 1e-5);
        add(&mut builder, "position_embd.weight", &[CONTEXT, WIDTH]);
        add(&mut builder, "output_norm.bias", &[WIDTH]);
    } else {
        builder
            .float(&key("attention.layer_norm_rms_epsilon"), 1e-5)
            .number(&key("attention.head_count_kv"), key_value_heads as u32)
            .number(&key("attention.key_length"), head_width as u32)
            .number(&key("attention.value_length"), head_width as u32);
    }
    for layer in 0..LAYERS {
        let mut part = |part: &str, shape: &[usize]| add(&mut builder, &format!("blk.{layer}.{part}"), shape);
        part("attn_norm.weight", &[WIDTH]);
        part("ffn_norm.weight", &[WIDTH]);
        part("attn_output.weight", &[WIDTH, query]);
        part("ffn_up.weight", &[FEED_FORWARD, WIDTH]);
        part("ffn_down.weight", &[WIDTH, FEED_FORWARD]);
        if is_gpt2 {
            part("attn_qkv.weight", &[query + 2 * key_value, WIDTH]);
            part("attn_qkv.bias", &[query + 2 * key_value]);
            for name in ["attn_norm", "ffn_norm", "attn_output", "ffn_down"] {
                part(&format!("{name}.bias"), &[WIDTH]);
            }
            part("ffn_up.bias", &[FEED_FORWARD]);
            continue;
        }
        part("ffn_gate.weight", &[FEED_FORWARD, WIDTH]);
        for (name, outputs) in [("attn_q", query), ("attn_k", key_value), ("attn_v", key_value)] {
            part(&format!("{name}.weight"), &[outputs, WIDTH]);
            if architecture == "qwen2" {
                part(&format!("{name}.bias"), &[outputs]);
            }
        }
        if architecture == "qwen3" {
            part("attn_q_norm.weight", &[HEAD_WIDTH]);
            part("attn_k_norm.weight", &[HEAD_WIDTH]);
        }
    }
    builder
}

pub(super) fn read_gguf(builder: &GgufBuilder) -> Result<DecoderModel> {
    let file = Arc::new(MappedFile::of_bytes(&builder.build())?);
    gguf::read(&Gguf::parse("m.gguf", &file)?, &file)
}

/// A folder of the transformers library in memory.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) config: Map<String, Value>,
    pub(super) dtype: &'static str,
    /// Names and shapes, outermost first.
    pub(super) tensors: Vec<(String, Vec<usize>)>,
}

impl Folder {
    pub(super) fn new(config: Value, tensors: &[(&str, &[usize])], of_layers: &[(&str, &[usize])]) -> Folder {
        let Value::Object(config) = config else { panic!("a configuration is an object") };
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        for (name, shape) in tensors {
            all.push(((*name).to_owned(), shape.to_vec()));
        }
        for layer in 0..LAYERS {
            for (name, shape) in of_layers {
                all.push((name.replace("{}", &layer.to_string()), shape.to_vec()));
            }
        }
        Folder { config, dtype: "F32", tensors: all }
    }

    pub(super) fn with(mut self, field: &str, value: Value) -> Folder {
        self.config.insert(field.to_owned(), value);
        self
    }

    pub(super) fn add(&mut self, name: &str, shape: &[usize]) {
        self.tensors.push((name.to_owned(), shape.to_vec()));
    }

    pub(super) fn entries(&self) -> Vec<SafetensorsEntry> {
        let entry = |(name, shape): &(String, Vec<usize>)| {
            let sizes: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
            SafetensorsEntry::new(name, self.dtype, &sizes, &numbers(name, shape.iter().product()))
        };
        self.tensors.iter().map(entry).collect()
    }

    pub(super) fn read(&self) -> Result<DecoderModel> {
        read_folder(&self.config, &[&safetensors(&self.entries())])
    }
}

pub(super) fn read_folder(config: &Map<String, Value>, files: &[&[u8]]) -> Result<DecoderModel> {
    let file = |(number, bytes): (usize, &&[u8])| -> Result<(String, Arc<MappedFile>)> {
        Ok((format!("{number}.safetensors"), Arc::new(MappedFile::of_bytes(bytes)?)))
    };
    huggingface::assemble(config, &files.iter().enumerate().map(file).collect::<Result<Vec<_>>>()?)
}

const QUERY: usize = HEADS * HEAD_WIDTH;

/// A folder of one of the classes with the tensors of Llama, with one head of keys and values.
pub(super) fn llama_folder(class: &str) -> Folder {
    let config = json!({
        "architectures": [class], "model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": HEADS,
        "num_key_value_heads": 1, "head_dim": HEAD_WIDTH, "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": LAYERS, "max_position_embeddings": CONTEXT, "vocab_size": VOCAB, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "float32",
        "use_cache": true, "bos_token_id": 1,
    });
    let mut folder = Folder::new(
        config,
        &[
            ("model.embed_tokens.weight", &[VOCAB, WIDTH]),
            ("model.norm.weight", &[WIDTH]),
            ("lm_head.weight", &[VOCAB, WIDTH]),
        ],
        &[
            ("model.layers.{}.input_layernorm.weight", &[WIDTH]),
            ("model.layers.{}.post_attention_layernorm.weight", &[WIDTH]),
            ("model.layers.{}.self_attn.q_proj.weight", &[QUERY, WIDTH]),
            ("model.layers.{}.self_attn.k_proj.weight", &[HEAD_WIDTH, WIDTH]),
            ("model.layers.{}.self_attn.v_proj.weight", &[HEAD_WIDTH, WIDTH]),
            ("model.layers.{}.self_attn.o_proj.weight", &[WIDTH, QUERY]),
            ("model.layers.{}.mlp.gate_proj.weight", &[FEED_FORWARD, WIDTH]),
            ("model.layers.{}.mlp.up_proj.weight", &[FEED_FORWARD, WIDTH]),
            ("model.layers.{}.mlp.down_proj.weight", &[WIDTH, FEED_FORWARD]),
        ],
    );
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.self_attn.{part}");
        if class == "Qwen2ForCausalLM" {
            folder.add(&name("q_proj.bias"), &[QUERY]);
            folder.add(&name("k_proj.bias"), &[HEAD_WIDTH]);
            folder.add(&name("v_proj.bias"), &[HEAD_WIDTH]);
        }
        if class == "Qwen3ForCausalLM" {
            folder.add(&name("q_norm.weight"), &[HEAD_WIDTH]);
            folder.add(&name("k_norm.weight"), &[HEAD_WIDTH]);
        }
    }
    folder
}

/// A folder of GPT-2, whose names begin with `prefix`.
pub(super) fn gpt2_folder(prefix: &str) -> Folder {
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS,
        "n_inner": FEED_FORWARD, "n_positions": CONTEXT, "n_ctx": CONTEXT, "vocab_size": VOCAB,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.1,
        "task_specific_params": {"text-generation": {"do_sample": true}},
    });
    let mut folder = Folder::new(
        config,
        &[
            ("wte.weight", &[VOCAB, WIDTH]),
            ("wpe.weight", &[CONTEXT, WIDTH]),
            ("ln_f.weight", &[WIDTH]),
            ("ln_f.bias", &[WIDTH]),
        ],
        &[
            ("h.{}.ln_1.weight", &[WIDTH]),
            ("h.{}.ln_1.bias", &[WIDTH]),
            ("h.{}.attn.bias", &[1, 1, CONTEXT, CONTEXT]),
            ("h.{}.attn.c_attn.weight", &[WIDTH, 3 * WIDTH]),
            ("h.{}.attn.c_attn.bias", &[3 * WIDTH]),
            ("h.{}.attn.c_proj.weight", &[WIDTH, WIDTH]),
            ("h.{}.attn.c_proj.bias", &[WIDTH]),
            ("h.{}.ln_2.weight", &[WIDTH]),
            ("h.{}.ln_2.bias", &[WIDTH]),
            ("h.{}.mlp.c_fc.weight", &[WIDTH, FEED_FORWARD]),
            ("h.{}.mlp.c_fc.bias", &[FEED_FORWARD]),
            ("h.{}.mlp.c_proj.weight", &[FEED_FORWARD, WIDTH]),
            ("h.{}.mlp.c_proj.bias", &[WIDTH]),
        ],
    );
    folder.tensors.iter_mut().for_each(|(name, _)| *name = format!("{prefix}{name}"));
    folder
}

/// Checks that a role has the numbers of a dense tensor from row `first` on.
pub(super) fn assert_rows(tensors: &DecoderTensors, place: (Option<usize>, Role), name: &str, first: usize) {
    let source = match place {
        (None, role) => tensors.model_tensor(role),
        (Some(layer), role) => tensors.layer_tensor(layer, role),
    };
    let mut row = vec![0.0; source.inputs()];
    for output in 0..source.outputs() {
        source.read_row(output, &mut row);
        let start = (first + output) * source.inputs();
        let expected: Vec<f32> = (start..start + source.inputs()).map(|index| number(name, index)).collect();
        assert_eq!(row, expected, "row {output} of {place:?}");
    }
}

/// Checks that a role has the numbers of a tensor `[inputs, columns]` from column `first` on.
pub(super) fn assert_columns(
    tensors: &DecoderTensors,
    place: (usize, Role),
    name: &str,
    (columns, first): (usize, usize),
) {
    let source = tensors.layer_tensor(place.0, place.1);
    let mut row = vec![0.0; source.inputs()];
    for output in 0..source.outputs() {
        source.read_row(output, &mut row);
        let expected: Vec<f32> =
            (0..source.inputs()).map(|input| number(name, input * columns + first + output)).collect();
        assert_eq!(row, expected, "row {output} of {place:?}");
    }
}
