"""The Python packages that rivals, reference values and the bench model need, in an environment of their own in the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("requirements.txt")

sys.path[:0] = [str(path) for path in (BENCH, BENCH.parent / "scripts") if str(path) not in sys.path]

import fetch_models
from rounds import BenchError, say


def cache_folder() -> Path:
    """Returns the folder for what is large and made once."""
    folder = fetch_models.cache_folder(os.environ).parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def environment() -> Path:
    """Returns the folder of the environment."""
    return cache_folder() / "language-models"


def program(name: str) -> str:
    """Returns a program of the environment."""
    return str(environment() / "bin" / name)


def python() -> str:
    """Returns the Python of the environment."""
    return program("python")


def install() -> str:
    """Makes the environment, unless it is there and has what the list asks for; returns its Python."""
    folder = environment()
    stamp = folder / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return python()
    say(f"installing the rivals' packages into {folder}; takes some minutes and 8 GB")
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [python(), "-m", "pip", "install", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
    ):
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
    stamp.write_text(wanted)
    return python()


def enter() -> None:
    """Goes on inside the environment: a script that needs the packages calls this before it imports them."""
    inside = install()
    if Path(sys.prefix).resolve() != environment().resolve():
        os.execv(inside, [inside, *sys.argv])


if __name__ == "__main__":
    print(install())
