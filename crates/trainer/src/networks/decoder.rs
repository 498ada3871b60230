//! Language models: Llama as the transformers library writes it, GPT-2 likewise, and the decoder of the original system
//! (`crates/native/src/decoder/original.rs`).

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::DEVIATION;
use crate::numbers::Activation;
use crate::parameters::{ParameterId, Parameters, Start};
use crate::tape::{Attention, Classifier, Rotation, Tape, Var};

/// How a decoder computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// RMS norms before each part, rotary positions, gated SiLU, no biases.
    Llama,
    /// Layer norms before each part, learned positions, GELU by the hyperbolic tangent.
    Gpt2,
    /// Layer norms after each part, learned positions, GELU of the error function.
    PostNorm,
}

/// The sizes of a decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) kind: Kind,
    pub(crate) vocab_size: usize,
    pub(crate) length: usize,
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) key_value_heads: usize,
    pub(crate) layers: usize,
    pub(crate) inner: usize,
    pub(crate) is_tied: bool,
    pub(crate) rotary_base: f64,
    pub(crate) epsilon: f64,
}

/// A network.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub(crate) sizes: Sizes,
    tokens: ParameterId,
    positions: Option<ParameterId>,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
    output: Classifier,
    /// Of Llama; made by the first pass, after the weights have confirmed the sizes.
    rotation: OnceLock<Arc<Rotation>>,
}

#[derive(Debug, Clone, Copy)]
struct Norm {
    gain: ParameterId,
    bias: Option<ParameterId>,
}

#[derive(Debug, Clone, Copy)]
struct Matrix {
    weight: ParameterId,
    bias: Option<ParameterId>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    inputs: Matrix,
    attention_output: Matrix,
    feed_forward_norm: Norm,
    /// Of Llama, gates and ups.
    up: Matrix,
    down: Matrix,
}

impl Decoder {
    /// Adds the weights.
    pub(crate) fn new(sizes: Sizes, parameters: &mut Parameters) -> Decoder {
        match sizes.kind {
            Kind::Llama => llama(sizes, parameters),
            Kind::Gpt2 => gpt2(sizes, parameters),
            Kind::PostNorm => post_norm(sizes, parameters),
        }
    }

    fn attention(&self, length: usize) -> Attention {
        let Sizes { heads, key_value_heads, width, .. } = self.sizes;
        Attention { length, heads, key_value_heads, head_width: width / heads, is_causal: true }
    }

    /// Returns what makes logits of the last rows.
    pub(crate) fn output(&self) -> Classifier {
        self.output
    }

    /// Returns the last rows of sequences of `length` tokens each.
    pub(crate) fn run(&self, tape: &mut Tape<'_>, tokens: Arc<[u32]>, length: usize, dropout: f32) -> Var {
        let attention = self.attention(length);
        let mut hidden = tape.embed(tokens, self.tokens, self.positions, length);
        tape.dropout(hidden, dropout);
        for layer in &self.layers {
            hidden = match self.sizes.kind {
                Kind::Llama | Kind::Gpt2 => {
                    let normed = self.norm(tape, hidden, layer.attention_norm);
                    let hidden = self.attend(tape, layer, attention, hidden, normed, dropout);
                    let normed = self.norm(tape, hidden, layer.feed_forward_norm);
                    self.feed_forward(tape, layer, hidden, normed, dropout)
                }
                Kind::PostNorm => {
                    let hidden = self.attend(tape, layer, attention, hidden, hidden, dropout);
                    let hidden = self.norm(tape, hidden, layer.attention_norm);
                    let hidden = self.feed_forward(tape, layer, hidden, hidden, dropout);
                    self.norm(tape, hidden, layer.feed_forward_norm)
                }
            };
        }
        self.final_norm.map_or(hidden, |norm| self.norm(tape, hidden, norm))
    }

    fn norm(&self, tape: &mut Tape<'_>, input: Var, norm: Norm) -> Var {
        let epsilon = self.sizes.epsilon as f32;
        match norm.bias {
            Some(bias) => tape.layer_norm(input, norm.gain, bias, epsilon),
            None => tape.rms_norm(input, norm.gain, epsilon),
        }
    }

    fn attend(
        &self,
        tape: &mut Tape<'_>,
        layer: &Layer,
        attention: Attention,
        hidden: Var,
        input: Var,
        dropout: f32,
    ) -> Var {
        let inputs = tape.linear(input, layer.inputs.weight, layer.inputs.bias);
        if self.sizes.kind == Kind::Llama {
            let Sizes { length, rotary_base, .. } = self.sizes;
            let made = || Arc::new(Rotation::new(length, attention.head_width, rotary_base));
            tape.rotate(inputs, self.rotation.get_or_init(made), attention);
        }
        let attended = tape.attend(inputs, attention);
        add_part(tape, hidden, attended, layer.attention_output, dropout)
    }

