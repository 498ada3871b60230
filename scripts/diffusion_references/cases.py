"""The cases: U-Nets that differ in everything that a file may leave out or have."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from .networks import Shape, Unet
from .sampling import cosine_shares, draw

#: How many timesteps all of them were "trained" with.
TIMESTEPS = 40
SEEN_TIMESTEPS = (0, 7, 39)


def waves(count: int, pace: float) -> np.ndarray:
    """Returns numbers that the tests make in the same way."""
    return np.sin(pace * np.arange(count)).astype(np.float32)


def pixels_last(images: np.ndarray) -> np.ndarray:
    """Returns images with the channels of a pixel side by side, as our port has them."""
    return images.transpose(0, 2, 3, 1)


def planes(numbers: np.ndarray, size: int, channels: int) -> np.ndarray:
    """Returns images as torch has them, of numbers with the channels of a pixel side by side."""
    return numbers.reshape(-1, size, size, channels).transpose(0, 3, 1, 2)


def randomise(model: Unet, seed: int) -> Unet:
    """Gives every weight a random value, so that none of them can be left out unseen."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        noise = torch.empty_like(value).uniform_(-1, 1, generator=generator)
        if value.dim() > 1:
            value.copy_(noise * (2.0 / value[0].numel()) ** 0.5)
        elif name.endswith("weight"):
            value.copy_(1 + noise * 0.3)
        else:
            value.copy_(noise * 0.3)
    return model.eval()


def make(folder: Path, shape: Shape, size: int, seed: int, form: str, kind: str = "epsilon") -> None:
    """Saves a model and what was computed with it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = randomise(Unet(shape), seed)
    settings = {"image_size": size, "num_timesteps": TIMESTEPS, "num_groups": shape.groups}
    if shape.heads is not None:
        settings["num_heads"] = shape.heads
    if kind != "epsilon":
        settings["prediction_type"] = kind
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if form == "pth":
        torch.save(state, folder / "model.pth")
    else:
        save_file(state, folder / "model.safetensors", {name: str(value) for name, value in settings.items()})
    classes = [None] if shape.num_classes is None else [None, 0, shape.num_classes - 1]
    with torch.no_grad():
        expected = {
            "settings": settings,
            "num_classes": shape.num_classes,
            "predictions": [
                {"timestep": timestep, "class": chosen, "numbers": predictions(model, shape, size, timestep, chosen)}
                for timestep in SEEN_TIMESTEPS
                for chosen in classes
            ],
        }
    (folder / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")


def class_rows(model: Unet, chosen: int | None, count: int) -> torch.Tensor | None:
    """Returns the row of a class for each of some images."""
    if model.no_class is None:
        return None
    return torch.full((count,), model.no_class if chosen is None else chosen)


def predictions(model: Unet, shape: Shape, size: int, timestep: int, chosen: int | None) -> list[list[float]]:
    """Returns what is predicted of two images."""
    numbers = waves(2 * size * size * shape.image_channels, 0.37)
    images = torch.from_numpy(planes(numbers, size, shape.image_channels).copy())
    found = model(images, torch.full((2,), timestep), class_rows(model, chosen, 2)).numpy()
    return [[float(number) for number in image.ravel()] for image in pixels_last(found)]


def prediction_without_network(images: np.ndarray, timestep: int, chosen: int | None) -> np.ndarray:
    """Stands for a network where only the drawing is looked at; the tests compute it as well."""
    return 0.8 * np.sin(0.9 * images + 0.05 * timestep + (0 if chosen is None else 0.4 * (chosen + 1)))


def sampling(file: Path) -> None:
    """Draws images in every way from noise that is given."""
    file.parent.mkdir(parents=True, exist_ok=True)
    count, shares, found = 24, cosine_shares(TIMESTEPS), []
    noise = lambda step: 1.7 * waves(count, 0.91 + 0.13 * step).astype(np.float64)
    for kind in ("epsilon", "sample", "v_prediction"):
        for sampler, eta, steps in (("ddim", 0.0, 5), ("ddim", 0.6, 5), ("ddpm", 1.0, 5), ("ddpm", 1.0, TIMESTEPS), ("ddim", 0.0, 1)):
            for chosen, guidance in ((None, None), (1, 3.0)):

                def predict(images: np.ndarray, timestep: int) -> np.ndarray:
                    without = prediction_without_network(images, timestep, None)
                    if chosen is None:
                        return without
                    return without + guidance * (prediction_without_network(images, timestep, chosen) - without)

                noises = [noise(step + 1) for step in range(steps)]
                drawn = draw(predict, noise(0), noises, shares, steps, kind=kind, sampler=sampler, eta=eta)
                found.append(
                    {
                        "prediction_type": kind,
                        "sampler": sampler,
                        "eta": eta,
                        "steps": steps,
                        "class": chosen,
                        "guidance_scale": guidance,
                        "images": drawn.tolist(),
                    }
                )
    drawn = {"timesteps": TIMESTEPS, "signal_shares": shares.tolist(), "cases": found}
    file.write_text(json.dumps(drawn) + "\n")


CASES: dict[str, Callable[[Path], None]] = {
    "grey": partial(
        make, shape=Shape(1, 8, 12, (1, 2), 2, (1,), groups=4, heads=2), size=12, seed=1, form="safetensors"
    ),
    "classes": partial(
        make, shape=Shape(3, 8, 16, (1, 2), 1, (), groups=8, num_classes=3), size=8, seed=2, form="safetensors", kind="v_prediction"
    ),
    "transposed": partial(
        make,
        shape=Shape(3, 6, 10, (1, 1, 2), 1, (), False, groups=2, transposed=(1,)),
        size=8,
        seed=3,
        form="pth",
        kind="sample",
    ),
}
