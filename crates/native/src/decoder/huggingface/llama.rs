//! Llama and the families that differ from it by a field: Mistral, Qwen2 and Qwen3.

use seedhouse_core::{Error, Result};
use serde_json::Value;

use super::fields::{Fields, broken, shown};
use super::{Biases, Described, Family, names, rope};
use crate::decoder::role::Presence;
use crate::decoder::spec::{DecoderSpec, FeedForward, Norm, NormKind, NormPlacement, Positions};

pub(super) const LLAMA: Family = Family {
    class: "LlamaForCausalLM",
    read: |fields| {
        let (attention, feed_forward) = (fields.boolean("attention_bias")?, fields.boolean("mlp_bias")?);
        let biases = Biases { feed_forward: required_if(feed_forward), ..of_attention(attention) };
        read(fields, Kind { architecture: "llama", head_norms: false, default_head_width: None, window: None, biases })
    },
    prefix: "",
    name: names::of_llama,
    is_buffer: names::is_llama_buffer,
};

pub(super) const MISTRAL: Family = Family {
    class: "MistralForCausalLM",
    read: |fields| {
        let window = fields.size("sliding_window")?;
        let biases = Biases::NONE;
        read(fields, Kind { architecture: "mistral", head_norms: false, default_head_width: None, window, biases })
    },
    ..LLAMA
};

pub(super) const QWEN2: Family = Family {
    class: "Qwen2ForCausalLM",
    read: |fields| {
        let window = window_of_qwen(fields)?;
        let biases = Biases { query_key_value: Presence::Required, ..Biases::NONE };
        read(fields, Kind { architecture: "qwen2", head_norms: false, default_head_width: None, window, biases })
    },
    ..LLAMA
};

pub(super) const QWEN3: Family = Family {
    class: "Qwen3ForCausalLM",
    read: |fields| {
        let window = window_of_qwen(fields)?;
        let biases = of_attention(fields.boolean("attention_bias")?);
        read(fields, Kind { architecture: "qwen3", head_norms: true, default_head_width: Some(128), window, biases })
    },
    ..LLAMA
};

/// What the class says.
struct Kind {
    architecture: &'static str,
    head_norms: bool,
    /// `None` for the quotient of width and heads.
    default_head_width: Option<usize>,
    window: Option<usize>,
    biases: Biases,
}

fn required_if(condition: Option<bool>) -> Presence {
    if condition == Some(true) { Presence::Required } else { Presence::Absent }
}

fn of_attention(condition: Option<bool>) -> Biases {
    let presence = required_if(condition);
    Biases { query_key_value: presence, attention_output: presence, ..Biases::NONE }
}

fn read(fields: &Fields<'_>, kind: Kind) -> Result<Described> {
    let width = fields.required_size("hidden_size")?;
    let query_heads = fields.required_size("num_attention_heads")?;
    let key_value_heads = match fields.size("num_key_value_heads")? {
        Some(heads) => heads,
        None if kind.architecture == "llama" => query_heads,
        None => fields.required_size("num_key_value_heads")?,
    };
    let head_width = match fields.size("head_dim")?.or(kind.default_head_width) {
        Some(head_width) => head_width,
        None if width.is_multiple_of(query_heads) => width / query_heads,
        None => {
            let rule = format!("must be a multiple of `num_attention_heads`, which is {query_heads}");
            return Err(broken("hidden_size", &width.into(), &rule));
        }
    };
    let context_length = fields.required_size("max_position_embeddings")?;
    let layers = fields.required_size("num_hidden_layers")?;
    check_layer_types(fields, kind.window.filter(|window| *window < context_length))?;
    let spec = DecoderSpec {
        architecture: kind.architecture.to_owned(),
        width,
        layers,
        query_heads,
        key_value_heads,
        head_width,
        feed_forward_width: fields.required_size("intermediate_size")?,
        vocab_size: fields.required_size("vocab_size")?,
        context_length,
        norm: Norm {
            kind: NormKind::Rms,
            epsilon: fields.float("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            placement: NormPlacement::Pre,
        },
        head_norms: kind.head_norms,
        positions: Positions::Rotary(rope::read(fields, head_width, context_length)?),
        feed_forward: activation(fields)?,
        sliding_window: kind.window,
        attention_scale: (1.0 / (head_width as f64).sqrt()) as f32,
        embedding_scale: None,
        tied_output: fields.boolean("tie_word_embeddings")?.unwrap_or(false),
    };
    Ok(Described { spec, biases: kind.biases })
}

fn activation(fields: &Fields<'_>) -> Result<FeedForward> {
    match fields.text("hidden_act")?.unwrap_or("silu") {
        "silu" | "swish" => Ok(FeedForward::GatedSilu),
        "gelu" => Ok(FeedForward::GatedGelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(FeedForward::GatedGeluTanh),
        other => Err(Error::unsupported(
            format!("`hidden_act` with {}", shown(&other.into())),
            "`silu`, `gelu`, `gelu_new` and `gelu_pytorch_tanh` are computed",
        )),
    }
}

/// The first layers of a Qwen model may see everything while the others have a window.
fn window_of_qwen(fields: &Fields<'_>) -> Result<Option<usize>> {
    let (uses, window) = (fields.boolean("use_sliding_window")?, fields.size("sliding_window")?);
    let whole_layers = fields.get("max_window_layers").and_then(Value::as_u64);
    let Some(window) = window.filter(|_| uses == Some(true)) else { return Ok(None) };
    let (layers, context) =
        (fields.required_size("num_hidden_layers")?, fields.required_size("max_position_embeddings")?);
    match whole_layers {
        _ if window >= context => Ok(None),
        Some(whole) if whole >= layers as u64 => Ok(None),
        Some(0) => Ok(Some(window)),
        _ => Err(Error::unsupported(
            format!("`max_window_layers` with {whole_layers:?} of {layers} layers"),
            "all layers are computed with the same window",
        )),
    }
}

/// Newer files repeat for each layer whether it has the window.
fn check_layer_types(fields: &Fields<'_>, window: Option<usize>) -> Result<()> {
    let Some(types) = fields.get("layer_types") else { return Ok(()) };
    let expected = if window.is_some() { "sliding_attention" } else { "full_attention" };
    let types = types.as_array().ok_or_else(|| broken("layer_types", types, "must be a list"))?;
    match types.iter().find(|found| found.as_str() != Some(expected)) {
        None => Ok(()),
        Some(other) => Err(Error::unsupported(
            format!("`layer_types` with {}", shown(other)),
            format!("the other fields make every layer `{expected}`"),
        )),
    }
}
