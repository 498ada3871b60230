"""Runs the things to be compared in turns, so that a busy moment of the machine hits all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable


class BenchError(Exception):
    """A run that gave no figure; the message is for the user."""


@dataclass(frozen=True)
class Spread:
    """What several runs of one thing gave."""

    median: float
    least: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Returns the median and the extremes of at least one value."""
        return Spread(statistics.median(values), min(values), max(values))


def interleave(rounds: int, tasks: Mapping[str, Callable[[], float]]) -> dict[str, Spread]:
    """Runs every task once a round, each round beginning with another one, and returns the figures by task."""
    names = list(tasks)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            say(f"  round {number + 1} of {rounds}: {name}")
            values[name].append(tasks[name]())
    return {name: Spread.of(figures) for name, figures in values.items()}


def run(command: Sequence[str]) -> tuple[str, float]:
    """Runs a command; returns its stdout and the seconds from its start to its end."""
    start = time.perf_counter()
    try:
        finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise BenchError(f"`{command[0]}` cannot be run: {error.strerror}") from error
    seconds = time.perf_counter() - start
    if finished.returncode != 0:
        last = finished.stderr.decode(errors="replace").strip().splitlines()[-8:]
        ended = f"`{' '.join(command)[:300]}` ended with code {finished.returncode}"
        raise BenchError("\n  ".join([ended, *last]))
    return finished.stdout.decode(), seconds


def say(text: str) -> None:
    """Prints progress to stderr: stdout is for the table."""
    print(text, file=sys.stderr, flush=True)
