"""From the start of a process to its first token, with 500 MB of f32 weights in the page cache."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

from ours import Seedhouse
from rivals import llama_cpp
from rounds import interleave, run, say
from table import SECONDS

from .model_files import ModelFiles
from .table import Result

MODEL = "bench-134m"
PROMPT_TOKENS = 16
# Pairs of letters are tokens of the bench model: this is about as long as the rival's prompt.
PROMPT = "plants need water and light"
LEAST_RATIO = 2.0
SETTLING_SECONDS = 3


def measure(binary: Path | None, files: ModelFiles, work: Path, threads: int, rounds: int) -> Result:
    """Compares whole processes. The first of ours, which hashes the model's file, does not count; registering has made the plan."""
    say(f"process start to first token, {threads} threads")
    rival = "llama.cpp F32"
    tasks = {rival: partial(first_token_of_rival, files.gguf("f32"), threads)}
    with tempfile.TemporaryDirectory(prefix="start-", dir=work) as temporary:
        if binary:
            seedhouse = Seedhouse(binary, Path(temporary) / "root")
            seedhouse.register(MODEL, files.gguf("f32"))
            ours = lambda: seedhouse.generate(MODEL, PROMPT, 1)[1]
            # A file that was written in the last two seconds is hashed at every start.
            time.sleep(SETTLING_SECONDS)
            ours()
            tasks = {"ours": ours, **tasks}
        spreads = interleave(rounds, tasks)
    what = "process start to first token, 537 MB of f32 weights, plan cached"
    return Result(what, threads, spreads.get("ours"), None, {rival: spreads[rival]}, LEAST_RATIO, unit=SECONDS)


def first_token_of_rival(model: Path, threads: int) -> float:
    """Returns the seconds of a process of llama.cpp that loads, takes a prompt in, makes one token and ends."""
    command = [llama_cpp.program("llama-bench"), "-m", str(model), "-t", str(threads), "-r", "1", "-o", "json"]
    return run([*command, "--no-warmup", "-p", "0", "-n", "0", "-pg", f"{PROMPT_TOKENS},1"])[1]
