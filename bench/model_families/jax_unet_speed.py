"""JAX on the U-Net, compiled: takes the file, seconds and batch; prints runs per second as JSON, and the largest difference from PyTorch's
numbers as a share of the largest number. XLA takes as many threads as it is given cores.

It runs in the rivals' Python, as a process of its own. The first runs are a warm-up and do not count.
"""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

sys.path.append(str(Path(__file__).resolve().parent))

import unet

WARM_UP = 2
LEAST_RUNS = 3
SILU = jax.nn.silu
Weights = dict[str, jax.Array]


def convolve(weights: Weights, name: str, images: jax.Array, stride: int = 1) -> jax.Array:
    """Convolves images with their channels last."""
    kernel = weights[f"{name}.weight"]
    around = kernel.shape[0] // 2
    found = jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), [(around, around)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return found + weights[f"{name}.bias"]


def linear(weights: Weights, name: str, rows: jax.Array) -> jax.Array:
    """Multiplies rows."""
    return rows @ weights[f"{name}.weight"] + weights[f"{name}.bias"]


def norm(weights: Weights, name: str, images: jax.Array) -> jax.Array:
    """Brings groups of channels to one size."""
    grouped = images.reshape(*images.shape[:3], unet.SHAPE.groups, -1)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = ((grouped - mean) ** 2).mean((1, 2, 4), keepdims=True)
    found = ((grouped - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(images.shape)
    return found * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def block(weights: Weights, name: str, images: jax.Array, time_embedding: jax.Array) -> jax.Array:
    """A residual block."""
    found = convolve(weights, f"{name}.conv1", SILU(norm(weights, f"{name}.norm1", images)))
    found = found + linear(weights, f"{name}.time", SILU(time_embedding))[:, None, None]
    found = convolve(weights, f"{name}.conv2", SILU(norm(weights, f"{name}.norm2", found)))
    is_wider = f"{name}.shortcut.weight" in weights
    return found + (convolve(weights, f"{name}.shortcut", images) if is_wider else images)


def attention(weights: Weights, name: str, images: jax.Array) -> jax.Array:
    """Attention over the pixels of an image."""
    count, height, width, channels = images.shape
    rows = norm(weights, f"{name}.norm", images).reshape(count, height * width, channels)
    heads = [linear(weights, f"{name}.{part}", rows).reshape(count, height * width, -1, 64) for part in ("query", "key", "value")]
    found = jax.nn.dot_product_attention(*heads).reshape(rows.shape)
    return images + linear(weights, f"{name}.output", found).reshape(images.shape)


def predict(weights: Weights, images: jax.Array, timesteps: jax.Array) -> jax.Array:
    """Predicts."""
    shape = unet.SHAPE
    half = shape.base_channels // 2
    angles = timesteps[:, None] * jnp.exp(-math.log(10_000) * jnp.arange(half) / half)
    time_embedding = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], 1)
    time_embedding = linear(weights, "time_embedding.first", time_embedding)
    time_embedding = linear(weights, "time_embedding.second", SILU(time_embedding))

    def stage(name: str, number: int, images: jax.Array) -> jax.Array:
        found = block(weights, f"{name}.blocks.{number}", images, time_embedding)
        has_attention = f"{name}.attention.{number}.norm.weight" in weights
        return attention(weights, f"{name}.attention.{number}", found) if has_attention else found

    found, left = convolve(weights, "input", images), []
    levels = range(len(shape.multiples))
    for level in levels:
        for number in range(shape.blocks):
            found = stage(f"down.{level}", number, found)
            left.append(found)
        if level + 1 < len(levels):
            found = convolve(weights, f"down.{level}.downsample", found, 2)
    found = block(weights, "middle.0", found, time_embedding)
    found = attention(weights, "middle.attention", found)
    found = block(weights, "middle.1", found, time_embedding)
    for level in reversed(levels):
        for number in range(shape.blocks):
            found = stage(f"up.{level}", number, jnp.concatenate([found, left.pop()], 3))
        if level > 0:
            found = convolve(weights, f"up.{level}.upsample", found.repeat(2, 1).repeat(2, 2))
    return convolve(weights, "output", SILU(norm(weights, "output_norm", found)))


def laid_out(path: str) -> Weights:
    """Returns the weights as JAX's convolutions and products take them."""
    turn = lambda value: value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return {name: jnp.asarray(turn(value)) for name, value in load_file(path).items()}


def difference(weights: Weights, path: str) -> float:
    """Returns how far the numbers are from PyTorch's: a rival that computes something else is none."""
    import torch
    from safetensors.torch import load_file as load_torch

    model = unet.make()
    model.load_state_dict(load_torch(path))
    images = np.sin(0.37 * np.arange(3 * unet.SIDE**2, dtype=np.float32)).reshape(1, 3, unet.SIDE, unet.SIDE)
    with torch.no_grad():
        expected = model(torch.from_numpy(images), torch.tensor([500])).numpy().transpose(0, 2, 3, 1)
    found = np.asarray(jax.jit(predict)(weights, jnp.asarray(images.transpose(0, 2, 3, 1)), jnp.array([500.0])))
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def main() -> None:
    """Prints the rate."""
    path, seconds, batch = sys.argv[1:]
    weights = laid_out(path)
    run = jax.jit(predict)
    images = jax.random.normal(jax.random.key(1), (int(batch), unet.SIDE, unet.SIDE, 3))
    timesteps = jnp.full((int(batch),), unet.TIMESTEPS / 2)
    for _ in range(WARM_UP):
        run(weights, images, timesteps).block_until_ready()
    runs, begin = 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - begin < float(seconds):
        run(weights, images, timesteps).block_until_ready()
        runs += 1
    rate = runs / (time.perf_counter() - begin)
    print(json.dumps({"runs_per_second": rate, "difference": difference(weights, path)}))


if __name__ == "__main__":
    main()
