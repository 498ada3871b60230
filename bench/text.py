"""Text: time to the first token, prefill and decode, one stream, greedy, the same weights on both sides."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ours import Seedhouse
from rival import HOW_TO_GET, Rival, Task, decoding_rate, rate
from rounds import BenchError, interleave, say
from table import SECONDS, TOKENS_PER_SECOND, Line, Unit

MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME = "bench-smollm2"

SHORT_PROMPT = "The three things a tomato plant needs most are"
STORY_PROMPT = "Once upon a time, in a village between two rivers, there lived"
DECODE_TOKENS = 128

# About 500 tokens; numbers make the sentences differ.
LONG_PROMPT = " ".join(
    f"On day {day} the lamps ran for {10 + day % 5} hours, the air stood at {18 + day % 7} degrees and the plants grew."
    for day in range(1, 20)
)


def measure(binary: Path, models: Path, work: Path, rival: Rival | None, rounds: int) -> list[Line]:
    """Returns the lines on text."""
    with tempfile.TemporaryDirectory(prefix="text-", dir=work) as temporary:
        seedhouse = Seedhouse(binary, Path(temporary) / "root")
        seedhouse.register(MODEL_NAME, models / MODEL_FILE)
        comparison = TextComparison(seedhouse, rival, rounds)
        return [comparison.first_token(), comparison.prefill(), comparison.decode()]


@dataclass(frozen=True)
class TextComparison:
    """Both sides, each run a process of its own."""

    seedhouse: Seedhouse
    rival: Rival | None
    rounds: int

    def first_token(self) -> Line:
        """Compares the seconds that a process takes to start, load, make one token and end."""
        task = self.task(SHORT_PROMPT, max_tokens=1)
        what = f"process start to first token ({task.prompt_tokens} tokens of prompt)"
        return self.compare(
            what, SECONDS, lambda: self.generate(task)[1], lambda rival: rival.first_token_seconds(task)
        )

    def prefill(self) -> Line:
        """Compares the speed at which a long prompt is taken in."""
        task = self.task(LONG_PROMPT, max_tokens=1)

        def ours() -> float:
            answer, _ = self.generate(task)
            return rate(field(answer, "prompt_tokens"), field(answer, "prompt_seconds"))

        what = f"prefill of {task.prompt_tokens} tokens"
        return self.compare(what, TOKENS_PER_SECOND, ours, lambda rival: rival.prefill_rate(task))

    def decode(self) -> Line:
        """Compares the speed of a single stream."""
        task = self.task(STORY_PROMPT, max_tokens=DECODE_TOKENS)

        def ours() -> float:
            answer, _ = self.generate(task)
            return decoding_rate(field(answer, "generated_tokens"), field(answer, "decode_seconds"))

        what = f"decode of {DECODE_TOKENS} tokens, one stream"
        return self.compare(what, TOKENS_PER_SECOND, ours, lambda rival: rival.decode_rate(task))

    def task(self, prompt: str, max_tokens: int) -> Task:
        """Returns the task with the length of its prompt; finding that brings the weights into the page cache."""
        answer, _ = self.seedhouse.generate(MODEL_NAME, prompt, 1)
        return Task(prompt, int(field(answer, "prompt_tokens")), max_tokens)

    def generate(self, task: Task) -> tuple[dict[str, Any], float]:
        """Returns our answer to a task, and how long the process took."""
        return self.seedhouse.generate(MODEL_NAME, task.prompt, task.max_tokens)

    def compare(self, what: str, unit: Unit, ours: Callable[[], float], theirs: Callable[[Rival], float]) -> Line:
        """Runs both sides in turns, or ours alone where there is no rival."""
        say(what)
        rival = self.rival
        if rival is None:
            return Line(what, unit, interleave(self.rounds, {"seedhouse": ours})["seedhouse"], HOW_TO_GET)
        figures = interleave(self.rounds, {"seedhouse": ours, rival.name: lambda: theirs(rival)})
        return Line(what, unit, figures["seedhouse"], rival.name, figures[rival.name])


def field(answer: dict[str, Any], name: str) -> float:
    """Returns a number of an answer."""
    value = answer.get(name)
    if not isinstance(value, (int, float)):
        raise BenchError(f"`seedhouse --json generate` reports `{name}` as {value!r} instead of a number")
    return float(value)
