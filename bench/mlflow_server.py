"""The rival as a registry: `mlflow server` with SQLite, started as its documentation says, asked over plain HTTP."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memory import free_port, last_lines
from process import ready_within
from rounds import BenchError, run, say

MLFLOW = "mlflow==3.17.2"

START_SECONDS = 180

API = "/api/2.0/mlflow"


@dataclass(frozen=True)
class Mlflow:
    """An installed MLflow."""

    python: str
    name: str = f"{MLFLOW.replace('==', ' ')}, `mlflow server`, SQLite"

    def version(self) -> str:
        """Returns what is installed."""
        return MLFLOW.split("==")[1]

    @contextlib.contextmanager
    def serving(self, folder: Path) -> Iterator[tuple[int, int, float]]:
        """Runs a server with its database in a folder; gives its process, its port and the seconds until it answered."""
        folder.mkdir(parents=True, exist_ok=True)
        port, log = free_port(), folder / "server.log"
        command = [self.python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/artifacts"]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with log.open("wb") as sink:
            # In a session of its own: it starts workers, which end with it.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=folder, env=environment, start_new_session=True
            )
        try:
            seconds = ready_within(START_SECONDS, process, port, "/health", lambda: last_lines(log))
            yield process.pid, port, seconds
        finally:
            end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def install(venv: Path) -> Mlflow:
    """Makes a virtual environment of its own with the package, unless it is there."""
    mlflow = Mlflow(str(venv / "bin" / "python"))
    if not is_installed(mlflow.python):
        say(f"installing {MLFLOW} into {venv}; takes some minutes")
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
        run([mlflow.python, "-m", "pip", "install", "--disable-pip-version-check", MLFLOW])
        if not is_installed(mlflow.python):
            raise BenchError(f"{MLFLOW} is installed in `{venv}` but cannot be found there")
    return mlflow


def is_installed(python: str) -> bool:
    """Returns whether a Python has the package in this version."""
    command = [python, "-I", "-c", "from importlib.metadata import version; print(version('mlflow'))"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return False
    return found.stdout.strip() == Mlflow(python).version()
