//! What llama.cpp calls tensors (`gguf-py/gguf/constants.py`).

use crate::decoder::naming::Name;
use crate::decoder::role::Role;

/// Names where queries, keys and values are tensors of their own.
pub(super) fn of_separate(role: Role) -> Option<Name> {
    Some(Name::plain(match role {
        Role::TokenEmbedding => super::TOKEN_EMBEDDING,
        Role::PositionEmbedding => "position_embd.weight",
        Role::FinalNorm => "output_norm.weight",
        Role::FinalNormBias => "output_norm.bias",
        Role::Output => "output.weight",
        Role::OutputBias => "output.bias",
        Role::AttentionNorm => "blk.{}.attn_norm.weight",
        Role::AttentionNormBias => "blk.{}.attn_norm.bias",
        Role::Query => "blk.{}.attn_q.weight",
        Role::QueryBias => "blk.{}.attn_q.bias",
        Role::Key => "blk.{}.attn_k.weight",
        Role::KeyBias => "blk.{}.attn_k.bias",
        Role::Value => "blk.{}.attn_v.weight",
        Role::ValueBias => "blk.{}.attn_v.bias",
        Role::QueryNorm => "blk.{}.attn_q_norm.weight",
        Role::KeyNorm => "blk.{}.attn_k_norm.weight",
        Role::AttentionOutput => "blk.{}.attn_output.weight",
        Role::AttentionOutputBias => "blk.{}.attn_output.bias",
        Role::FeedForwardNorm => "blk.{}.ffn_norm.weight",
        Role::FeedForwardNormBias => "blk.{}.ffn_norm.bias",
        Role::Gate => "blk.{}.ffn_gate.weight",
        Role::GateBias => "blk.{}.ffn_gate.bias",
        Role::Up => "blk.{}.ffn_up.weight",
        Role::UpBias => "blk.{}.ffn_up.bias",
        Role::Down => "blk.{}.ffn_down.weight",
        Role::DownBias => "blk.{}.ffn_down.bias",
    }))
}

/// Names where they are one tensor.
pub(super) fn of_fused(role: Role) -> Option<Name> {
    match role {
        Role::Query | Role::Key | Role::Value => Some(Name::fused("blk.{}.attn_qkv.weight")),
        Role::QueryBias | Role::KeyBias | Role::ValueBias => Some(Name::fused("blk.{}.attn_qkv.bias")),
        _ => of_separate(role),
    }
}
