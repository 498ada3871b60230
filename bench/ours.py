"""Seedhouse as a user runs it: the release binary and its command line."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds import BenchError, run, say

REPOSITORY = Path(__file__).resolve().parent.parent


def build() -> Path:
    """Builds the release binary and returns its path."""
    say("building seedhouse (release)")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target").absolute()
    command = ["cargo", "build", "--release", "--locked", "-p", "seedhouse"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    try:
        built = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=False)
    except FileNotFoundError as error:
        raise BenchError("`cargo` is not on PATH; --binary takes a binary that is already built") from error
    if built.returncode != 0:
        raise BenchError(f"`{' '.join(command)}` ended with code {built.returncode}")
    return target / "release" / "seedhouse"


@dataclass(frozen=True)
class Seedhouse:
    """The binary with one registry."""

    binary: Path
    root: Path

    def command(self, *arguments: str) -> list[str]:
        """Returns a whole command line."""
        return [str(self.binary), "--root", str(self.root), "--json", *arguments]

    def register(self, name: str, path: Path) -> float:
        """Registers a file and returns how long the process took."""
        return run(self.command("register", name, str(path)))[1]

    def verify(self) -> float:
        """Verifies everything in the registry and returns how long the process took."""
        return run(self.command("verify"))[1]

    def generate(self, reference: str, prompt: str, max_tokens: int) -> tuple[dict[str, Any], float]:
        """Generates greedily; returns the answer and how long the process took."""
        arguments = ["generate", reference, prompt, "--max-tokens", str(max_tokens), "--temperature", "0"]
        text, seconds = run(self.command(*arguments))
        try:
            return json.loads(text), seconds
        except ValueError as error:
            raise BenchError(f"`seedhouse --json generate` answered {text[:200]!r}, which is not JSON") from error
