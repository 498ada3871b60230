//! GPT-2: learned positions, layer norms, and linear parts that are written the other way round.

use seedhouse_core::{Error, Result};

use super::fields::{Fields, broken, shown};
use super::{Biases, Described, Family, names};
use crate::decoder::role::Presence;
use crate::decoder::spec::{DecoderSpec, FeedForward, Norm, NormKind, NormPlacement, Positions};

pub(super) const GPT2: Family = Family {
    class: "GPT2LMHeadModel",
    read,
    prefix: "transformer.",
    name: names::of_gpt2,
    is_buffer: names::is_gpt2_buffer,
};

fn read(fields: &Fields<'_>) -> Result<Described> {
    let (width, heads) = (fields.required_size("n_embd")?, fields.required_size("n_head")?);
    if !width.is_multiple_of(heads) {
        return Err(broken("n_embd", &width.into(), &format!("must be a multiple of `n_head`, which is {heads}")));
    }
    let head_width = width / heads;
    // Old files repeat `n_positions` under a name that the library no longer reads.
    fields.get("n_ctx");
    let scaled = fields.boolean("scale_attn_weights")?.unwrap_or(true);
    let spec = DecoderSpec {
        architecture: "gpt2".to_owned(),
        width,
        layers: fields.required_size("n_layer")?,
        query_heads: heads,
        key_value_heads: heads,
        head_width,
        feed_forward_width: fields.size("n_inner")?.unwrap_or(4 * width),
        vocab_size: fields.required_size("vocab_size")?,
        context_length: fields.required_size("n_positions")?,
        norm: Norm {
            kind: NormKind::Layer,
            epsilon: fields.float("layer_norm_epsilon")?.unwrap_or(1e-5) as f32,
            placement: NormPlacement::Pre,
        },
        head_norms: false,
        positions: Positions::Learned,
        feed_forward: activation(fields)?,
        sliding_window: None,
        attention_scale: if scaled { (1.0 / (head_width as f64).sqrt()) as f32 } else { 1.0 },
        embedding_scale: None,
        tied_output: fields.boolean("tie_word_embeddings")?.unwrap_or(true),
    };
    let required = Presence::Required;
    let biases = Biases {
        query_key_value: required,
        attention_output: required,
        feed_forward: required,
        norm: required,
        output: Presence::Absent,
    };
    Ok(Described { spec, biases })
}

fn activation(fields: &Fields<'_>) -> Result<FeedForward> {
    match fields.text("activation_function")?.unwrap_or("gelu_new") {
        "gelu_new" | "gelu_pytorch_tanh" => Ok(FeedForward::GeluTanh),
        "gelu" => Ok(FeedForward::Gelu),
        other => Err(Error::unsupported(
            format!("`activation_function` with {}", shown(&other.into())),
            "`gelu_new`, `gelu_pytorch_tanh` and `gelu` are computed",
        )),
    }
}
