"""Files: registering and verifying one large file against hashing and copying it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from ours import Seedhouse
from rounds import BenchError, Spread, interleave, run, say
from table import MEGABYTES_PER_SECOND, Line

# The file, the registry that is verified, and one more at a time: a fresh registry or the copy by `cp`.
COPIES_ON_DISK = 3

HASH_WITH_PYTHON = """
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb", buffering=0) as file:
    block = bytearray(1 << 20)
    while count := file.readinto(block):
        digest.update(memoryview(block)[:count])
print(digest.hexdigest())
"""

REGISTER, VERIFY = "seedhouse register", "seedhouse verify"
RIVAL_PYTHON, RIVAL_SHA256SUM, RIVAL_COPY = "SHA-256 (OpenSSL, in Python)", "sha256sum", "cp, then sync"


def measure(binary: Path, work: Path, size_mebibytes: int, rounds: int) -> list[Line]:
    """Returns the lines on files; everything written is removed again."""
    size = size_mebibytes << 20
    free = shutil.disk_usage(work).free
    if free < COPIES_ON_DISK * size:
        raise BenchError(f"`{work}` has {free / 1e9:.1f} GB free, but {COPIES_ON_DISK * size / 1e9:.1f} GB are needed")
    with tempfile.TemporaryDirectory(prefix="files-", dir=work) as temporary:
        say(f"files: making {size_mebibytes} MiB of random bytes")
        file = Path(temporary) / "weights.bin"
        write_random(file, size)
        figures = FileTasks(binary, file, size).run(rounds)
    what = f"of one file of {size_mebibytes} MiB"
    pairs = [(REGISTER, RIVAL_PYTHON), (REGISTER, RIVAL_SHA256SUM), (REGISTER, RIVAL_COPY)]
    pairs += [(VERIFY, RIVAL_PYTHON), (VERIFY, RIVAL_SHA256SUM)]
    return [
        Line(f"`{task}` {what}", MEGABYTES_PER_SECOND, figures[task], rival, figures.get(rival))
        for task, rival in pairs
    ]


class FileTasks:
    """One file and what is done with it; each task returns MB/s."""

    def __init__(self, binary: Path, file: Path, size: int) -> None:
        self.binary = binary
        self.file = file
        self.size = size
        self.copy = file.with_suffix(".copy")
        self.verified = Seedhouse(binary, file.parent / "verified")

    def run(self, rounds: int) -> dict[str, Spread]:
        """Returns the figures by task; the rivals that this machine has take part."""
        self.verified.register("bench-file", self.file)
        tasks = {REGISTER: self.register, RIVAL_PYTHON: self.hash_with_python, RIVAL_COPY: self.copy_and_sync}
        tasks[VERIFY] = self.verify
        if shutil.which("sha256sum"):
            tasks[RIVAL_SHA256SUM] = lambda: self.rate(run(["sha256sum", str(self.file)])[1])
        return interleave(rounds, tasks)

    def rate(self, seconds: float) -> float:
        """Returns MB/s."""
        return self.size / seconds / 1e6

    def register(self) -> float:
        """Registers into an empty registry: into a used one the bytes would be known already."""
        root = self.file.parent / "fresh"
        seconds = Seedhouse(self.binary, root).register("bench-file", self.file)
        shutil.rmtree(root)
        return self.rate(seconds)

    def verify(self) -> float:
        """Verifies the one version of a registry."""
        return self.rate(self.verified.verify())

    def hash_with_python(self) -> float:
        """Hashes in a Python process, start included as it is for ours."""
        return self.rate(run([sys.executable, "-I", "-S", "-c", HASH_WITH_PYTHON, str(self.file)])[1])

    def copy_and_sync(self) -> float:
        """Copies and waits until the disk has it."""
        seconds = run(["sh", "-c", 'cp "$1" "$2" && sync "$2"', "sh", str(self.file), str(self.copy)])[1]
        self.copy.unlink()
        return self.rate(seconds)


def write_random(path: Path, size: int) -> None:
    """Writes bytes that neither compress nor repeat, and waits until the disk has them."""
    with path.open("wb") as file:
        for offset in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - offset)))
        file.flush()
        os.fsync(file.fileno())
