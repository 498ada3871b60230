"""Sentence encoders: ours beside ONNX Runtime on the weights of MiniLM, 32 sentences at a time."""

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

MAKER = Path(__file__).with_name("make_sentence_models.py")
SENTENCES_PER_SECOND = Unit("sentences/s", Better.MORE)
SENTENCES = 32
LEAST_RATIO = 1.2
# Sentences as they are, and sequences of one length, of which a rival that fills up loses nothing.
INPUTS = {"32 sentences": "sentences.json", "32 x 32 tokens": "equal.json"}
GRAPHS = {"f32": ("minilm", "minilm.fused"), "int8": ("minilm.int8", "minilm.int8-made", "minilm.fused.int8-made")}


@dataclass(frozen=True)
class Models:
    """Where they lie."""

    folder: Path
    minilm: Path


def make(folder: Path, minilm: Path, int8: Path) -> Models:
    """Makes what is missing; takes a minute and 250 MB once."""
    digest = hashlib.sha256(MAKER.read_bytes()).hexdigest()
    stamp = folder / "made"
    if not (stamp.is_file() and stamp.read_text() == digest):
        folder.mkdir(exist_ok=True)
        say(f"making graphs of sentence encoders in {folder}")
        command = [packages.python(), str(MAKER), str(folder), str(minilm), str(int8)]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
        stamp.write_text(digest)
    return Models(folder, minilm)


def measure(options: argparse.Namespace, example: Example, models: Models, results: list[Result]) -> None:
    """Adds a result for each kind of input and each precision, all sides in turns."""
    for what, file in INPUTS.items():
        for weights, graphs in GRAPHS.items():
            row = f"MiniLM, {what}, {weights}"
            if options.rows not in row:
                continue
            say(row)
            tokens = models.folder / file
            flags = ("--threads", options.threads, "--weights", weights, "--seconds", options.seconds)
            tasks = {"ours": partial(example.rate, "runs_per_second", models.minilm, tokens, *flags)}
            for graph in graphs:
                path = models.folder / f"{graph}.onnx"
                name = f"ONNX Runtime {graph.partition('.')[2] or 'f32'}"
                tasks[name] = partial(script_rate, "onnx_sentences.py", path, options.threads, options.seconds, tokens)
            spreads = interleave(options.rounds, {name: partial(sentences, task) for name, task in tasks.items()})
            mine = spreads.pop("ours")
            results.append(Result(row, options.threads, mine, None, spreads, LEAST_RATIO, unit=SENTENCES_PER_SECOND))


def sentences(task: partial[float]) -> float:
    """Returns sentences per second of runs per second."""
    return SENTENCES * task()
