"""A denoising step of a U-Net: ours beside PyTorch and JAX on the same weights, one image and four at a time."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from functools import partial
from pathlib import Path

from language_models.table import Result
from rivals import packages
from rounds import BenchError, interleave, say
from table import Better, Unit

from .programs import Example, script_rate

FOLDER = Path(__file__).parent
MAKERS = (FOLDER / "make_unet.py", FOLDER / "unet.py")
STEPS_PER_SECOND = Unit("steps/s", Better.MORE)
LEAST_RATIO = 1.2


def make(folder: Path) -> Path:
    """Makes the model, unless it is there."""
    digest = hashlib.sha256(b"".join(maker.read_bytes() for maker in MAKERS)).hexdigest()
    stamp, model = folder / "made", folder / "unet.safetensors"
    if not (stamp.is_file() and stamp.read_text() == digest):
        folder.mkdir(exist_ok=True)
        say(f"making a diffusion model in {folder}")
        command = [packages.python(), str(MAKERS[0]), str(model)]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
        stamp.write_text(digest)
    return model


def measure(options: argparse.Namespace, example: Example, model: Path, results: list[Result]) -> None:
    """Adds a result for each precision and batch, all sides in turns. The rivals compute in f32."""
    for batch in (1, 4):
        rivals = {
            "JAX": partial(script_rate, "jax_unet_speed.py", model, options.seconds, batch),
            "PyTorch": partial(script_rate, "torch_unet_speed.py", model, options.threads, options.seconds, batch, "eager"),
            "PyTorch, compiled": partial(
                script_rate, "torch_unet_speed.py", model, options.threads, options.seconds, batch, "compile"
            ),
        }
        names = {weights: f"U-Net 64 x 64, {weights}, batch {batch}" for weights in ("f32", "bf16", "int8")}
        wanted = {weights: name for weights, name in names.items() if options.rows in name}
        if not wanted:
            continue
        say(", ".join(wanted.values()))
        flags = ("--batch", batch, "--threads", options.threads, "--seconds", options.seconds)
        mine = {weights: partial(example.rate, "runs_per_second", model, "--weights", weights, *flags) for weights in wanted}
        spreads = interleave(options.rounds, mine | rivals)
        theirs = {name: spreads[name] for name in rivals}
        for weights, name in wanted.items():
            rival = "" if weights == "f32" else " (rivals f32)"
            ours = spreads[weights]
            results.append(Result(name + rival, options.threads, ours, None, theirs, LEAST_RATIO, unit=STEPS_PER_SECOND))
