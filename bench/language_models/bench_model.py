"""Makes the bench model: a llama of 134.1 million parameters with random weights, as Hugging Face directories and GGUF files.

It says nothing anybody would read; it is for speed. Runs in the rivals' Python: folder and `llama-quantize` are its arguments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
sys.path.append(str(Path(__file__).resolve().parents[1]))

from decoder_references import gguf_files

SEED = 134
LAYERS, WIDTH, INNER, VOCAB_SIZE = 12, 768, 2048, 32_000
# Small enough for even attention and logits near zero, as in a model before its training.
DEVIATION = 0.02

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCAB_SIZE,
    "bos_token_id": VOCAB_SIZE - 2,
    "eos_token_id": VOCAB_SIZE - 1,
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
}

QUANTISED = {"q8_0": "Q8_0", "q4_0": "Q4_0", "q4_k": "Q4_K_S"}


def main() -> None:
    """Writes all forms but the ONNX graphs."""
    folder, quantise = Path(sys.argv[1]), sys.argv[2]
    tensors = {name: torch.from_numpy(values(name, shape)) for name, shape in shapes().items()}
    for storage, kind in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        write_hugging_face(folder / f"hugging-face-{storage}", tensors, kind)
    write_gguf(folder / "f32.gguf", tensors, gguf.GGMLQuantizationType.F32)
    write_gguf(folder / "bf16.gguf", tensors, gguf.GGMLQuantizationType.BF16)
    for name, kind in QUANTISED.items():
        # Pure: every matrix in the one type.
        command = [quantise, "--pure", str(folder / "f32.gguf"), str(folder / f"{name}.gguf"), kind, "2"]
        subprocess.run(command, stdout=sys.stderr, check=True)


def shapes() -> dict[str, tuple[int, ...]]:
    """Returns the tensors by name."""
    layer = {
        "input_layernorm": (WIDTH,),
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (WIDTH, WIDTH),
        "self_attn.v_proj": (WIDTH, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "post_attention_layernorm": (WIDTH,),
        "mlp.gate_proj": (INNER, WIDTH),
        "mlp.up_proj": (INNER, WIDTH),
        "mlp.down_proj": (WIDTH, INNER),
    }
    named = {"model.embed_tokens.weight": (VOCAB_SIZE, WIDTH)}
    for number in range(LAYERS):
        named |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return named | {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCAB_SIZE, WIDTH)}


def values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns a tensor, the same in every run."""
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    return generator.standard_normal(shape, np.float32) * np.float32(DEVIATION)


def write_hugging_face(folder: Path, tensors: dict[str, torch.Tensor], kind: torch.dtype) -> None:
    """Writes a directory."""
    folder.mkdir(exist_ok=True)
    stored = {name: tensor.to(kind) for name, tensor in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = {**CONFIG, "torch_dtype": str(kind).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(), ensure_ascii=False) + "\n")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin|>", "eos_token": "<|end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def write_gguf(path: Path, tensors: dict[str, torch.Tensor], kind: gguf.GGMLQuantizationType) -> None:
    """Writes a file."""
    writer = gguf.GGUFWriter(path, "llama")
    gguf_files.write_metadata(writer, CONFIG)
    alphabet, merges, special = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*alphabet, *map("".join, merges), *special])
    writer.add_token_types([gguf_files.NORMAL] * (len(alphabet) + len(merges)) + [gguf_files.CONTROL] * len(special))
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(CONFIG["bos_token_id"])
    writer.add_eos_token_id(CONFIG["eos_token_id"])
    writer.add_add_bos_token(False)
    for name, tensor in tensors.items():
        stored_name = gguf_files.gguf_name(name)
        stored = gguf_files.permuted(tensor.numpy(), CONFIG, stored_name)
        is_matrix = stored.ndim > 1 and kind != gguf.GGMLQuantizationType.F32
        writer.add_tensor(
            stored_name,
            gguf.quants.quantize(stored, kind) if is_matrix else stored,
            raw_dtype=kind if is_matrix else gguf.GGMLQuantizationType.F32,
        )
    gguf_files.close(writer)


def vocabulary() -> tuple[list[str], list[tuple[str, str]], list[str]]:
    """Returns the 256 bytes, as many pairs of them as there is room for, and the special tokens."""
    alphabet = sorted(byte_characters())
    special = ["<|begin|>", "<|end|>"]
    room = VOCAB_SIZE - len(alphabet) - len(special)
    # Pairs of letters first, so that words become half as many tokens as bytes.
    letters = sorted(alphabet, key=lambda character: (not character.isascii() and character != "Ġ", character))
    merges = [(left, right) for left in letters for right in letters][:room]
    return alphabet, merges, special


def byte_characters() -> list[str]:
    """Returns the characters that stand for the 256 bytes in byte-level vocabularies."""
    themselves = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in themselves] + [chr(0x100 + number) for number in range(256 - len(themselves))]


def tokenizer_json() -> dict[str, Any]:
    """Returns `tokenizer.json`."""
    alphabet, merges, special = vocabulary()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokens = [*alphabet, *map("".join, merges), *special]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    ids = {token: number for number, token in enumerate(tokens)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[token], "content": token, **flags, "special": True} for token in special],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "unk_token": None, "vocab": ids, "merges": [list(pair) for pair in merges]},
    }


if __name__ == "__main__":
    main()
