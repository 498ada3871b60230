"""The U-Net in plain PyTorch; its modules have the names that the files have (crates/native/src/diffusion/layout.rs)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    """How a U-Net is made."""

    image_channels: int
    base_channels: int
    time_emb_dim: int
    #: Channels of each level, as multiples of the base.
    multiples: tuple[int, ...]
    blocks: int
    #: The levels with attention.
    attention: tuple[int, ...]
    middle_attention: bool = True
    groups: int = 8
    heads: int | None = None
    num_classes: int | None = None
    #: The levels with a transposed convolution instead of doubled pixels.
    transposed: tuple[int, ...] = field(default=())


class Block(nn.Module):
    """A residual block."""

    def __init__(self, shape: Shape, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(shape.groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(shape.time_emb_dim, outputs)
        self.norm2 = nn.GroupNorm(shape.groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, images: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Adds what the convolutions make of images and the time embedding to them."""
        found = self.conv1(functional.silu(self.norm1(images)))
        found = found + self.time(functional.silu(time))[:, :, None, None]
        found = self.conv2(functional.silu(self.norm2(found)))
        return found + (self.shortcut(images) if self.shortcut is not None else images)


class Attention(nn.Module):
    """Attention over the pixels of an image."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        self.heads = shape.heads or max(1, channels // 64)
        self.norm = nn.GroupNorm(shape.groups, channels)
        self.query, self.key, self.value, self.output = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Adds to each pixel what it finds in the others."""
        rows = self.norm(images).flatten(2).transpose(1, 2)
        heads = lambda part: part(rows).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        found = functional.scaled_dot_product_attention(heads(self.query), heads(self.key), heads(self.value))
        found = self.output(found.transpose(1, 2).flatten(2))
        return images + found.transpose(1, 2).unflatten(2, images.shape[2:])


class Level(nn.Module):
    """Blocks and attention of one size of images."""

    def __init__(self, shape: Shape, number: int, widths: list[tuple[int, int]]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(shape, *width) for width in widths)
        self.attention = None
        if number in shape.attention:
            self.attention = nn.ModuleList(Attention(shape, outputs) for _, outputs in widths)

    def stage(self, number: int, images: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """Runs a block and the attention after it."""
        images = self.blocks[number](images, time)
        return self.attention[number](images) if self.attention is not None else images


class Unet(nn.Module):
    """The network."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        base, time = shape.base_channels, shape.time_emb_dim
        self.width = base
        self.time_embedding = nn.ModuleDict({"first": nn.Linear(base, time), "second": nn.Linear(time, time)})
        if shape.num_classes is not None:
            self.class_embedding = nn.Embedding(shape.num_classes + 1, time)
        self.no_class = shape.num_classes
        self.input = nn.Conv2d(shape.image_channels, base, 3, padding=1)
        widths = [base * multiple for multiple in shape.multiples]
        self.down, left, channels = nn.ModuleList(), [], base
        for number, width in enumerate(widths):
            pairs = [(channels if block == 0 else width, width) for block in range(shape.blocks)]
            level = Level(shape, number, pairs)
            if number + 1 < len(widths):
                level.downsample = nn.Conv2d(width, width, 3, 2, 1)
            self.down.append(level)
            left += [width] * shape.blocks
            channels = width
        self.middle = nn.ModuleDict({"0": Block(shape, channels, channels), "1": Block(shape, channels, channels)})
        if shape.middle_attention:
            self.middle["attention"] = Attention(shape, channels)
        self.up = nn.ModuleList([nn.Module() for _ in widths])
        for number in reversed(range(len(widths))):
            pairs = []
            for _ in range(shape.blocks):
                pairs.append((channels + left.pop(), widths[number]))
                channels = widths[number]
            level = Level(shape, number, pairs)
            if number in shape.transposed:
                level.transposed = nn.ConvTranspose2d(channels, channels, 4, 2, 1)
            elif number > 0:
                level.upsample = nn.Conv2d(channels, channels, 3, padding=1)
            self.up[number] = level
        self.output_norm = nn.GroupNorm(shape.groups, channels)
        self.output = nn.Conv2d(channels, shape.image_channels, 3, padding=1)

    def embed(self, timesteps: torch.Tensor, classes: torch.Tensor | None) -> torch.Tensor:
        """Returns what blocks are told of timestep and class."""
        half = self.width // 2
        frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=timesteps.device) / half)
        angles = timesteps[:, None].to(frequencies.dtype) * frequencies
        time = torch.cat([angles.cos(), angles.sin()], 1).to(self.input.weight.dtype)
        time = self.time_embedding["second"](functional.silu(self.time_embedding["first"](time)))
        return time if self.no_class is None else time + self.class_embedding(classes)

    def forward(
        self, images: torch.Tensor, timesteps: torch.Tensor, classes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predicts; `no_class` stands for no class."""
        time = self.embed(timesteps, classes)
        found, left = self.input(images), []
        for level in self.down:
            for number in range(len(level.blocks)):
                found = level.stage(number, found, time)
                left.append(found)
            if hasattr(level, "downsample"):
                found = level.downsample(found)
        found = self.middle["0"](found, time)
        if "attention" in self.middle:
            found = self.middle["attention"](found)
        found = self.middle["1"](found, time)
        for level in reversed(self.up):
            for number in range(len(level.blocks)):
                found = level.stage(number, torch.cat([found, left.pop()], 1), time)
            if hasattr(level, "transposed"):
                found = level.transposed(found)
            elif hasattr(level, "upsample"):
                found = level.upsample(functional.interpolate(found, scale_factor=2, mode="nearest"))
        return self.output(functional.silu(self.output_norm(found)))
