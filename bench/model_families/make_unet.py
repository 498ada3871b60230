"""Makes the diffusion model that is compared, with random weights: the file is its argument. Runs in the rivals' Python."""

from __future__ import annotations

import sys
from pathlib import Path

from safetensors.torch import save_file

sys.path.append(str(Path(__file__).resolve().parent))

import unet


def main() -> None:
    """Writes the file."""
    settings = {"image_size": unet.SIDE, "num_timesteps": unet.TIMESTEPS, "num_groups": unet.SHAPE.groups}
    save_file(unet.make().state_dict(), sys.argv[1], {name: str(value) for name, value in settings.items()})


if __name__ == "__main__":
    main()
