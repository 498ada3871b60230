"""A `llama` GGUF file with byte-level tokens, computed by transformers in f32 from the weights that the file means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

# Token types of GGUF that are matched whole.
CONTROL, USER_DEFINED = 3, 4


@dataclass(frozen=True)
class DequantisedLlama:
    """A model and its tokenizer."""

    model: LlamaForCausalLM
    tokenizer: Tokenizer

    @staticmethod
    def load(path: Path) -> DequantisedLlama:
        """Reads a file."""
        reader = gguf.GGUFReader(path)
        config = configuration(reader)
        model = LlamaForCausalLM(config).eval()
        weights = {
            hugging_face_name(tensor.name): torch.from_numpy(unpermuted(tensor, config)) for tensor in reader.tensors
        }
        missing, superfluous = model.load_state_dict(weights, strict=False)
        if superfluous or set(missing) - {"lm_head.weight"}:
            raise SystemExit(f"`{path}` lacks {missing} and has {superfluous}")
        model.tie_weights()
        return DequantisedLlama(model, tokenizer(reader))

    def tokenize(self, text: str) -> list[int]:
        """Returns the ids of a text."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def loss(self, tokens: list[int]) -> float:
        """Returns the mean negative logarithm of the probability of every token but the first."""
        ids = torch.tensor([tokens])
        with torch.no_grad():
            logits = self.model(ids, use_cache=False).logits[0, :-1]
            return functional.cross_entropy(logits.double(), ids[0, 1:]).item()


def field(reader: gguf.GGUFReader, name: str) -> Any:
    """Returns a value of the file."""
    return reader.fields[name].contents()


def configuration(reader: gguf.GGUFReader) -> LlamaConfig:
    """Returns the configuration that the file's numbers mean."""
    return LlamaConfig(
        vocab_size=len(field(reader, "tokenizer.ggml.tokens")),
        hidden_size=field(reader, "llama.embedding_length"),
        intermediate_size=field(reader, "llama.feed_forward_length"),
        num_hidden_layers=field(reader, "llama.block_count"),
        num_attention_heads=field(reader, "llama.attention.head_count"),
        num_key_value_heads=field(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=field(reader, "llama.context_length"),
        rms_norm_eps=field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": field(reader, "llama.rope.freq_base")},
        tie_word_embeddings=True,
        attn_implementation="eager",
    )


LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hugging_face_name(name: str) -> str:
    """Returns transformers' name of a tensor."""
    model = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in model:
        return model[name]
    _, layer, part, ending = name.split(".")
    return f"model.layers.{layer}.{LAYER_NAMES[part]}.{ending}"


def unpermuted(tensor: Any, config: LlamaConfig) -> np.ndarray:
    """Returns a tensor in f32, rotated pairs half a head apart as transformers wants them."""
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    part = tensor.name.split(".")[-2]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(part)
    if heads is None:
        return values
    by_halves = values.reshape(heads, -1, 2, values.shape[1]).swapaxes(1, 2)
    return np.ascontiguousarray(by_halves.reshape(values.shape))


def tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    """Returns the tokenizer of the file; only the one of SmolLM2, which cuts digits off one by one."""
    if (name := field(reader, "tokenizer.ggml.pre")) != "smollm":
        raise SystemExit(f"pre-tokenizer `{name}` is not `smollm`")
    tokens = field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in field(reader, "tokenizer.ggml.merges")]
    made = Tokenizer(BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    types = field(reader, "tokenizer.ggml.token_type")
    whole = [token for token, kind in zip(tokens, types) if kind in (CONTROL, USER_DEFINED)]
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in whole])
    return made
