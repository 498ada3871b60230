"""The decoder of the original system, as a PyTorch module: learned positions, norms after the sums, GELU, no biases on queries, keys and values.

Its configuration has the names of the record's metadata. The tensors of its safetensors form:

    token_embedding.weight                          [vocab_size, d_model]
    position_embedding.weight                       [max_seq_len, d_model]
    layers.N.attention.{query,key,value}.weight     [d_model, d_model]
    layers.N.attention.output.{weight,bias}         [d_model, d_model], [d_model]
    layers.N.attention_norm.{weight,bias}           [d_model]
    layers.N.feed_forward.up.{weight,bias}          [d_ff, d_model], [d_ff]
    layers.N.feed_forward.down.{weight,bias}        [d_model, d_ff], [d_model]
    layers.N.feed_forward_norm.{weight,bias}        [d_model]
    output.{weight,bias}                            [vocab_size, d_model], [vocab_size]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """Causal attention of several heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        length, width = rows.shape

        def by_head(projected: torch.Tensor) -> torch.Tensor:
            return projected.view(length, self.heads, width // self.heads).transpose(0, 1)

        query, key, value = by_head(self.query(rows)), by_head(self.key(rows)), by_head(self.value(rows))
        scores = query @ key.transpose(1, 2) / (width // self.heads) ** 0.5
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(future, float("-inf")).softmax(-1) @ value
        return self.output(mixed.transpose(0, 1).reshape(length, width))


class FeedForward(nn.Module):
    """Two products with a GELU (the error function's) between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner)
        self.down = nn.Linear(inner, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.up(rows)))


class Layer(nn.Module):
    """Attention and feed-forward, each added to what came in and normalised after that."""

    def __init__(self, width: int, heads: int, inner: int, epsilon: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, epsilon)
        self.feed_forward = FeedForward(width, inner)
        self.feed_forward_norm = nn.LayerNorm(width, epsilon)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        rows = self.attention_norm(rows + self.attention(rows))
        return self.feed_forward_norm(rows + self.feed_forward(rows))


class PostNormDecoder(nn.Module):
    """The whole model: token ids of one sequence to logits of every position."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, epsilon = config["d_model"], config["layer_norm_eps"]
        self.token_embedding = nn.Embedding(config["vocab_size"], width)
        self.position_embedding = nn.Embedding(config["max_seq_len"], width)
        layer = lambda: Layer(width, config["num_heads"], config["d_ff"], epsilon)
        self.layers = nn.ModuleList(layer() for _ in range(config["num_layers"]))
        self.output = nn.Linear(width, config["vocab_size"])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = self.token_embedding(tokens) + self.position_embedding(torch.arange(len(tokens)))
        for layer in self.layers:
            rows = layer(rows)
        return self.output(rows)