    fn feed_forward(&self, tape: &mut Tape<'_>, layer: &Layer, hidden: Var, input: Var, dropout: f32) -> Var {
        let up = tape.linear(input, layer.up.weight, layer.up.bias);
        let inner = match self.sizes.kind {
            Kind::Llama => tape.gate(up),
            Kind::Gpt2 => tape.activate(up, Activation::GeluTanh),
            Kind::PostNorm => tape.activate(up, Activation::Gelu),
        };
        add_part(tape, hidden, inner, layer.down, dropout)
    }

    /// Returns the fields of `config.json` of the folder.
    pub(crate) fn config(&self, end: u32) -> Map<String, Value> {
        let sizes = &self.sizes;
        let fields = match sizes.kind {
            Kind::Llama => json!({
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "hidden_size": sizes.width,
                "intermediate_size": sizes.inner,
                "num_hidden_layers": sizes.layers,
                "num_attention_heads": sizes.heads,
                "num_key_value_heads": sizes.key_value_heads,
                "head_dim": sizes.width / sizes.heads,
                "max_position_embeddings": sizes.length,
                "vocab_size": sizes.vocab_size,
                "rms_norm_eps": sizes.epsilon,
                "rope_theta": sizes.rotary_base,
                "hidden_act": "silu",
                "attention_bias": false,
                "mlp_bias": false,
            }),
            Kind::Gpt2 => json!({
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "n_embd": sizes.width,
                "n_inner": sizes.inner,
                "n_layer": sizes.layers,
                "n_head": sizes.heads,
                "n_positions": sizes.length,
                "vocab_size": sizes.vocab_size,
                "layer_norm_epsilon": 1e-5,
                "activation_function": "gelu_new",
            }),
            Kind::PostNorm => json!({
                "architectures": ["PostNormDecoder"],
                "model_type": "post_norm_decoder",
                "vocab_size": sizes.vocab_size,
                "max_seq_len": sizes.length,
                "d_model": sizes.width,
                "num_heads": sizes.heads,
                "num_layers": sizes.layers,
                "d_ff": sizes.inner,
                "layer_norm_eps": 1e-5,
            }),
        };
        let mut config = fields.as_object().cloned().unwrap_or_default();
        config.insert("tie_word_embeddings".into(), sizes.is_tied.into());
        config.insert("bos_token_id".into(), end.into());
        config.insert("eos_token_id".into(), end.into());
        config.insert("torch_dtype".into(), "float32".into());
        config
    }
}

/// Adds to the rows what a part of a layer makes of its last numbers.
fn add_part(tape: &mut Tape<'_>, hidden: Var, input: Var, matrix: Matrix, dropout: f32) -> Var {
    if dropout > 0.0 && tape.is_training() {
        let part = tape.linear(input, matrix.weight, matrix.bias);
        tape.dropout(part, dropout);
        return tape.add(hidden, part);
    }
    tape.add_linear(hidden, input, matrix.weight, matrix.bias)
}

/// The deviation of weights whose results are added to the rows: less, the more of them there are.
fn residual_deviation(layers: usize) -> f32 {
    DEVIATION / (2.0 * layers.max(1) as f32).sqrt()
}

fn llama(sizes: Sizes, parameters: &mut Parameters) -> Decoder {
    let Sizes { vocab_size, width, heads, key_value_heads, layers, inner, .. } = sizes;
    let (start, residual) = (Start::Normal(DEVIATION), Start::Normal(residual_deviation(layers)));
    let head = width / heads;
    let tokens = parameters.matrix("model.embed_tokens.weight", vocab_size, width, start);
    let layer = |layer: usize| {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        let plain = |weight| Matrix { weight, bias: None };
        let [query, key, value] = ["q_proj", "k_proj", "v_proj"].map(|part| name(&format!("self_attn.{part}")));
        let inputs = [(query, width), (key, key_value_heads * head), (value, key_value_heads * head)];
        let ups = ["gate_proj", "up_proj"].map(|part| (name(&format!("mlp.{part}")), inner));
        Layer {
            attention_norm: Norm { gain: parameters.row(&name("input_layernorm"), width, 1.0), bias: None },
            inputs: plain(parameters.joined(&inputs, width, start)),
            attention_output: plain(parameters.matrix(&name("self_attn.o_proj"), width, width, residual)),
            feed_forward_norm: Norm { gain: parameters.row(&name("post_attention_layernorm"), width, 1.0), bias: None },
            up: plain(parameters.joined(&ups, width, start)),
            down: plain(parameters.matrix(&name("mlp.down_proj"), width, inner, residual)),
        }
    };
    let layers = (0..layers).map(layer).collect();
    let final_norm = Norm { gain: parameters.row("model.norm.weight", width, 1.0), bias: None };
    let output = match sizes.is_tied {
        true => tokens,
        false => parameters.matrix("lm_head.weight", vocab_size, width, start),
    };
    Decoder {
        sizes,
        tokens,
        positions: None,
        layers,
        final_norm: Some(final_norm),
        output: Classifier { weight: output, bias: None },
        rotation: OnceLock::new(),
    }
}

