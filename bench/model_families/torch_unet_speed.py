"""PyTorch on the U-Net: takes the file, threads, seconds, batch and `eager` or `compile`; prints runs per second as JSON.

It runs in the rivals' Python, as a process of its own. The first runs are a warm-up and do not count; images have their channels
last, which is what PyTorch's convolutions are quickest with.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).resolve().parent))

import unet

WARM_UP = 2
LEAST_RUNS = 3


def main() -> None:
    """Prints the rate."""
    path, threads, seconds, batch, way = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_grad_enabled(False)
    model = unet.make()
    model.load_state_dict(load_file(path))
    model = model.to(memory_format=torch.channels_last)
    run = torch.compile(model) if way == "compile" else model
    images = torch.randn(int(batch), 3, unet.SIDE, unet.SIDE).to(memory_format=torch.channels_last)
    timesteps = torch.full((int(batch),), unet.TIMESTEPS // 2)
    for _ in range(WARM_UP):
        run(images, timesteps)
    runs, begin = 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - begin < float(seconds):
        run(images, timesteps)
        runs += 1
    print(json.dumps({"runs_per_second": runs / (time.perf_counter() - begin)}))


if __name__ == "__main__":
    main()
