"""PyTorch's training step: takes the network (gpt, cnn or unet), steps, threads, `eager` or `compile`, and `f32` or `bf16`; prints the
median of the milliseconds of a step as JSON.

The networks are those of crates/trainer/examples/training_speed.rs, layer by layer. It runs in the rivals' Python, as a process of its own. The
first steps are a warm-up and do not count. Images have their channels last, which is what PyTorch's convolutions are quickest with, and
AdamW is the fused one.
"""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WARM_UP = 3
VOCABULARY, WIDTH, LAYERS, HEADS, CONTEXT, BATCH = 4096, 256, 4, 4, 128, 16


class GptLayer(nn.Module):
    """A layer of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.attn_proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.c_fc, self.mlp_proj = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        parts = self.c_attn(self.ln_1(x)).view(batch, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
        x = x + self.attn_proj(found.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    """GPT-2 without a tied output."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(GptLayer() for _ in range(LAYERS))
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe.weight
        for layer in self.layers:
            x = layer(x)
        return self.head(self.ln_f(x))


class Cnn(nn.Module):
    """Three convolutions with batch norm, ReLU and the greatest of 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        widths = [1, 32, 64, 128]
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(widths, widths[1:]))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        for convolution, norm in zip(self.convolutions, self.norms):
            x = F.max_pool2d(F.relu(norm(convolution(x))), 2)
        return self.fc(x.mean((2, 3)))


class Block(nn.Module):
    """A residual block of the U-Net."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.time = nn.Linear(128, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time_embedding: Tensor) -> Tensor:
        found = self.conv1(F.silu(self.norm1(x))) + self.time(time_embedding)[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(found)))


class Attention(nn.Module):
    """Attention over the pixels of an image, with one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.inputs, self.output = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        rows = self.norm(x).permute(0, 2, 3, 1).reshape(count, 1, height * width, channels)
        found = self.output(F.scaled_dot_product_attention(*self.inputs(rows).chunk(3, -1)))
        return x + found.reshape(count, height, width, channels).permute(0, 3, 1, 2)


class Unet(nn.Module):
    """The U-Net of the original with levels of 32, 64 and 64 channels and two blocks each; attention at the last level and in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.classes = nn.Linear(32, 128), nn.Linear(128, 128), nn.Embedding(11, 128)
        self.input = nn.Conv2d(1, 32, 3, padding=1)
        self.down = nn.ModuleList(Block(a, b) for a, b in [(32, 32), (32, 32), (32, 64), (64, 64), (64, 64), (64, 64)])
        self.downsample = nn.ModuleList([nn.Conv2d(32, 32, 3, 2, 1), nn.Conv2d(64, 64, 3, 2, 1)])
        self.middle = nn.ModuleList([Block(64, 64), Block(64, 64)])
        self.attention = nn.ModuleList(Attention(64) for _ in range(5))
        self.up = nn.ModuleList(Block(a, b) for a, b in [(128, 64), (128, 64), (128, 64), (128, 64), (96, 32), (64, 32)])
        self.upsample = nn.ModuleList([nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)])
        self.output_norm, self.output = nn.GroupNorm(8, 32), nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, images: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        angles = timesteps[:, None] * torch.exp(-math.log(10_000) * torch.arange(16) / 16)
        embedded = F.silu(self.first(torch.cat([angles.cos(), angles.sin()], 1)))
        embedded = F.silu(self.second(embedded) + self.classes(labels))
        x, left = self.input(images), []
        for level in range(3):
            for number in range(2):
                x = self.down[2 * level + number](x, embedded)
                if level == 2:
                    x = self.attention[number](x)
                left.append(x)
            if level < 2:
                x = self.downsample[level](x)
        x = self.middle[1](self.attention[4](self.middle[0](x, embedded)), embedded)
        for level in range(3):
            for number in range(2):
                x = self.up[2 * level + number](torch.cat([x, left.pop()], 1), embedded)
                if level == 0:
                    x = self.attention[2 + number](x)
            if level < 2:
                x = self.upsample[level](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.output(F.silu(self.output_norm(x)))


def make(name: str) -> tuple[nn.Module, tuple[Tensor, ...], Tensor]:
    """Returns a network, what goes in, and what should come out."""
    if name == "gpt":
        tokens = torch.randint(VOCABULARY, (BATCH, CONTEXT))
        return Gpt(), (tokens,), torch.randint(VOCABULARY, (BATCH * CONTEXT,))
    if name == "cnn":
        images = torch.randn(64, 1, 28, 28).to(memory_format=torch.channels_last)
        return Cnn().to(memory_format=torch.channels_last), (images,), torch.randint(10, (64,))
    images = torch.randn(32, 1, 28, 28).to(memory_format=torch.channels_last)
    inputs = (images, torch.randint(1000, (32,)), torch.randint(11, (32,)))
    return Unet().to(memory_format=torch.channels_last), inputs, torch.randn_like(images)


def main() -> None:
    """Prints the median."""
    name, steps, threads, way, precision = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    model, inputs, wanted = make(name)
    run = torch.compile(model) if way == "compile" else model
    plain = [value for value in model.parameters() if value.ndim < 2]
    shrunk = [value for value in model.parameters() if value.ndim >= 2]
    groups = [{"params": shrunk, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    narrow = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with narrow:
            found = run(*inputs)
            loss = F.mse_loss(found, wanted) if name == "unet" else F.cross_entropy(found.view(-1, found.shape[-1]), wanted)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for _ in range(WARM_UP):
        step()
    times = []
    for _ in range(int(steps)):
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    print(json.dumps({"milliseconds": statistics.median(times)}))


if __name__ == "__main__":
    main()
