"""What is expected of a model: the logits of every position of a prompt, and what follows greedily."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch

from .tokenizer import BEGIN_ID

GREEDY_TOKENS = 8
# The smallest distance between the two most likely tokens: no rounding may decide which one comes.
SMALLEST_GAP = 0.05

Forward = Callable[[list[int]], torch.Tensor]


def expect(forward: Forward, length: int, seed: int) -> dict[str, Any]:
    """Returns prompt, logits and continuation of a model; takes another prompt where the continuation is a near thing."""
    for attempt in range(100):
        drawn = np.random.default_rng([seed, attempt])
        tokens = drawn.integers(0, BEGIN_ID, length).tolist()
        greedy, gap = continuation(forward, tokens)
        if gap >= SMALLEST_GAP:
            logits = forward(tokens)
            if not torch.isfinite(logits).all():
                raise SystemExit("the logits are not finite")
            rows = [[float(f"{value:.7g}") for value in row] for row in logits.tolist()]
            return {"tokens": tokens, "greedy": greedy, "smallest_gap": round(gap, 4), "logits": rows}
    raise SystemExit("no prompt has a clear continuation")


def continuation(forward: Forward, tokens: list[int]) -> tuple[list[int], float]:
    """Returns the most likely tokens after a prompt, one after the other, and the smallest lead that one had."""
    sequence, gap = list(tokens), float("inf")
    for _ in range(GREEDY_TOKENS):
        best = forward(sequence)[-1].topk(2)
        gap = min(gap, float(best.values[0] - best.values[1]))
        sequence.append(int(best.indices[0]))
    return sequence[len(tokens) :], gap


def write(folder: Path, what: str, made_with: str, expected: dict[str, Any]) -> None:
    """Writes `expected.json`, one line for each position."""
    head = json.dumps({"what": what, "made_with": made_with, **{key: expected[key] for key in expected if key != "logits"}})
    rows = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in expected["logits"])
    (folder / "expected.json").write_text(f'{head[:-1]},\n "logits": [\n  {rows}\n]}}\n')
