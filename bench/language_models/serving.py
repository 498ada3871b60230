"""SmolLM2-135M through both HTTP servers: tokens per second, and the time to the first token, of one and of eight streams.

Both servers run all the time and are asked in turns. No prompt comes twice, so that neither server has seen it before.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import statistics
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable

from memory import end, free_port, last_lines, serving
from ours import Seedhouse
from process import ready_within
from rivals import llama_cpp
from rounds import BenchError, interleave, say
from table import MILLISECONDS, TOKENS_PER_SECOND
from text import MODEL_FILE

from .table import Result

MODEL = "bench-smollm2"
TOKENS = 128
STREAMS = 8
START_SECONDS = 60
ANSWER_SECONDS = 300
LEAST_RATIO = 1.3

PLACES = ("the sea", "a river", "two hills", "an old mill", "the desert", "a forest", "the northern road", "a lake")


@dataclass(frozen=True)
class Server(ABC):
    """A server that is running."""

    port: int

    @abstractmethod
    def request(self, prompt: str, tokens: int, streams: bool) -> tuple[str, dict[str, Any]]:
        """Returns path and body of a greedy generation."""

    @abstractmethod
    def generated(self, answer: dict[str, Any]) -> int:
        """Returns how many tokens an answer has."""

    @abstractmethod
    def piece(self, event: dict[str, Any]) -> str:
        """Returns the text that an event brings."""

    def connection(self, prompt: str, tokens: int, streams: bool) -> http.client.HTTPResponse:
        """Sends a request; returns the answer as it begins."""
        path, body = self.request(prompt, tokens, streams)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise BenchError(f"{type(self).__name__} did not answer: {error}") from error
        if response.status != 200:
            raise BenchError(f"{type(self).__name__} answered with {response.status}: {response.read()[:500]!r}")
        return response

    def generate(self, prompt: str) -> int:
        """Has a whole answer made; returns its tokens."""
        with self.connection(prompt, TOKENS, streams=False) as response:
            return self.generated(json.loads(response.read()))

    def first_token_ms(self, prompt: str) -> float:
        """Returns how long the first text takes; a few tokens more are waited for and not counted."""
        begin, first = time.perf_counter(), None
        with self.connection(prompt, 8, streams=True) as response:
            for line in response:
                content = line.removeprefix(b"data: ").strip()
                if first is None and line.startswith(b"data: ") and content.startswith(b"{") and self.piece(json.loads(content)):
                    first = time.perf_counter() - begin
        if first is None:
            raise BenchError(f"{type(self).__name__} streamed no text")
        return first * 1e3


class OurServer(Server):
    """`seedhouse serve`."""

    def request(self, prompt: str, tokens: int, streams: bool) -> tuple[str, dict[str, Any]]:
        body = {"model_id": MODEL, "prompt": prompt, "max_length": tokens, "stream": streams}
        return "/api/inference/text/generation", body

    def generated(self, answer: dict[str, Any]) -> int:
        return answer["metadata"]["output_length"]

    def piece(self, event: dict[str, Any]) -> str:
        return event.get("text") or ""


class LlamaServer(Server):
    """`llama-server`."""

    def request(self, prompt: str, tokens: int, streams: bool) -> tuple[str, dict[str, Any]]:
        body = {"prompt": prompt, "n_predict": tokens, "stream": streams, "temperature": 0, "cache_prompt": False}
        return "/completion", body

    def generated(self, answer: dict[str, Any]) -> int:
        return answer["tokens_predicted"]

    def piece(self, event: dict[str, Any]) -> str:
        return event.get("content") or ""


class Prompts:
    """Prompts that never come twice, all about equally long."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1000)

    def take(self, count: int) -> list[str]:
        """Returns some."""
        numbers = itertools.islice(self.numbers, count)
        text = "In the year {} there lived a farmer by {}. Every morning, long before the sun came up, this farmer would"
        return [text.format(number, PLACES[number % len(PLACES)]) for number in numbers]


def measure(binary: Path | None, models: Path, work: Path, threads: int, rounds: int) -> list[Result]:
    """Returns two rows for one stream and two for eight."""
    results = []
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serving-", dir=work)))
        servers: dict[str, Server] = {}
        if binary:
            seedhouse = Seedhouse(binary, folder / "root")
            seedhouse.register(MODEL, models / MODEL_FILE)
            _, port = stack.enter_context(serving(seedhouse, folder / "ours.log"))
            servers["ours"] = OurServer(port)
        rival = "llama-server"
        servers[rival] = LlamaServer(stack.enter_context(running_llama(models / MODEL_FILE, threads, folder / "llama.log")))
        prompts = Prompts()
        for server in servers.values():
            # Loads the model.
            server.generate(prompts.take(1)[0])
        for streams in (1, STREAMS):
            say(f"HTTP, {streams} streams")
            rates = interleave(rounds, {name: partial(rate, server, prompts, streams) for name, server in servers.items()})
            waits = interleave(
                rounds, {name: partial(first_token, server, prompts, streams) for name, server in servers.items()}
            )
            what = f"SmolLM2-135M Q4_1 over HTTP, {streams} stream{'s' if streams > 1 else ''}"
            results.append(
                Result(what, threads, rates.get("ours"), None, {rival: rates[rival]}, LEAST_RATIO, unit=TOKENS_PER_SECOND)
            )
            waited = f"{what}, time to first token (median of the streams)"
            results.append(Result(waited, threads, waits.get("ours"), None, {rival: waits[rival]}, 1.0, unit=MILLISECONDS))
    return results


def rate(server: Server, prompts: Prompts, streams: int) -> float:
    """Returns the tokens per second of several clients that ask at once, prompts included in the time."""
    begin = time.perf_counter()
    tokens = sum(at_once(server.generate, prompts.take(streams)))
    return tokens / (time.perf_counter() - begin)


def first_token(server: Server, prompts: Prompts, streams: int) -> float:
    """Returns the median time to the first token of several clients that ask at once."""
    return statistics.median(at_once(server.first_token_ms, prompts.take(streams)))


def at_once(ask: Callable[[str], Any], prompts: list[str]) -> list[Any]:
    """Asks with all prompts at the same time."""
    with ThreadPoolExecutor(len(prompts)) as pool:
        return list(pool.map(ask, prompts))


@contextlib.contextmanager
def running_llama(model: Path, threads: int, log: Path) -> Iterator[int]:
    """Runs llama.cpp's server with room for all streams; gives its port."""
    port = free_port()
    command = [llama_cpp.program("llama-server"), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["-t", str(threads), "-tb", str(threads), "-np", str(STREAMS), "-c", str(STREAMS * 512)]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
    try:
        ready_within(START_SECONDS, process, port, "/health", lambda: last_lines(log))
        yield port
    finally:
        end(process)
