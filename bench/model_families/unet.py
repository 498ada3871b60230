"""The U-Net that is compared, of the original's shape: images of 64 x 64 pixels, 64 channels, 256 numbers for the time."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

from diffusion_references.networks import Shape, Unet

SIDE = 64
TIMESTEPS = 1000
#: Three sizes of images, two blocks for each, attention at the smallest, where 256 pixels see each other.
SHAPE = Shape(3, 64, 256, (1, 2, 4), 2, (2,))


def make() -> Unet:
    """Returns the network with random weights."""
    import torch

    torch.manual_seed(1)
    return Unet(SHAPE).eval()
