"""PyTorch on the bench model in bf16: takes directory, threads, streams, prompt and new tokens; prints its rates as JSON.

Written against PyTorch's own fused functions, with caches that stay where they are: a model of a library would add its own
overhead. It runs in the rivals' Python, as a process of its own. The first run is a warm-up and does not count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional


class Decoder:
    """The model, and the caches of all layers."""

    def __init__(self, folder: Path, streams: int, length: int) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        self.heads = self.config["num_attention_heads"]
        self.width = self.config["hidden_size"] // self.heads
        self.layers = [self.layer(weights, number) for number in range(self.config["num_hidden_layers"])]
        self.embedding, self.output = weights["model.embed_tokens.weight"], weights["lm_head.weight"]
        self.final_norm = weights["model.norm.weight"]
        self.cache = torch.zeros(len(self.layers), 2, streams, self.heads, length, self.width, dtype=torch.bfloat16)
        frequencies = self.config["rope_theta"] ** (-torch.arange(0, self.width, 2) / self.width)
        angles = torch.arange(length)[:, None] * frequencies.repeat(2)
        self.cosines, self.sines = angles.cos().bfloat16(), angles.sin().bfloat16()
        self.filled = 0

    @staticmethod
    def layer(weights: dict[str, torch.Tensor], number: int) -> dict[str, torch.Tensor]:
        """Returns the weights of a layer, those of one input side by side."""
        of = lambda name: weights[f"model.layers.{number}.{name}.weight"]
        return {
            "norm": of("input_layernorm"),
            "qkv": torch.cat([of(f"self_attn.{part}_proj") for part in "qkv"]),
            "o": of("self_attn.o_proj"),
            "second_norm": of("post_attention_layernorm"),
            "gate_up": torch.cat([of("mlp.gate_proj"), of("mlp.up_proj")]),
            "down": of("mlp.down_proj"),
        }

    def norm(self, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Returns rows of equal length."""
        return functional.rms_norm(rows, weight.shape, weight, self.config["rms_norm_eps"])

    def rotate(self, rows: torch.Tensor, begin: int, end: int) -> torch.Tensor:
        """Returns queries or keys, turned by their positions."""
        half = self.width // 2
        turned = torch.cat([-rows[..., half:], rows[..., :half]], -1)
        return rows * self.cosines[begin:end] + turned * self.sines[begin:end]

    def attend(self, number: int, qkv: torch.Tensor) -> torch.Tensor:
        """Returns what every position takes from those before it."""
        streams, count, _ = qkv.shape
        begin, end = self.filled, self.filled + count
        query, key, value = qkv.view(streams, count, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        keys, values = self.cache[number]
        keys[:, :, begin:end] = self.rotate(key, begin, end)
        values[:, :, begin:end] = value
        mixed = functional.scaled_dot_product_attention(
            self.rotate(query, begin, end), keys[:, :, :end], values[:, :, :end], is_causal=count > 1
        )
        return mixed.transpose(1, 2).reshape(streams, count, -1)

    @torch.inference_mode()
    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Takes tokens in; returns the most likely next ones."""
        rows = self.embedding[tokens]
        for number, layer in enumerate(self.layers):
            mixed = self.attend(number, functional.linear(self.norm(rows, layer["norm"]), layer["qkv"]))
            rows = rows + functional.linear(mixed, layer["o"])
            gate, up = functional.linear(self.norm(rows, layer["second_norm"]), layer["gate_up"]).chunk(2, -1)
            rows = rows + functional.linear(functional.silu(gate) * up, layer["down"])
        self.filled += tokens.shape[1]
        return functional.linear(self.norm(rows[:, -1], self.final_norm), self.output).argmax(-1)


def main() -> None:
    """Prints tokens per second of prompt and continuation."""
    folder = Path(sys.argv[1])
    threads, streams, prompt, new_tokens = map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    decoder = Decoder(folder, streams, prompt + new_tokens)
    tokens = torch.randint(0, decoder.config["vocab_size"] - 2, (streams, prompt), generator=torch.manual_seed(1))
    decoder.step(tokens)
    decoder.filled = 0
    begin = time.perf_counter()
    latest = decoder.step(tokens)
    prefilled = time.perf_counter()
    for _ in range(new_tokens):
        latest = decoder.step(latest[:, None])
    end = time.perf_counter()
    print(
        json.dumps(
            {
                "prefill_tokens_per_second": streams * prompt / (prefilled - begin),
                "decode_tokens_per_second": streams * new_tokens / (end - prefilled),
            }
        )
    )


if __name__ == "__main__":
    main()
