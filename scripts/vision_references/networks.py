"""Networks in plain PyTorch whose modules have the names that the files of a family have."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

CLASSES = 5


class Classifier(nn.Module):
    """Features, and what names classes from them."""

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Returns logits."""
        return (self.fc if hasattr(self, "fc") else self.classifier)(features)


class Block(nn.Module):
    """A block of torchvision's ResNet: two convolutions of 3 x 3, or three with the wide one in the middle."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        kinds = [(1, 1), (3, stride), (1, 1)] if bottleneck else [(3, stride), (3, 1)]
        channels = [inputs, *[width] * (len(kinds) - 1), outputs]
        self.count = len(kinds)
        for number, (size, step) in enumerate(kinds, 1):
            convolution = nn.Conv2d(channels[number - 1], channels[number], size, step, size // 2, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels[number]))
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Adds what the convolutions make of images to them."""
        found = images
        for number in range(1, self.count + 1):
            found = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(found))
            found = functional.relu(found) if number < self.count else found
        return functional.relu(found + (self.downsample(images) if self.downsample else images))


class ResNet(Classifier):
    """torchvision's ResNet, narrow."""

    def __init__(self, depths: list[int], bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        inputs = 6
        for stage, depth in enumerate(depths):
            width = 4 + 2 * stage
            outputs = 2 * width if bottleneck else width
            blocks = []
            for number in range(depth):
                blocks.append(Block(inputs, width, outputs, 2 if stage and not number else 1, bottleneck))
                inputs = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the mean of the last maps."""
        found = functional.max_pool2d(functional.relu(self.bn1(self.conv1(images))), 3, 2, 1)
        for stage in range(1, 5):
            found = getattr(self, f"layer{stage}")(found)
        return found.mean((2, 3))


class Cnn(Classifier):
    """The original's convolutional network."""

    def __init__(self) -> None:
        super().__init__()
        channels = [1, 6, 12, 24]
        for number in (1, 2, 3):
            convolution = nn.Conv2d(channels[number - 1], channels[number], 3, padding=1, bias=False)
            self.add_module(f"conv{number}", convolution)
            self.add_module(f"bn{number}", nn.BatchNorm2d(channels[number]))
        self.fc = nn.Linear(channels[-1], CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the mean of the last maps."""
        for number in (1, 2, 3):
            images = functional.relu(getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(images)))
            images = functional.max_pool2d(images, 2)
        return images.mean((2, 3))


class Attention(nn.Module):
    """Two heads."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Lets every row see every other."""
        heads = lambda part: part(rows).unflatten(-1, (2, -1)).transpose(1, 2)
        found = functional.scaled_dot_product_attention(heads(self.query), heads(self.key), heads(self.value))
        return self.output(found.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and two linear parts, each after a norm."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width)
        self.feed_forward_norm = nn.LayerNorm(width, eps=1e-6)
        self.feed_forward = nn.ModuleDict({"up": nn.Linear(width, inner), "down": nn.Linear(inner, width)})

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Adds both parts."""
        rows = rows + self.attention(self.attention_norm(rows))
        inner = functional.gelu(self.feed_forward["up"](self.feed_forward_norm(rows)))
        return rows + self.feed_forward["down"](inner)


class OriginalVit(Classifier):
    """The original's vision transformer. Its records say that it has two heads."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, width, 3, 3)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embedding = nn.Parameter(torch.zeros(1, 17, width))
        self.layers = nn.ModuleList(Layer(width, 40) for _ in range(2))
        self.final_norm = nn.LayerNorm(width, eps=1e-6)
        self.classifier = nn.Linear(width, CLASSES)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the class token after the last layer."""
        patches = self.patch_embedding(images).flatten(2).transpose(1, 2)
        rows = torch.cat([self.class_token.expand(len(images), -1, -1), patches], 1) + self.position_embedding
        for layer in self.layers:
            rows = layer(rows)
        return self.final_norm(rows)[:, 0]
