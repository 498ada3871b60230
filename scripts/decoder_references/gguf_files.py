"""GGUF files as llama.cpp's converter writes them, and their values: transformers with the weights that the file means."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

from transformers import AutoConfig, AutoModelForCausalLM

from . import expected, ggml, hugging_face, random_weights, tokenizer
from .tokenizer import CONTROL, NORMAL
from .gguf_cases import GgufCase

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}

LAYER = re.compile(r"^(?:model\.layers|transformer\.h)\.(\d+)\.(.*)$")


def make(folder: Path, case: GgufCase) -> None:
    """Writes a file and what is expected of it."""
    hugging_face.fresh(folder)
    writer = gguf.GGUFWriter(folder / "model.gguf", case.config["model_type"])
    write_metadata(writer, case.config)
    write_tokens(writer)
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary)
        hugging_face.write_json(source / "config.json", {**case.config, "torch_dtype": "float32"})
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source))
        tensors = random_weights.fill(dict(model.named_parameters()), case.seed)
        meant = {name: add_tensor(writer, case, name, tensor.numpy()) for name, tensor in tensors.items()}
        hugging_face.write_tensors(source, meant, shards=1)
        values = expected.expect(hugging_face.load(source), case.prompt_length, case.seed)
    close(writer)
    made_with = f"{hugging_face.made_with()}, weights as the gguf package {gguf_version()} decodes them"
    expected.write(folder, case.what, made_with, values)


def add_tensor(writer: gguf.GGUFWriter, case: GgufCase, name: str, values: np.ndarray) -> torch.Tensor:
    """Adds a tensor to the file; returns what the file then says that it is, laid out as transformers wants it."""
    stored_name = gguf_name(name)
    transposed = name.endswith(random_weights.CONVOLUTIONS)
    stored = np.ascontiguousarray(values.T) if transposed else values
    stored = permuted(stored, case.config, stored_name)
    kind = Type.F32 if stored.ndim == 1 or "position" in stored_name else ggml.fitting(case.type_of(stored_name), stored.shape[1])
    encoded = ggml.encode(stored, kind)
    writer.add_tensor(stored_name, encoded, raw_dtype=kind)
    # Rows are stored one by one, so the order of the rows changes nothing in them.
    meant = ggml.decode(ggml.encode(np.ascontiguousarray(values.T) if transposed else values, kind), kind)
    return torch.from_numpy(np.ascontiguousarray(meant.T if transposed else meant))


def gguf_name(name: str) -> str:
    """Returns the name in the file."""
    stem, _, ending = name.rpartition(".")
    if found := LAYER.match(stem):
        return f"blk.{found[1]}.{NAMES[found[2]]}.{ending}"
    return f"{NAMES[stem]}.{ending}"


def permuted(values: np.ndarray, config: dict[str, Any], name: str) -> np.ndarray:
    """Reorders queries and keys of `llama`: there a rotated pair lies side by side, not half a head apart."""
    heads = {"attn_q": config.get("num_attention_heads"), "attn_k": config.get("num_key_value_heads")}
    part = name.split(".")[-2]
    if config["model_type"] != "llama" or part not in heads:
        return values
    by_pairs = values.reshape(heads[part], 2, -1, *values.shape[1:]).swapaxes(1, 2)
    return np.ascontiguousarray(by_pairs.reshape(values.shape))


def write_metadata(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """Writes the shape."""
    if config["model_type"] == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_embedding_length(config["n_embd"])
        writer.add_feed_forward_length(config["n_inner"])
        writer.add_block_count(config["n_layer"])
        writer.add_head_count(config["n_head"])
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
        return
    head_width = config.get("head_dim", config["hidden_size"] // config["num_attention_heads"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    if "head_dim" in config:
        writer.add_key_length(head_width)
        writer.add_value_length(head_width)
    else:
        writer.add_rope_dimension_count(head_width)
    write_scaling(writer, config, head_width)


def write_scaling(writer: gguf.GGUFWriter, config: dict[str, Any], head_width: int) -> None:
    """Writes how positions are scaled: as settings, or for llama3 as a tensor of divisors."""
    scaling = config.get("rope_scaling")
    if not scaling:
        return
    if scaling["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(scaling, config["rope_theta"], head_width))
        return
    writer.add_rope_scaling_type(gguf.RopeScalingType(scaling["rope_type"]))
    writer.add_rope_scaling_factor(scaling["factor"])
    if original := scaling.get("original_max_position_embeddings"):
        writer.add_rope_scaling_orig_ctx_len(original)


def llama3_divisors(scaling: dict[str, Any], base: float, head_width: int) -> np.ndarray:
    """Returns what llama.cpp divides each frequency by."""
    factor, low, high = scaling["factor"], scaling["low_freq_factor"], scaling["high_freq_factor"]
    original = scaling["original_max_position_embeddings"]
    divisors = []
    for pair in range(head_width // 2):
        turns = original / (2 * math.pi * base ** (2 * pair / head_width))
        share = min(max((turns - low) / (high - low), 0.0), 1.0)
        divisors.append(1 / ((1 - share) / factor + share))
    return np.array(divisors, np.float32)


def write_tokens(writer: gguf.GGUFWriter) -> None:
    """Writes the tables of the tokenizer."""
    tokens, types, merges = tokenizer.gguf_tables()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tokenizer.BEGIN_ID)
    writer.add_eos_token_id(tokenizer.END_ID)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.tokenizer_config()["chat_template"])


def close(writer: gguf.GGUFWriter) -> None:
    """Writes everything out."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_version() -> str:
    """Returns the version of the gguf package."""
    from importlib.metadata import version

    return version("gguf")
