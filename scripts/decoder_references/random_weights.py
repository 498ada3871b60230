"""Random weights of which every one matters: no bias is zero, no norm is one, no attention is even."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
import torch

# Of the names of all families.
NORMS = ("norm", "ln_")
CONVOLUTIONS = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
EMBEDDINGS = ("embed", "wte", "wpe")
# Larger queries and keys: attention then prefers some tokens over others.
SHARPER = ("q_proj", "k_proj", "query", "key", "c_attn")


def fill(tensors: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Returns new values for the tensors of a model. Each depends on the seed, its name and its shape alone."""
    return {name: torch.from_numpy(values(name, tuple(tensor.shape), seed)) for name, tensor in tensors.items()}


def values(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Returns the values of one tensor."""
    drawn = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
    return (offset(name) + scale(name, shape) * drawn).astype(np.float32)


def offset(name: str) -> float:
    """Returns the mean."""
    return 1.0 if any(part in name for part in NORMS) and name.endswith("weight") else 0.0


def scale(name: str, shape: tuple[int, ...]) -> float:
    """Returns the deviation."""
    if len(shape) == 1:
        return 0.3
    if any(part in name for part in EMBEDDINGS):
        return 0.7
    inputs = shape[0] if name.endswith(CONVOLUTIONS) else shape[1]
    return (1.6 if any(part in name for part in SHARPER) else 1.1) / inputs**0.5
