"""The programs that are compared: each runs one model for some time, as a process of its own, and says how often a second."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ours
from language_models.engines import number
from rivals import packages
from rounds import BenchError, run, say


@dataclass(frozen=True)
class Example:
    """A program of ours."""

    program: Path

    @staticmethod
    def build(package: str, name: str, folder: Path | None) -> Example:
        """Builds it, unless a folder has it."""
        if folder:
            return Example((folder / name).absolute())
        say(f"building {name} (release)")
        target = Path(os.environ.get("CARGO_TARGET_DIR") or ours.REPOSITORY / "target").absolute()
        command = ["cargo", "build", "--release", "--locked", "-p", package, "--example", name]
        environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
        if subprocess.run(command, cwd=ours.REPOSITORY, env=environment, stdout=subprocess.DEVNULL, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
        return Example(target / "release" / "examples" / name)

    def rate(self, field: str, *arguments: object) -> float:
        """Runs it and returns a number of its answer."""
        return number(run([str(self.program), *map(str, arguments)])[0], field, self.program)


def script_rate(script: str, *arguments: object) -> float:
    """Runs a script of this folder in the rivals' Python and returns its runs per second."""
    path = str(Path(__file__).with_name(script))
    return number(run([packages.python(), path, *map(str, arguments)])[0], "runs_per_second", script)
