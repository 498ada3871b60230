//! What the transformers library calls tensors.

use crate::decoder::naming::Name;
use crate::decoder::role::Role;

/// Names of Llama, Mistral and Qwen.
pub(super) fn of_llama(role: Role) -> Option<Name> {
    Some(Name::plain(match role {
        Role::TokenEmbedding => "model.embed_tokens.weight",
        Role::FinalNorm => "model.norm.weight",
        Role::Output => "lm_head.weight",
        Role::AttentionNorm => "model.layers.{}.input_layernorm.weight",
        Role::Query => "model.layers.{}.self_attn.q_proj.weight",
        Role::QueryBias => "model.layers.{}.self_attn.q_proj.bias",
        Role::Key => "model.layers.{}.self_attn.k_proj.weight",
        Role::KeyBias => "model.layers.{}.self_attn.k_proj.bias",
        Role::Value => "model.layers.{}.self_attn.v_proj.weight",
        Role::ValueBias => "model.layers.{}.self_attn.v_proj.bias",
        Role::QueryNorm => "model.layers.{}.self_attn.q_norm.weight",
        Role::KeyNorm => "model.layers.{}.self_attn.k_norm.weight",
        Role::AttentionOutput => "model.layers.{}.self_attn.o_proj.weight",
        Role::AttentionOutputBias => "model.layers.{}.self_attn.o_proj.bias",
        Role::FeedForwardNorm => "model.layers.{}.post_attention_layernorm.weight",
        Role::Gate => "model.layers.{}.mlp.gate_proj.weight",
        Role::GateBias => "model.layers.{}.mlp.gate_proj.bias",
        Role::Up => "model.layers.{}.mlp.up_proj.weight",
        Role::UpBias => "model.layers.{}.mlp.up_proj.bias",
        Role::Down => "model.layers.{}.mlp.down_proj.weight",
        Role::DownBias => "model.layers.{}.mlp.down_proj.bias",
        Role::PositionEmbedding
        | Role::FinalNormBias
        | Role::OutputBias
        | Role::AttentionNormBias
        | Role::FeedForwardNormBias => return None,
    }))
}

/// Files of early versions hold the speeds of rotation, which follow from the configuration.
pub(super) fn is_llama_buffer(name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
}

/// Names of GPT-2, without the `transformer.` that only some files write.
pub(super) fn of_gpt2(role: Role) -> Option<Name> {
    Some(match role {
        Role::TokenEmbedding => Name::plain("wte.weight"),
        Role::PositionEmbedding => Name::plain("wpe.weight"),
        Role::FinalNorm => Name::plain("ln_f.weight"),
        Role::FinalNormBias => Name::plain("ln_f.bias"),
        Role::Output => Name::plain("lm_head.weight"),
        Role::AttentionNorm => Name::plain("h.{}.ln_1.weight"),
        Role::AttentionNormBias => Name::plain("h.{}.ln_1.bias"),
        Role::Query | Role::Key | Role::Value => Name::fused("h.{}.attn.c_attn.weight").transposed(),
        Role::QueryBias | Role::KeyBias | Role::ValueBias => Name::fused("h.{}.attn.c_attn.bias"),
        Role::AttentionOutput => Name::plain("h.{}.attn.c_proj.weight").transposed(),
        Role::AttentionOutputBias => Name::plain("h.{}.attn.c_proj.bias"),
        Role::FeedForwardNorm => Name::plain("h.{}.ln_2.weight"),
        Role::FeedForwardNormBias => Name::plain("h.{}.ln_2.bias"),
        Role::Up => Name::plain("h.{}.mlp.c_fc.weight").transposed(),
        Role::UpBias => Name::plain("h.{}.mlp.c_fc.bias"),
        Role::Down => Name::plain("h.{}.mlp.c_proj.weight").transposed(),
        Role::DownBias => Name::plain("h.{}.mlp.c_proj.bias"),
        Role::OutputBias | Role::QueryNorm | Role::KeyNorm | Role::Gate | Role::GateBias => return None,
    })
}

/// Files of early versions hold the mask that hides later tokens, and the number it is filled with.
pub(super) fn is_gpt2_buffer(name: &str) -> bool {
    name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias")
}
