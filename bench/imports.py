"""Imports: one large file through the command line and over HTTP, beside hashing it and copying it to the disk."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from files import HASH_WITH_PYTHON, write_random
from memory import serving
from ours import Seedhouse
from process import highest
from rounds import BenchError, Spread, interleave, run, say
from table import MEGABYTES, MEGABYTES_PER_SECOND, Line, Target

# The file and one more at a time: a fresh registry or the copy by `cp`.
COPIES_ON_DISK = 3

RATE_TARGET = Target(0.85, of_ratio=True)
MEMORY_TARGET = Target(64, of_ratio=False)

REGISTER, UPLOAD = "`seedhouse register`", "upload over HTTP (multipart)"
HASH, COPY = "SHA-256 (OpenSSL)", "`cp`, then `sync`"

BOUNDARY = "seedhouse-bench-boundary"

ANSWER_SECONDS = 600
SETTLE_SECONDS = 2


def measure(binary: Path, work: Path, size_mebibytes: int, rounds: int) -> list[Line]:
    """Returns the lines on imports; everything written is removed again."""
    size = size_mebibytes << 20
    free = shutil.disk_usage(work).free
    if free < COPIES_ON_DISK * size:
        raise BenchError(f"`{work}` has {free / 1e9:.1f} GB free, but {COPIES_ON_DISK * size / 1e9:.1f} GB are needed")
    with tempfile.TemporaryDirectory(prefix="imports-", dir=work) as temporary:
        say(f"imports: making {size_mebibytes} MiB of random bytes")
        file = Path(temporary) / "weights.bin"
        write_random(file, size)
        imports = Imports(binary, file, size)
        tasks = {REGISTER: imports.register, UPLOAD: imports.upload, HASH: imports.hash, COPY: imports.copy_and_sync}
        figures = interleave(rounds, {name: settled(task) for name, task in tasks.items()})
    lines = []
    slower = min((HASH, COPY), key=lambda name: figures[name].median)
    for task in (REGISTER, UPLOAD):
        what = f"{task} of one file of {size_mebibytes} MiB"
        rival = f"the slower one of {HASH} and {COPY}: {slower}"
        lines.append(Line(what, MEGABYTES_PER_SECOND, figures[task], rival, figures[slower], RATE_TARGET))
    faster = COPY if slower == HASH else HASH
    lines.append(Line(f"{REGISTER}, the same", MEGABYTES_PER_SECOND, figures[REGISTER], f"the faster one: {faster}", figures[faster]))
    for task in (REGISTER, UPLOAD):
        most = Spread.of(imports.memory[task])
        lines.append(Line(f"highest resident memory, {task}", MEGABYTES, most, "no rival", target=MEMORY_TARGET))
    return lines


def settled(task: Callable[[], float]) -> Callable[[], float]:
    """Has a task begin on a quiet disk: removing what the one before wrote goes on for a while, and every task but hashing
    would pay for its neighbour."""

    def run_settled() -> float:
        os.sync()
        time.sleep(SETTLE_SECONDS)
        return task()

    return run_settled


class Imports:
    """One file and what is done with it; each task returns MB/s."""

    def __init__(self, binary: Path, file: Path, size: int) -> None:
        self.binary = binary
        self.file = file
        self.size = size
        self.fresh = file.parent / "fresh"
        self.memory: dict[str, list[float]] = {REGISTER: [], UPLOAD: []}

    def register(self) -> float:
        """Registers into an empty registry: into a used one the bytes would be known already."""
        command = Seedhouse(self.binary, self.fresh).command("register", "bench-file", str(self.file))
        most = 0.0
        begin = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None:
                most = max(most, highest(process.pid))
                time.sleep(0.01)
        seconds = time.perf_counter() - begin
        if process.returncode != 0:
            raise BenchError(f"`{' '.join(command)}` ended with code {process.returncode}")
        self.memory[REGISTER].append(most)
        shutil.rmtree(self.fresh)
        return self.size / seconds / 1e6

    def upload(self) -> float:
        """Uploads to a server with an empty registry, from the first byte sent to the answer."""
        with serving(Seedhouse(self.binary, self.fresh), self.fresh.with_suffix(".log")) as (process, port):
            begin = time.perf_counter()
            post_file(port, self.file, self.size)
            seconds = time.perf_counter() - begin
            self.memory[UPLOAD].append(highest(process.pid))
        shutil.rmtree(self.fresh)
        return self.size / seconds / 1e6

    def hash(self) -> float:
        """Hashes in one pass by OpenSSL: its program, or where there is none, Python's binding."""
        if shutil.which("openssl"):
            command = ["openssl", "dgst", "-sha256", str(self.file)]
        else:
            command = [sys.executable, "-I", "-S", "-c", HASH_WITH_PYTHON, str(self.file)]
        return self.size / run(command)[1] / 1e6

    def copy_and_sync(self) -> float:
        """Copies and waits until the disk has it."""
        copy = self.file.with_suffix(".copy")
        script = 'cp --reflink=never "$1" "$2" && sync "$2"'
        seconds = run(["sh", "-c", script, "sh", str(self.file), str(copy)])[1]
        copy.unlink()
        return self.size / seconds / 1e6


def post_file(port: int, file: Path, size: int) -> None:
    """Sends the form by the system's own copy from file to socket, so that the client takes little of the processor."""
    disposition = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    head = f'{disposition}"name"\r\n\r\nbench-file\r\n{disposition}"file"; filename="weights.bin"\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    tail = f"\r\n--{BOUNDARY}--\r\n"
    request = f"POST /api/models HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
    request += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    request += f"Content-Length: {len(head) + size + len(tail)}\r\n\r\n{head}"
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as connection, file.open("rb") as source:
        connection.sendall(request.encode())
        connection.sendfile(source)
        connection.sendall(tail.encode())
        answer = b""
        while block := connection.recv(1 << 16):
            answer += block
    status = answer.split(b" ", 2)[1:2]
    if status != [b"201"]:
        raise BenchError(f"the server answered an upload with {answer[:1000].decode(errors='replace')}")
    record = json.loads(answer.partition(b"\r\n\r\n")[2])
    if record["size_bytes"] != size:
        raise BenchError(f"the server registered {record['size_bytes']} bytes of {size}")
