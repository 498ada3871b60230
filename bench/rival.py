"""The rival on text: llama.cpp, as `llama-bench` or inside the Python package xllamacpp.

A `llama-bench` built on the machine it runs on is the fairer one; the package is built for any x86-64 CPU with AVX2.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import BenchError, run, say

XLLAMACPP = "xllamacpp==2026.10.11549"

HOW_TO_GET = "not available: `bench/run --with-rivals` installs it, or set LLAMA_BENCH"


@dataclass(frozen=True)
class Task:
    """What both sides are to do with the same weights, greedily."""

    prompt: str
    prompt_tokens: int
    max_tokens: int


def rate(count: float, seconds: float) -> float:
    """Returns a count per second."""
    if seconds <= 0:
        raise BenchError(f"{count:.0f} tokens in {seconds} s is no measurement")
    return count / seconds


def decoding_rate(generated: float, seconds: float) -> float:
    """Returns the tokens per second after the first one, which comes out of the prompt and is timed with it."""
    return rate(generated - 1, seconds)


class Rival(ABC):
    """llama.cpp in one of its forms."""

    name: str

    @abstractmethod
    def first_token_seconds(self, task: Task) -> float:
        """Returns the seconds from the start of a process to the end of its one token."""

    @abstractmethod
    def prefill_rate(self, task: Task) -> float:
        """Returns the tokens of the prompt per second."""

    @abstractmethod
    def decode_rate(self, task: Task) -> float:
        """Returns the tokens generated per second, in one stream."""


@dataclass(frozen=True)
class LlamaBench(Rival):
    """The program `llama-bench`; it takes random tokens instead of the prompt, as many of them."""

    program: str
    model: Path
    threads: int
    name: str = "llama.cpp (llama-bench)"

    def first_token_seconds(self, task: Task) -> float:
        return run(self.command("--no-warmup", "-p", "0", "-n", "0", "-pg", f"{task.prompt_tokens},1"))[1]

    def prefill_rate(self, task: Task) -> float:
        return self.rate("-p", str(task.prompt_tokens), "-n", "0")

    def decode_rate(self, task: Task) -> float:
        return self.rate("-p", "0", "-n", str(task.max_tokens))

    def command(self, *arguments: str) -> list[str]:
        """Returns a whole command line for one repetition."""
        return [self.program, "-m", str(self.model), "-t", str(self.threads), "-r", "1", "-o", "json", *arguments]

    def rate(self, *arguments: str) -> float:
        """Returns the tokens per second that the program reports."""
        text = run(self.command(*arguments))[0]
        try:
            return float(json.loads(text)[0]["avg_ts"])
        except (ValueError, LookupError, TypeError) as error:
            raise BenchError(f"`{self.program}` answered {text[:200]!r}, which holds no `avg_ts`") from error


@dataclass(frozen=True)
class Xllamacpp(Rival):
    """The Python package; each run is a process of its own, as for ours."""

    python: str
    model: Path
    threads: int
    name: str = f"llama.cpp ({XLLAMACPP}, generic build)"

    def first_token_seconds(self, task: Task) -> float:
        return self.complete(task)[1]

    def prefill_rate(self, task: Task) -> float:
        timings = self.complete(task)[0]
        return rate(timings["prompt_n"], timings["prompt_ms"] / 1e3)

    def decode_rate(self, task: Task) -> float:
        timings = self.complete(task)[0]
        return decoding_rate(timings["predicted_n"], timings["predicted_ms"] / 1e3)

    def complete(self, task: Task) -> tuple[dict[str, Any], float]:
        """Returns the timings that llama.cpp took, and how long the process took."""
        script = Path(__file__).with_name("xllamacpp_once.py")
        request = json.dumps({"prompt": task.prompt, "max_tokens": task.max_tokens})
        text, seconds = run([self.python, "-I", str(script), str(self.model), str(self.threads), request])
        return json.loads(text), seconds


def find(model: Path, threads: int, venv: Path) -> Rival | None:
    """Returns the rival that this machine has, the fairer one first."""
    program = os.environ.get("LLAMA_BENCH") or shutil.which("llama-bench")
    if program:
        if not shutil.which(program):
            raise BenchError(f"LLAMA_BENCH is `{program}`, which is no program")
        return LlamaBench(program, model, threads)
    chosen = os.environ.get("SEEDHOUSE_BENCH_PYTHON")
    if chosen and not has_xllamacpp(chosen):
        raise BenchError(f"SEEDHOUSE_BENCH_PYTHON is `{chosen}`, which cannot import xllamacpp")
    for python in filter(None, (chosen, str(venv / "bin" / "python"), sys.executable)):
        if has_xllamacpp(python):
            return Xllamacpp(python, model, threads)
    return None


def has_xllamacpp(python: str) -> bool:
    """Returns whether a Python can import the package."""
    # Isolated (-I): a file of the folder we are called from must not stand in for a module of the library.
    command = [python, "-I", "-c", "import xllamacpp"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def install(venv: Path) -> None:
    """Makes a virtual environment of its own with the package, unless it is there."""
    python = str(venv / "bin" / "python")
    if has_xllamacpp(python):
        return
    say(f"installing {XLLAMACPP} into {venv}")
    run([sys.executable, "-m", "venv", "--clear", str(venv)])
    run([python, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", XLLAMACPP])
    if not has_xllamacpp(python):
        raise BenchError(f"{XLLAMACPP} is installed in `{venv}` but cannot be imported")
