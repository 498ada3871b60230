"""HTTP under load: prepared requests, the same generator against every server, and what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ours import REPOSITORY
from rounds import BenchError, Spread, say
from table import REQUESTS_PER_SECOND, Line

SOURCE = REPOSITORY / "crates" / "seedhouse" / "benches" / "load_generator.rs"

# MLflow on SQLite answers some writes with 503, "database is locked", when several clients write. They count for nothing;
# a run in which more than this share failed is no measurement.
MOST_FAILURES_OF_RIVAL = 0.2


@dataclass(frozen=True)
class Load:
    """What came of one run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    answer_bytes: int
    failures: int

    def rate(self) -> float:
        """Returns the answers per second that did what was asked."""
        return (self.requests - self.failures) / self.seconds


@dataclass(frozen=True)
class LoadGenerator:
    """The program that sends; see its head for what it does to be fair."""

    program: Path
    most_failures: float = 0

    def for_rival(self) -> LoadGenerator:
        """Returns the same for a server of which some failures are expected."""
        return LoadGenerator(self.program, MOST_FAILURES_OF_RIVAL)

    @staticmethod
    def build(cache: Path) -> LoadGenerator:
        """Compiles the program, which needs nothing but `rustc`, unless the cache has it."""
        name = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
        program = cache / f"load_generator-{name}"
        if not program.is_file():
            say("building the load generator")
            if not shutil.which("rustc"):
                raise BenchError("`rustc` is not on PATH; it compiles the load generator")
            fresh = program.with_suffix(".new")
            command = ["rustc", "--edition", "2024", "-C", "opt-level=3", "-o", str(fresh), str(SOURCE)]
            built = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
            if built.returncode != 0:
                raise BenchError(f"the load generator does not compile\n{built.stderr[-2000:]}")
            fresh.rename(program)
        return LoadGenerator(program)

    def for_seconds(self, port: int, requests: Sequence[bytes], connections: int, seconds: float) -> Load:
        """Sends requests in turns for some time."""
        return self.send(port, requests, connections, "--seconds", str(seconds))

    def once(self, port: int, requests: Sequence[bytes], connections: int) -> Load:
        """Sends every request once."""
        return self.send(port, requests, connections, "--once")

    def send(self, port: int, requests: Sequence[bytes], connections: int, *until: str) -> Load:
        """Runs the program; an answer that says no makes the whole run count for nothing."""
        with tempfile.NamedTemporaryFile(dir=self.program.parent) as file:
            for request in requests:
                file.write(b"%d\n%b" % (len(request), request))
            file.flush()
            address = f"127.0.0.1:{port}"
            command = [str(self.program), address, file.name, "--connections", str(connections), *until]
            finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise BenchError(f"the load generator ended with code {finished.returncode}: {finished.stderr[:2000]}")
        answer: dict[str, Any] = json.loads(finished.stdout)
        load = Load(**answer)
        if load.failures or not load.requests:
            failed = f"{load.failures} of {load.requests} requests failed; the first answer was {finished.stderr.strip()[:500]}"
            if load.failures > load.requests * self.most_failures or not load.requests:
                raise BenchError(failed)
            say(f"  {failed}")
        return load

    def own_limit(self, seconds: float) -> list[Line]:
        """Returns what the generator reaches where the server does nothing: above that it would measure itself."""
        lines = []
        with self.trivial_server() as port:
            requests = [get(port, "/")]
            for connections in (1, 8):
                say(f"load generator against a trivial server, {connections} connections")
                rate = self.for_seconds(port, requests, connections, seconds).rate()
                what = f"the load generator itself, {connections} clients"
                lines.append(Line(what, REQUESTS_PER_SECOND, Spread.of([rate]), "a server that does nothing"))
        return lines

    @contextlib.contextmanager
    def trivial_server(self) -> Iterator[int]:
        """Runs a server that answers everything with the same bytes."""
        command = [str(self.program), "--trivial-server"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout
                yield int(process.stdout.readline().rsplit(":", 1)[1])
            finally:
                process.kill()


def get(port: int, path: str, parameters: Mapping[str, str] | None = None) -> bytes:
    """Returns a prepared GET."""
    target = quote(path) + (f"?{urlencode(parameters)}" if parameters else "")
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n".encode()


def post(port: int, path: str, body: Mapping[str, Any]) -> bytes:
    """Returns a prepared POST of JSON."""
    text = json.dumps(body, ensure_ascii=False).encode()
    head = f"POST {quote(path)} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


def answer_to(port: int, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[Any, Mapping[str, str]]:
    """Asks one question outside any measurement; returns the answer, decoded if it is JSON, and its headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        text = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"the server did not answer {method} {path}: {error}") from error
    finally:
        connection.close()
    if response.status >= 300:
        raise BenchError(f"the server answered {method} {path} with {response.status}: {content[:500]!r}")
    is_json = "json" in response.getheader("Content-Type", "")
    return json.loads(content) if is_json else content, {name.lower(): value for name, value in response.getheaders()}
