"""The cases: networks of the transformers library, and networks in plain PyTorch as files alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from .networks import Cnn, OriginalVit, ResNet

LABELS = {0: "小麦", 1: "maize", 2: "rice"}


def images(size: int, channels: int = 3) -> torch.Tensor:
    """Returns two images that the tests make in the same way."""
    count = 2 * channels * size * size
    return torch.from_numpy(np.sin(0.37 * np.arange(count)).astype(np.float32).reshape(2, channels, size, size))


def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Gives every weight and every statistic a random value, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.empty_like(value).uniform_(-1, 1, generator=generator)
        if "running_var" in name:
            value.copy_(noise.abs() + 0.5)
        elif value.dim() > 1:
            value.copy_(noise * (3.0 / value[0].numel()) ** 0.5)
        elif name.endswith("weight"):
            value.copy_(1 + noise * 0.3)
        else:
            value.copy_(noise * 0.3)
    return model.eval()


def write(folder: Path, size: int, logits: torch.Tensor, features: torch.Tensor) -> None:
    """Writes what was found."""
    found = {"image_size": size, "logits": logits.tolist(), "features": features.tolist()}
    (folder / "expected.json").write_text(json.dumps(found, indent=1) + "\n")


def hugging_face_vit(folder: Path) -> None:
    """Saves a ViT with a pre-processor and Chinese labels."""
    size = 12
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=size,
        patch_size=4,
        id2label=LABELS,
        label2id={name: number for number, name in LABELS.items()},
    )
    model = randomise(ViTForImageClassification(config), 1)
    model.save_pretrained(folder)
    processor = {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_processor_type": "ViTImageProcessor",
        "image_std": [0.5, 0.25, 0.2],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": size, "width": size},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")
    with torch.no_grad():
        batch = images(size)
        features = model.vit(batch).last_hidden_state[:, 0]
        write(folder, size, model(batch).logits, features)


def hugging_face_resnet(folder: Path, kind: str) -> None:
    """Saves a ResNet of one kind of blocks."""
    size = 40
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[8, 8, 12, 16], depths=[1, 2, 1, 1], layer_type=kind, id2label=LABELS
    )
    model = randomise(ResNetForImageClassification(config), 2)
    model.save_pretrained(folder)
    with torch.no_grad():
        batch = images(size)
        features = model.resnet(batch).pooler_output.flatten(1)
        write(folder, size, model(batch).logits, features)


def plain(folder: Path, model: torch.nn.Module, size: int, seed: int, suffix: str, channels: int = 3) -> None:
    """Saves a state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    model = randomise(model, seed)
    if suffix == "pth":
        torch.save(model.state_dict(), folder / "model.pth")
    else:
        save_file(model.state_dict(), folder / "model.safetensors")
    with torch.no_grad():
        features = model.features(images(size, channels))
        write(folder, size, model.classify(features), features)


CASES: dict[str, Callable[[Path], None]] = {
    "hf-vit": hugging_face_vit,
    "hf-resnet-basic": partial(hugging_face_resnet, kind="basic"),
    "hf-resnet-bottleneck": partial(hugging_face_resnet, kind="bottleneck"),
    "resnet-basic": lambda folder: plain(folder, ResNet([2, 1, 1, 1], False), 33, 3, "pth"),
    "resnet-bottleneck": lambda folder: plain(folder, ResNet([1, 1, 2, 1], True), 40, 4, "safetensors"),
    "cnn": lambda folder: plain(folder, Cnn(), 22, 5, "pth", channels=1),
    "vit": lambda folder: plain(folder, OriginalVit(), 12, 6, "safetensors"),
}
