"""The programs that are compared: each takes a task and says how many tokens a second it made. Every run is a new process."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rivals import llama_cpp, packages
from rounds import BenchError, run

# Decoding begins after a short prompt: what is compared is reading weights, not attention to a long past.
DECODE_PROMPT, DECODE_TOKENS, PREFILL_TOKENS = 16, 128, 512


@dataclass(frozen=True)
class Task:
    """Decoding of so many streams, or the prefill of one."""

    decodes: bool
    streams: int
    threads: int

    def prompt(self) -> int:
        """Returns the length of the prompt of every stream."""
        return DECODE_PROMPT if self.decodes else PREFILL_TOKENS

    def new_tokens(self) -> int:
        """Returns how many tokens every stream decodes."""
        return DECODE_TOKENS if self.decodes else 1

    def field(self) -> str:
        """Returns what our program and the Python ones call the rate."""
        return "decode_tokens_per_second" if self.decodes else "prefill_tokens_per_second"


class Engine(ABC):
    """A program with the weights in one form."""

    name: str

    @abstractmethod
    def rate(self, task: Task) -> float:
        """Returns tokens per second, of all streams together."""


@dataclass(frozen=True)
class LanguageSpeed(Engine):
    """Our own program: `crates/native/examples/language_speed.rs`."""

    program: Path
    model: Path
    weights: str
    name: str = "ours"

    def rate(self, task: Task) -> float:
        command = [str(self.program), str(self.model), "--threads", str(task.threads), "--weights", self.weights]
        command += ["--prefill", str(task.prompt()), "--decode", str(task.new_tokens())]
        # As a server runs them: weights mapped from a plan, which the first run leaves there.
        plans = packages.cache_folder() / "plans"
        plans.mkdir(exist_ok=True)
        command += ["--plans", str(plans)]
        return number(run([*command, "--streams", str(task.streams), "--rounds", "1"])[0], task.field(), self.program)


@dataclass(frozen=True)
class LlamaCpp(Engine):
    """`llama-bench`, and `llama-batched-bench` where there are several streams; both warm up first."""

    model: Path
    name: str

    def rate(self, task: Task) -> float:
        if task.streams > 1:
            return self.batched(task)
        work = ["-p", "0", "-n", str(DECODE_TOKENS), "-d", str(DECODE_PROMPT)]
        if not task.decodes:
            work = ["-p", str(PREFILL_TOKENS), "-n", "0"]
        program = llama_cpp.program("llama-bench")
        text = run([program, "-m", str(self.model), "-t", str(task.threads), "-r", "1", "-o", "json", *work])[0]
        return number(text, "avg_ts", program)

    def batched(self, task: Task) -> float:
        """Returns the rate of several streams."""
        program = llama_cpp.program("llama-batched-bench")
        context = task.streams * (task.prompt() + task.new_tokens())
        command = [program, "-m", str(self.model), "-t", str(task.threads), "-tb", str(task.threads), "-c", str(context)]
        command += ["-npp", str(task.prompt()), "-ntg", str(task.new_tokens()), "-npl", str(task.streams)]
        return number(run([*command, "--output-format", "jsonl"])[0], "speed_tg", program)


@dataclass(frozen=True)
class PythonEngine(Engine):
    """A script of this folder in the rivals' Python."""

    script: str
    model: Path
    name: str

    def rate(self, task: Task) -> float:
        script = str(Path(__file__).with_name(self.script))
        numbers = map(str, (task.threads, task.streams, task.prompt(), task.new_tokens()))
        return number(run([packages.python(), script, str(self.model), *numbers])[0], task.field(), script)


def number(text: str, field: str, program: object) -> float:
    """Returns a field of the JSON that a program printed; it may be one line among others."""
    for part in (text, *text.splitlines()):
        found: Any = decoded(part)
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict) and isinstance(found.get(field), (int, float)):
            return float(found[field])
    raise BenchError(f"`{program}` answered {text[-300:]!r}, which holds no number `{field}`")


def decoded(text: str) -> Any:
    """Returns what a text is as JSON, or nothing."""
    try:
        return json.loads(text)
    except ValueError:
        return None
