"""JAX's training step, compiled: takes the network (gpt, cnn or unet) and steps; prints the median of the milliseconds of a step as JSON.

The networks are those of torch_training.py. XLA takes as many threads as it is given cores. AdamW and clipping are written out, so that all of
a step is one compiled program, whose weights and moments are updated in place.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

WARM_UP = 3
VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 4096, 256, 4, 4, 128, 16
SILU = jax.nn.silu
Weights = dict[str, jax.Array]


class Maker:
    """Makes weights."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.weights: dict[str, np.ndarray] = {}

    def linear(self, name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        """Adds a matrix."""
        self.weights[f"{name}.weight"] = self.random.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32)
        if bias:
            self.weights[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def convolution(self, name: str, inputs: int, outputs: int, side: int = 3, bias: bool = True) -> None:
        """Adds a convolution."""
        shape = (side, side, inputs, outputs)
        self.weights[f"{name}.weight"] = self.random.normal(0, (side * side * inputs) ** -0.5, shape).astype(np.float32)
        if bias:
            self.weights[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def norm(self, name: str, width: int) -> None:
        """Adds a gain and a bias."""
        self.weights[f"{name}.weight"], self.weights[f"{name}.bias"] = np.ones(width, np.float32), np.zeros(width, np.float32)

    def table(self, name: str, rows: int, width: int) -> None:
        """Adds rows."""
        self.weights[f"{name}.weight"] = self.random.normal(0, 0.02, (rows, width)).astype(np.float32)


def linear(w: Weights, name: str, x: jax.Array) -> jax.Array:
    """Multiplies rows."""
    found = x @ w[f"{name}.weight"]
    return found + w[f"{name}.bias"] if f"{name}.bias" in w else found


def convolve(w: Weights, name: str, x: jax.Array, stride: int = 1) -> jax.Array:
    """Convolves images with their channels last."""
    kernel = w[f"{name}.weight"]
    around = kernel.shape[0] // 2
    found = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), [(around, around)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return found + w[f"{name}.bias"] if f"{name}.bias" in w else found


def layer_norm(w: Weights, name: str, x: jax.Array) -> jax.Array:
    """Brings rows to one size."""
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def group_norm(w: Weights, name: str, x: jax.Array) -> jax.Array:
    """Brings groups of channels to one size."""
    grouped = x.reshape(*x.shape[:3], 8, -1)
    mean = grouped.mean((1, 2, 4), keepdims=True)
    variance = ((grouped - mean) ** 2).mean((1, 2, 4), keepdims=True)
    found = ((grouped - mean) * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)
    return found * w[f"{name}.weight"] + w[f"{name}.bias"]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns the mean cross-entropy."""
    logits = logits.reshape(-1, logits.shape[-1])
    return (jax.nn.logsumexp(logits, 1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]).mean()


def gpt() -> tuple[Weights, Callable[..., jax.Array], tuple[np.ndarray, ...]]:
    """GPT-2 without a tied output."""
    make = Maker()
    make.table("wte", VOCABULARY, WIDTH)
    make.table("wpe", CONTEXT, WIDTH)
    for layer in range(LAYERS):
        make.norm(f"{layer}.ln_1", WIDTH)
        make.norm(f"{layer}.ln_2", WIDTH)
        make.linear(f"{layer}.c_attn", WIDTH, 3 * WIDTH)
        make.linear(f"{layer}.attn_proj", WIDTH, WIDTH)
        make.linear(f"{layer}.c_fc", WIDTH, 4 * WIDTH)
        make.linear(f"{layer}.mlp_proj", 4 * WIDTH, WIDTH)
    make.norm("ln_f", WIDTH)
    make.linear("head", WIDTH, VOCABULARY, bias=False)

    def loss(w: Weights, tokens: jax.Array, labels: jax.Array) -> jax.Array:
        x = w["wte.weight"][tokens] + w["wpe.weight"]
        for layer in range(LAYERS):
            parts = linear(w, f"{layer}.c_attn", layer_norm(w, f"{layer}.ln_1", x)).reshape(BATCH, CONTEXT, 3, HEADS, -1)
            found = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2], is_causal=True)
            x = x + linear(w, f"{layer}.attn_proj", found.reshape(x.shape))
            inner = jax.nn.gelu(linear(w, f"{layer}.c_fc", layer_norm(w, f"{layer}.ln_2", x)), approximate=True)
            x = x + linear(w, f"{layer}.mlp_proj", inner)
        return cross_entropy(linear(w, "head", layer_norm(w, "ln_f", x)), labels)

    random = np.random.default_rng(1)
    return make.weights, loss, (random.integers(VOCABULARY, size=(BATCH, CONTEXT)), random.integers(VOCABULARY, size=BATCH * CONTEXT))


def cnn() -> tuple[Weights, Callable[..., jax.Array], tuple[np.ndarray, ...]]:
    """Three convolutions with batch norm, ReLU and the greatest of 2 x 2. Running statistics are left out, which costs JAX nothing."""
    make = Maker()
    widths = [1, 32, 64, 128]
    for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        make.convolution(f"conv{layer}", inputs, outputs, bias=False)
        make.norm(f"bn{layer}", outputs)
    make.linear("fc", 128, 10)

    def loss(w: Weights, x: jax.Array, labels: jax.Array) -> jax.Array:
        for layer in range(3):
            x = convolve(w, f"conv{layer}", x)
            mean = x.mean((0, 1, 2))
            variance = ((x - mean) ** 2).mean((0, 1, 2))
            x = (x - mean) * jax.lax.rsqrt(variance + 1e-5) * w[f"bn{layer}.weight"] + w[f"bn{layer}.bias"]
            x = jax.lax.reduce_window(jax.nn.relu(x), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return cross_entropy(linear(w, "fc", x.mean((1, 2))), labels)

    random = np.random.default_rng(1)
    return make.weights, loss, (random.normal(size=(64, 28, 28, 1)).astype(np.float32), random.integers(10, size=64))


def unet() -> tuple[Weights, Callable[..., jax.Array], tuple[np.ndarray, ...]]:
    """The U-Net of torch_training.py."""
    make = Maker()
    make.linear("first", 32, 128)
    make.linear("second", 128, 128)
    make.table("classes", 11, 128)
    make.convolution("input", 1, 32)
    sizes = {f"down{n}": pair for n, pair in enumerate([(32, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64)])}
    sizes |= {f"up{n}": pair for n, pair in enumerate([(128, 64), (128, 64), (128, 64), (128, 64), (96, 32), (64, 32)])}
    sizes |= {"middle0": (64, 64), "middle1": (64, 64)}
    for name, (inputs, outputs) in sizes.items():
        make.norm(f"{name}.norm1", inputs)
        make.norm(f"{name}.norm2", outputs)
        make.convolution(f"{name}.conv1", inputs, outputs)
        make.convolution(f"{name}.conv2", outputs, outputs)
        make.linear(f"{name}.time", 128, outputs)
        if inputs != outputs:
            make.convolution(f"{name}.shortcut", inputs, outputs, 1)
    for number, channels in enumerate([32, 64]):
        make.convolution(f"downsample{number}", channels, channels)
        make.convolution(f"upsample{number}", 64, 64)
    for number in range(5):
        make.norm(f"attention{number}.norm", 64)
        make.linear(f"attention{number}.inputs", 64, 192)
        make.linear(f"attention{number}.output", 64, 64)
    make.norm("output_norm", 32)
    make.convolution("output", 32, 1)

    def loss(w: Weights, images: jax.Array, timesteps: jax.Array, labels: jax.Array, noise: jax.Array) -> jax.Array:
        angles = timesteps[:, None] * jnp.exp(-math.log(10_000) * jnp.arange(16) / 16)
        embedded = SILU(linear(w, "first", jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], 1)))
        embedded = SILU(linear(w, "second", embedded) + w["classes.weight"][labels])

        def block(name: str, x: jax.Array) -> jax.Array:
            found = convolve(w, f"{name}.conv1", SILU(group_norm(w, f"{name}.norm1", x)))
            found = found + linear(w, f"{name}.time", embedded)[:, None, None]
            found = convolve(w, f"{name}.conv2", SILU(group_norm(w, f"{name}.norm2", found)))
            return found + (convolve(w, f"{name}.shortcut", x) if f"{name}.shortcut.weight" in w else x)

        def attend(name: str, x: jax.Array) -> jax.Array:
            count, height, width, channels = x.shape
            rows = linear(w, f"{name}.inputs", group_norm(w, f"{name}.norm", x)).reshape(count, height * width, 3, 1, channels)
            found = jax.nn.dot_product_attention(rows[:, :, 0], rows[:, :, 1], rows[:, :, 2])
            return x + linear(w, f"{name}.output", found.reshape(x.shape))

        x, left = convolve(w, "input", images), []
        for level in range(3):
            for number in range(2):
                x = block(f"down{2 * level + number}", x)
                x = attend(f"attention{number}", x) if level == 2 else x
                left.append(x)
            x = convolve(w, f"downsample{level}", x, 2) if level < 2 else x
        x = block("middle1", attend("attention4", block("middle0", x)))
        for level in range(3):
            for number in range(2):
                x = block(f"up{2 * level + number}", jnp.concatenate([x, left.pop()], 3))
                x = attend(f"attention{2 + number}", x) if level == 0 else x
            x = convolve(w, f"upsample{level}", x.repeat(2, 1).repeat(2, 2)) if level < 2 else x
        found = convolve(w, "output", SILU(group_norm(w, "output_norm", x)))
        return ((found - noise) ** 2).mean()

    random = np.random.default_rng(1)
    pictures = [random.normal(size=(32, 28, 28, 1)).astype(np.float32) for _ in range(2)]
    return make.weights, loss, (pictures[0], random.integers(1000, size=32), random.integers(11, size=32), pictures[1])


def main() -> None:
    """Prints the median."""
    name, steps = sys.argv[1:]
    weights, loss, inputs = {"gpt": gpt, "cnn": cnn, "unet": unet}[name]()

    def step(state: tuple[Weights, Weights, Weights, jax.Array], *inputs: jax.Array) -> tuple:
        w, first, second, count = state
        value, gradients = jax.value_and_grad(loss)(w, *inputs)
        norm = jnp.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
        scale = jnp.minimum(1.0, 1.0 / (norm + 1e-6))
        count = count + 1
        new_first = {key: 0.9 * first[key] + 0.1 * gradients[key] * scale for key in w}
        new_second = {key: 0.999 * second[key] + 0.001 * (gradients[key] * scale) ** 2 for key in w}
        rate = 1e-3 / (1 - 0.9**count)
        root = jax.lax.rsqrt(1 - 0.999**count)
        shrink = {key: 1e-5 if w[key].ndim > 1 else 0.0 for key in w}
        new = {key: w[key] * (1 - shrink[key]) - rate * new_first[key] / (jnp.sqrt(new_second[key]) * root + 1e-8) for key in w}
        return (new, new_first, new_second, count), value

    compiled = jax.jit(step, donate_argnums=0)
    weights = {key: jnp.asarray(value) for key, value in weights.items()}
    zeros = [{key: jnp.zeros_like(value) for key, value in weights.items()} for _ in range(2)]
    state, times = (weights, *zeros, jnp.float32(0)), []
    given = [jnp.asarray(value) for value in inputs]
    for number in range(WARM_UP + int(steps)):
        begin = time.perf_counter()
        state, value = compiled(state, *given)
        value.block_until_ready()
        jax.block_until_ready(state)
        if number >= WARM_UP:
            times.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps({"milliseconds": statistics.median(times)}))


if __name__ == "__main__":
    main()
