"""Image classifiers: ours beside ONNX Runtime on the same weights, one image and eight at a time."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from language_models.table import Result
from rivals import packages
from rounds import BenchError, interleave, say
from table import Better, Unit

from .programs import Example, script_rate

MAKER = Path(__file__).with_name("make_image_models.py")
IMAGES_PER_SECOND = Unit("images/s", Better.MORE)
SIDE = 224


@dataclass(frozen=True)
class Row:
    """One kind of work: a model at a precision, and the graphs of the rival; the best of them counts."""

    name: str
    model: Path
    weights: str
    batch: int
    graphs: tuple[Path, ...]
    least_ratio: float


def rows(models: Path, efficientnet: Path) -> list[Row]:
    """Returns the rows of the table to reach."""
    vit, resnet = models / "vit-b16", models / "resnet50"
    vit_f32, vit_int8 = models / "vit-b16.onnx", models / "vit-b16.int8.onnx"
    resnet_f32 = models / "resnet50.onnx"
    resnet_int8 = (models / "resnet50.int8.onnx", models / "resnet50.int8-signed.onnx")
    made = []
    for batch in (1, 8):
        made += [
            Row(f"ViT-B/16, f32, batch {batch}", vit, "f32", batch, (vit_f32,), 1.05),
            Row(f"ViT-B/16, bf16 (rival f32), batch {batch}", vit, "bf16", batch, (vit_f32,), 1.9),
            Row(f"ViT-B/16, int8, batch {batch}", vit, "int8", batch, (vit_int8,), 1.3),
            Row(f"ResNet-50, f32, batch {batch}", resnet, "f32", batch, (resnet_f32,), 1.0),
            Row(f"ResNet-50, int8, batch {batch}", resnet, "int8", batch, resnet_int8, 1.2),
        ]
    graph = models / "efficientnet-lite0.onnx"
    return [*made, Row("EfficientNet-Lite0, f32, batch 1", efficientnet, "f32", 1, (graph,), 1.0)]


@dataclass(frozen=True)
class Models:
    """Where they lie."""

    folder: Path
    efficientnet: Path


def make(folder: Path, efficientnet: Path) -> Models:
    """Makes what is missing; takes some minutes and 1.2 GB once."""
    digest = hashlib.sha256(MAKER.read_bytes()).hexdigest()
    stamp = folder / "made"
    if not (stamp.is_file() and stamp.read_text() == digest):
        folder.mkdir(exist_ok=True)
        say(f"making image classifiers in {folder}")
        command = [packages.python(), str(MAKER), str(folder), str(efficientnet)]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
        stamp.write_text(digest)
    return Models(folder, efficientnet)


def measure(options: argparse.Namespace, example: Example, models: Models, results: list[Result]) -> None:
    """Adds a result for each row, all sides in turns."""
    for row in rows(models.folder, models.efficientnet):
        if options.rows not in row.name:
            continue
        say(row.name)
        entry = f"image={row.batch}x3x{SIDE}x{SIDE}"
        flags = ("--threads", options.threads, "--weights", row.weights, "--seconds", options.seconds)
        tasks = {"ours": partial(example.rate, "runs_per_second", row.model, entry, *flags)}
        for graph in row.graphs:
            name = f"ONNX Runtime {graph.stem.partition('.')[2] or 'f32'}"
            tasks[name] = partial(script_rate, "onnx_speed.py", graph, options.threads, options.seconds, entry)
        images = {name: partial(times, row.batch, task) for name, task in tasks.items()}
        spreads = interleave(options.rounds, images)
        mine = spreads.pop("ours")
        results.append(Result(row.name, options.threads, mine, None, spreads, row.least_ratio, unit=IMAGES_PER_SECOND))


def times(batch: int, task: partial[float]) -> float:
    """Returns images per second of runs per second."""
    return batch * task()
