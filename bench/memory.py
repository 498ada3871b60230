"""Memory: what a server holds once a model is loaded, against the size of the model's file and a fixed allowance."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ours import Seedhouse
from rounds import BenchError, Spread, say
from table import MEGABYTES, Line
from text import MODEL_FILE, MODEL_NAME

# What a server may need beside the weights: the program, caches, buffers and one sequence.
ALLOWANCE_MB = 150

START_SECONDS = 30
ANSWER_SECONDS = 120


def measure(binary: Path, models: Path, work: Path) -> list[Line]:
    """Returns the lines on memory."""
    say("memory: one generation over HTTP, then /proc")
    model = models / MODEL_FILE
    with tempfile.TemporaryDirectory(prefix="memory-", dir=work) as temporary:
        seedhouse = Seedhouse(binary, Path(temporary) / "root")
        seedhouse.register(MODEL_NAME, model)
        with serving(seedhouse, Path(temporary) / "server.log") as (process, port):
            at_rest = resident(process.pid)
            load_model(port)
            loaded = resident(process.pid)
    file_mb = model.stat().st_size / 1e6
    budget = Spread.of([file_mb + ALLOWANCE_MB])
    allowance = f"the file ({file_mb:.0f} MB) + {ALLOWANCE_MB} MB"
    return [
        Line("resident memory after load", MEGABYTES, Spread.of([loaded["VmRSS"]]), allowance, budget),
        Line("— of it file pages (mapped weights)", MEGABYTES, Spread.of([loaded["RssFile"]]), "no rival"),
        Line("— of it memory of its own", MEGABYTES, Spread.of([loaded["RssAnon"]]), "no rival"),
        Line("resident memory before load", MEGABYTES, Spread.of([at_rest["VmRSS"]]), "no rival"),
    ]


@contextlib.contextmanager
def serving(seedhouse: Seedhouse, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Runs a server on a free port, and ends it."""
    port = free_port()
    with log.open("wb") as sink:
        command = seedhouse.command("serve", "--listen", f"127.0.0.1:{port}")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        wait_until_listening(process, port, log)
        yield process, port
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server, which first does what is left to do."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_listening(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until the server takes connections."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"`seedhouse serve` ended with code {process.returncode}\n  {last_lines(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise BenchError(f"`seedhouse serve` took no connection within {START_SECONDS} s\n  {last_lines(log)}")


def last_lines(log: Path) -> str:
    """Returns the end of the server's log."""
    return "\n  ".join(log.read_text(errors="replace").strip().splitlines()[-8:])


def load_model(port: int) -> None:
    """Has the server generate one token, which loads the model."""
    body = json.dumps({"model_id": MODEL_NAME, "prompt": "Hello", "max_length": 1})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", "/api/inference/text/generation", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the server did not answer a generation: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise BenchError(f"the server answered a generation with {response.status}: {answer[:500]}")


def resident(pid: int) -> dict[str, float]:
    """Returns the resident memory of a process by kind, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    kibibytes = dict(re.findall(r"^(VmRSS|RssFile|RssAnon):\s+(\d+) kB$", status, re.MULTILINE))
    return {name: int(value) * 1024 / 1e6 for name, value in kibibytes.items()}
