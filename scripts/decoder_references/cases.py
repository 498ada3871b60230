"""The Hugging Face directories to make: configurations as published models have them, small."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .tokenizer import BEGIN_ID, END_ID, VOCAB_SIZE


@dataclass(frozen=True)
class Case:
    """One directory."""

    name: str
    what: str
    config: dict[str, Any]
    seed: int
    prompt_length: int = 12
    storage: str = "float32"
    shards: int = 1
    # Changes of the configuration that must change the logits: what the case is about is not without effect.
    matters: tuple[dict[str, Any], ...] = field(default=())


IDS = {"vocab_size": VOCAB_SIZE, "bos_token_id": BEGIN_ID, "eos_token_id": END_ID}

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": True,
}

# With this base the scaling of llama3 keeps one frequency, moves one a part of the way, and divides two.
LLAMA3_THETA = 1000.0

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def unscaled(theta: float) -> dict[str, Any]:
    """Returns the changes that take the scaling of positions away."""
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


QWEN2 = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "max_window_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "sliding_window": 64,
    "use_sliding_window": False,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    **IDS,
    "hidden_size": 40,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Not 40 / 4.
    "head_dim": 16,
    "max_position_embeddings": 64,
    "max_window_layers": 1,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
    "attention_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}

MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    **IDS,
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "sliding_window": 8,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}

GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    **IDS,
    "n_embd": 32,
    "n_inner": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "n_ctx": 64,
    "layer_norm_epsilon": 1e-5,
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
}

POST_NORM_DECODER = {
    "architectures": ["PostNormDecoder"],
    "model_type": "post_norm_decoder",
    "vocab_size": VOCAB_SIZE,
    "max_seq_len": 64,
    "d_model": 32,
    "num_heads": 4,
    "num_layers": 2,
    "d_ff": 48,
    "layer_norm_eps": 1e-5,
}

LLAMA3 = {**LLAMA, "max_position_embeddings": 512, "rope_theta": LLAMA3_THETA, "rope_scaling": LLAMA3_SCALING}

CASES = (
    Case("llama", "two layers, tied output, two query heads share a key", {**LLAMA, "num_hidden_layers": 2}, seed=1),
    Case(
        "llama3-rope",
        "llama3 scaling: one frequency kept, one between, two divided",
        LLAMA3,
        seed=2,
        prompt_length=16,
        matters=(unscaled(LLAMA3_THETA),),
    ),
    Case(
        "linear-rope",
        "linear scaling, written as `rope_parameters` (newer configurations)",
        {
            **{key: value for key, value in LLAMA.items() if key not in ("rope_theta", "rope_scaling")},
            "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0},
        },
        seed=3,
        storage="bfloat16",
        matters=(unscaled(10000.0),),
    ),
    Case(
        "yarn-rope",
        "yarn scaling with its attention factor",
        {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}},
        seed=4,
        storage="bfloat16",
        prompt_length=16,
        matters=(unscaled(10000.0),),
    ),
    Case(
        "mistral-window",
        "a sliding window of 8 tokens, untied output, two shards",
        MISTRAL,
        seed=5,
        prompt_length=16,
        shards=2,
        matters=({"sliding_window": None},),
    ),
    Case("qwen2", "biases on queries, keys and values, stored as bf16", QWEN2, seed=6, storage="bfloat16"),
    Case("qwen3", "norms of queries and keys, heads wider than width / heads, untied output", QWEN3, seed=7, storage="bfloat16"),
    Case("gpt2", "learned positions, layer norms, fused and transposed products, GELU by tanh", GPT2, seed=8),
)
