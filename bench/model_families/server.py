"""The server around a tiny model: what HTTP adds to a call of the runtime, and requests per second beside MLServer.

The model is `[n, 4] -> [n, 3]`, a matrix and a vector; MLServer runs it in NumPy, as a runtime of its own without worker processes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from http_load import LoadGenerator, answer_to, post
from language_models.table import Result
from memory import free_port, last_lines, serving
from mlflow_server import end_group
from ours import Seedhouse
from process import ready_within
from rivals import packages
from rounds import BenchError, interleave, run, say
from table import MILLISECONDS, REQUESTS_PER_SECOND

from .programs import Example

MLSERVER = "mlserver==1.7.1"
START_SECONDS = 60
CLIENTS = 8
NAME = "tiny"
ROW = [0.5, -1.0, 2.0, 3.0]


def install(venv: Path) -> str:
    """Makes a virtual environment of its own with the rival, unless it is there; returns its Python."""
    python, stamp = str(venv / "bin" / "python"), venv / "installed"
    if not (stamp.is_file() and stamp.read_text() == MLSERVER):
        say(f"installing {MLSERVER} into {venv}; takes some minutes")
        run([sys.executable, "-m", "venv", "--clear", str(venv)])
        run([python, "-m", "pip", "install", "--disable-pip-version-check", MLSERVER])
        stamp.write_text(MLSERVER)
    return python


def measure(
    options: argparse.Namespace, binary: Path, example: Example, mlserver: str, generator: LoadGenerator, results: list[Result]
) -> None:
    """Adds the time that HTTP adds with one client, and the requests per second of several."""
    with tempfile.TemporaryDirectory(dir=packages.cache_folder()) as folder:
        graph = Path(folder) / "tiny.onnx"
        run([packages.python(), str(Path(__file__).with_name("make_tiny_graph.py")), str(graph)])
        with ours(binary, Path(folder), graph) as our_port, theirs(mlserver, Path(folder)) as their_port:
            our_request = post(our_port, "/api/inference", {"model_id": NAME, "input_data": {"x": [ROW]}})
            their_request = post(their_port, f"/v2/models/{NAME}/infer", rival_body())
            say("server, one client")
            one = partial(generator.for_seconds, connections=1, seconds=options.seconds)
            tasks = {
                "ours": lambda: one(our_port, [our_request]).p50_ms - direct_ms(example, graph, options),
                "MLServer, all of it": lambda: one(their_port, [their_request]).p50_ms,
            }
            spreads = interleave(options.rounds, tasks)
            results.append(overhead(spreads, options))
            say(f"server, {CLIENTS} clients")
            several = partial(generator.for_seconds, connections=CLIENTS, seconds=options.seconds)
            tasks = {
                "ours": lambda: several(our_port, [our_request]).rate(),
                "MLServer": lambda: several(their_port, [their_request]).rate(),
            }
            spreads = interleave(options.rounds, tasks)
            mine = spreads.pop("ours")
            what = f"a tiny model, {CLIENTS} clients"
            results.append(Result(what, options.threads, mine, None, spreads, 10, unit=REQUESTS_PER_SECOND))


def overhead(spreads: Mapping[str, Any], options: argparse.Namespace) -> Result:
    """Returns the row of the time that HTTP adds. The target is 0.3 ms, whatever the rival does, so the ratio asked for is what that is."""
    rival = {name: spread for name, spread in spreads.items() if name != "ours"}
    least = min(spread.median for spread in rival.values()) / 0.3
    what = "HTTP around a tiny model, median beyond a direct call (0.3 ms wanted)"
    return Result(what, options.threads, spreads["ours"], None, rival, least, unit=MILLISECONDS)


def direct_ms(example: Example, graph: Path, options: argparse.Namespace) -> float:
    """Returns the median time of a call of the runtime."""
    return example.rate("median_ms", graph, f"x={json.dumps(ROW)}", "--seconds", options.seconds)


@contextlib.contextmanager
def ours(binary: Path, folder: Path, graph: Path) -> Iterator[int]:
    """Runs our server with the model."""
    seedhouse = Seedhouse(binary, folder / "registry")
    seedhouse.register(NAME, graph)
    with serving(seedhouse, folder / "seedhouse.log") as (_, port):
        check(answer_to(port, "POST", "/api/inference", {"model_id": NAME, "input_data": {"x": [ROW]}})[0]["result"]["y"])
        yield port


@contextlib.contextmanager
def theirs(python: str, folder: Path) -> Iterator[int]:
    """Runs MLServer with the model."""
    port, log, models = free_port(), folder / "mlserver.log", folder / "mlserver"
    models.mkdir()
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0}
    (models / "settings.json").write_text(json.dumps(settings))
    (models / "model-settings.json").write_text(json.dumps({"name": NAME, "implementation": "tiny_runtime.TinyRuntime"}))
    (models / "tiny_runtime.py").write_text(Path(__file__).with_name("tiny_runtime.py").read_text())
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [str(Path(python).with_name("mlserver")), "start", "."],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            cwd=models,
            start_new_session=True,
        )
    try:
        ready_within(START_SECONDS, process, port, f"/v2/models/{NAME}/ready", lambda: last_lines(log))
        outputs = answer_to(port, "POST", f"/v2/models/{NAME}/infer", rival_body())[0]["outputs"]
        numbers = outputs[0]["data"]
        check([numbers])
        yield port
    finally:
        end_group(process)


def rival_body() -> dict[str, Any]:
    """Returns a request in the form of the Open Inference Protocol."""
    return {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}]}


def check(found: list[list[float]]) -> None:
    """Sees whether a server computes what it should: `y = x M + 1` with `M[i][j] = i + j`."""
    expected = [sum(number * (i + j) for i, number in enumerate(ROW)) + 1 for j in range(3)]
    if any(abs(a - b) > 1e-5 for a, b in zip(found[0], expected, strict=True)):
        raise BenchError(f"a server answers {found}, not {expected}")
