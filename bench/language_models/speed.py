"""Prefill and decoding in one process: the rows, and what they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rounds import Spread, interleave, say

from .ceilings import READ, Ceilings
from .engines import Engine, LanguageSpeed, LlamaCpp, PythonEngine, Task
from .model_files import OPERATIONS_PER_PROMPT_TOKEN, ModelFiles, bytes_per_token
from .table import Result

CEILING = "the machine's ceiling"
STREAMS = 8


@dataclass(frozen=True)
class Row:
    """One kind of work on one form of the weights."""

    name: str
    decodes: bool
    streams: int
    # What our side takes: a directory or file, what it makes of the weights, and how large or of which kind they then are.
    model: Path
    weights: str
    storage: str
    rivals: tuple[Engine, ...]
    least_ratio: float
    least_share: float | None = None

    def share_of_ceiling(self, rate: float, ceilings: Mapping[str, float]) -> float | None:
        """Returns how much of the machine's limit a rate is; nothing for several streams, which no single limit bounds."""
        if self.decodes:
            return rate * bytes_per_token(self.storage) / ceilings[READ] if self.streams == 1 else None
        limit = ceilings.get(self.storage)
        return rate * OPERATIONS_PER_PROMPT_TOKEN / limit if limit else None


def rows(files: ModelFiles) -> list[Row]:
    """Returns the rows of the table to reach."""
    llama = {kind: LlamaCpp(files.gguf(kind), f"llama.cpp {kind.upper()}") for kind in ("f32", "bf16", "q8_0", "q4_0", "q4_k")}
    onnx = {kind: PythonEngine("onnx_speed.py", files.onnx(kind), f"ONNX Runtime {kind}") for kind in ("f32", "int8")}
    torch = PythonEngine("torch_speed.py", files.hugging_face("bf16"), "PyTorch bf16")
    four_bits = (llama["q4_k"], llama["q4_0"])
    eight_bits = (llama["q8_0"], onnx["int8"])
    f32, bf16 = files.hugging_face("f32"), files.hugging_face("bf16")
    q8_0 = files.gguf("q8_0")
    several = (llama["q8_0"], onnx["int8"], torch)
    return [
        Row("decode, one stream, int8", True, 1, f32, "int8", "int8", eight_bits, 1.9, 0.8),
        Row("decode, one stream, Q8_0", True, 1, q8_0, "as-is", "Q8_0", eight_bits, 1.9, 0.8),
        Row("decode, one stream, Q4_K", True, 1, files.gguf("q4_k"), "as-is", "Q4_K", four_bits, 1.4),
        Row("decode, one stream, Q4_0", True, 1, files.gguf("q4_0"), "as-is", "Q4_0", four_bits, 1.4),
        Row("decode, one stream, bf16", True, 1, bf16, "as-is", "bf16", (llama["bf16"], torch), 1.35, 0.8),
        Row("decode, one stream, f32", True, 1, f32, "as-is", "f32", (llama["f32"], onnx["f32"]), 1.25, 0.8),
        Row("decode, eight streams, int8", True, STREAMS, f32, "int8", "int8", several, 1.8),
        Row("decode, eight streams, bf16", True, STREAMS, bf16, "as-is", "bf16", (llama["bf16"], torch), 2.5),
        Row("prefill 512, int8", False, 1, f32, "int8", "int8", (onnx["int8"], llama["q8_0"]), 1.5),
        Row("prefill 512, bf16", False, 1, bf16, "as-is", "bf16", (llama["bf16"], torch), 1.4),
    ]


def measure(
    row: Row, threads: int, rounds: int, program: Path | None, ceilings: Ceilings
) -> Result:
    """Runs all sides of a row in turns; without a program of ours, the rivals alone."""
    say(f"{row.name}, {threads} threads")
    engines: Sequence[Engine] = row.rivals
    if program:
        engines = [LanguageSpeed(program, row.model, row.weights), *row.rivals]
    task = Task(row.decodes, row.streams, threads)
    figures: list[dict[str, float]] = []

    def ceiling() -> float:
        figures.append(ceilings.measure(threads))
        return figures[-1][READ]

    tasks = {engine.name: partial(engine.rate, task) for engine in engines}
    spreads = interleave(rounds, {**tasks, CEILING: ceiling})
    limits = {name: Spread.of([figure[name] for figure in figures]).median for name in figures[0]}
    ours = spreads.get("ours")
    return Result(
        row.name,
        threads,
        ours,
        row.share_of_ceiling(ours.median, limits) if ours else None,
        {engine.name: spreads[engine.name] for engine in row.rivals},
        row.least_ratio,
        row.least_share,
        limits,
    )
