"""The GGUF files to make: which model, stored how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gguf import GGMLQuantizationType as Type

from .cases import GPT2, LLAMA, LLAMA3, QWEN2, QWEN3

LINEAR_SCALING = {"rope_type": "linear", "factor": 4.0}
YARN_SCALING = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}

# Wide enough for blocks of 32, and for rows that are not a multiple of anything.
BLOCKS_OF_32 = {**LLAMA, "hidden_size": 64, "intermediate_size": 96}

# Rows of 256 with few outputs: two heads of 16. Output and down projections have shorter rows, which take another type.
BLOCKS_OF_256 = {
    **QWEN3,
    "hidden_size": 256,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}

# The down projection has rows of 256 too.
WIDE_FEED_FORWARD = {**BLOCKS_OF_256, "intermediate_size": 256}

# As llama-quantize mixes types within a layer.
MIXED = {
    "token_embd": Type.Q6_K,
    "attn_q": Type.Q4_K,
    "attn_k": Type.Q5_K,
    "attn_v": Type.Q6_K,
    "attn_output": Type.Q4_K,
    "ffn_gate": Type.Q5_K,
    "ffn_up": Type.Q4_K,
    "ffn_down": Type.Q6_K,
}


@dataclass(frozen=True)
class GgufCase:
    """One file. Vectors, and position embeddings, are F32 everywhere."""

    name: str
    what: str
    config: Mapping[str, Any]
    seed: int
    kind: Type | Mapping[str, Type] = Type.F32
    prompt_length: int = 6

    def type_of(self, tensor: str) -> Type:
        """Returns the type asked for by the name of a matrix in the file."""
        if isinstance(self.kind, Type):
            return self.kind
        return next(kind for part, kind in self.kind.items() if f"{part}." in tensor)


def cases() -> list[GgufCase]:
    """Returns all."""
    scaled = [
        GgufCase("gguf-llama3-rope", "llama3 scaling as `rope_freqs`, F32", LLAMA3, 21),
        GgufCase("gguf-linear-rope", "linear scaling, F16", {**LLAMA, "rope_scaling": LINEAR_SCALING}, 22, Type.F16),
        GgufCase("gguf-yarn-rope", "yarn scaling, F16", {**LLAMA, "rope_scaling": YARN_SCALING}, 23, Type.F16, 16),
    ]
    families = [
        GgufCase("gguf-qwen2", "qwen2, F16", QWEN2, 24, Type.F16),
        GgufCase("gguf-qwen3", "qwen3, BF16", QWEN3, 25, Type.BF16),
        GgufCase("gguf-gpt2", "gpt2, F16", GPT2, 26, Type.F16),
    ]
    small = (Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1)
    large = (Type.Q4_K, Type.Q5_K, Type.Q6_K)
    quantised = [GgufCase(f"gguf-{kind.name.lower()}", f"llama, {kind.name}", BLOCKS_OF_32, 27, kind) for kind in small]
    quantised += [
        GgufCase(f"gguf-{kind.name.lower()}", f"qwen3, {kind.name} and what short rows take", BLOCKS_OF_256, 28, kind)
        for kind in large
    ]
    mixed = GgufCase("gguf-k-mixed", "qwen3, another type for each matrix", WIDE_FEED_FORWARD, 29, MIXED)
    return [*scaled, *families, *quantised, mixed]