fn gpt2(sizes: Sizes, parameters: &mut Parameters) -> Decoder {
    let Sizes { vocab_size, length, width, layers, inner, .. } = sizes;
    let (start, residual) = (Start::Normal(DEVIATION), Start::Normal(residual_deviation(layers)));
    let tokens = parameters.matrix("transformer.wte.weight", vocab_size, width, start);
    let positions = parameters.table("transformer.wpe.weight", &[length, width], start);
    let layer = |layer: usize| {
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        let norm = |part: &str, parameters: &mut Parameters| Norm {
            gain: parameters.row(&name(&format!("{part}.weight")), width, 1.0),
            bias: Some(parameters.row(&name(&format!("{part}.bias")), width, 0.0)),
        };
        // Weights of this library's `Conv1D` are `[inputs, outputs]`.
        let matrix = |part: &str, outputs, inputs, start, parameters: &mut Parameters| Matrix {
            weight: parameters.transposed_matrix(&name(&format!("{part}.weight")), outputs, inputs, start),
            bias: Some(parameters.row(&name(&format!("{part}.bias")), outputs, 0.0)),
        };
        Layer {
            attention_norm: norm("ln_1", parameters),
            inputs: matrix("attn.c_attn", 3 * width, width, start, parameters),
            attention_output: matrix("attn.c_proj", width, width, residual, parameters),
            feed_forward_norm: norm("ln_2", parameters),
            up: matrix("mlp.c_fc", inner, width, start, parameters),
            down: matrix("mlp.c_proj", width, inner, residual, parameters),
        }
    };
    let layers = (0..layers).map(layer).collect();
    let final_norm = Norm {
        gain: parameters.row("transformer.ln_f.weight", width, 1.0),
        bias: Some(parameters.row("transformer.ln_f.bias", width, 0.0)),
    };
    let output = match sizes.is_tied {
        true => tokens,
        false => parameters.matrix("lm_head.weight", vocab_size, width, start),
    };
    let output = Classifier { weight: output, bias: None };
    Decoder {
        sizes,
        tokens,
        positions: Some(positions),
        layers,
        final_norm: Some(final_norm),
        output,
        rotation: OnceLock::new(),
    }
}

fn post_norm(sizes: Sizes, parameters: &mut Parameters) -> Decoder {
    let Sizes { vocab_size, length, width, layers, inner, .. } = sizes;
    let start = Start::Normal(DEVIATION);
    let tokens = parameters.matrix("token_embedding.weight", vocab_size, width, start);
    let positions = parameters.table("position_embedding.weight", &[length, width], start);
    let layer = |layer: usize| {
        let name = |part: &str| format!("layers.{layer}.{part}");
        let norm = |part: &str, parameters: &mut Parameters| Norm {
            gain: parameters.row(&name(&format!("{part}.weight")), width, 1.0),
            bias: Some(parameters.row(&name(&format!("{part}.bias")), width, 0.0)),
        };
        let matrix = |part: &str, outputs, inputs, parameters: &mut Parameters| Matrix {
            weight: parameters.matrix(&name(&format!("{part}.weight")), outputs, inputs, start),
            bias: Some(parameters.row(&name(&format!("{part}.bias")), outputs, 0.0)),
        };
        let inputs = ["query", "key", "value"].map(|part| (name(&format!("attention.{part}.weight")), width));
        Layer {
            inputs: Matrix { weight: parameters.joined(&inputs, width, start), bias: None },
            attention_output: matrix("attention.output", width, width, parameters),
            attention_norm: norm("attention_norm", parameters),
            up: matrix("feed_forward.up", inner, width, parameters),
            down: matrix("feed_forward.down", width, inner, parameters),
            feed_forward_norm: norm("feed_forward_norm", parameters),
        }
    };
    let layers = (0..layers).map(layer).collect();
    let output = match sizes.is_tied {
        true => tokens,
        false => parameters.matrix("output.weight", vocab_size, width, start),
    };
    let bias = (!sizes.is_tied).then(|| parameters.row("output.bias", vocab_size, 0.0));
    let output = Classifier { weight: output, bias };
    Decoder { sizes, tokens, positions: Some(positions), layers, final_norm: None, output, rotation: OnceLock::new() }
}
