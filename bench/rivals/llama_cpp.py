#!/usr/bin/env python3
"""llama.cpp, built on this machine for this machine: from the sources inside llama-cpp-python's source archive.

It is built once into the cache. A build that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rivals import packages
from rounds import BenchError, say

VERSION = "0.3.36"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
ARCHIVE_SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
VENDORED = "vendor/llama.cpp/"

TARGETS = ("llama-bench", "llama-batched-bench", "llama-server", "llama-quantize", "llama-perplexity")

OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "LLAMA_CURL": "OFF",
    "LLAMA_OPENSSL": "OFF",
    # The pages of the server would come from a model hub; both names that the option has had.
    "LLAMA_BUILD_WEBUI": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_WEBUI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
}

NAME = f"llama.cpp (in llama-cpp-python {VERSION}, native build)"


def folder() -> Path:
    """Returns where sources and programs lie."""
    return packages.cache_folder() / "llama.cpp"


def program(name: str) -> str:
    """Returns the path of a program."""
    return str(folder() / "build" / "bin" / name)


def library(name: str) -> Path:
    """Returns the path of a shared library."""
    return folder() / "build" / "bin" / name


def build(jobs: int) -> None:
    """Builds what is not built yet."""
    stamp = folder() / "built"
    wanted = f"{VERSION} {cpu_flags()} {' '.join(TARGETS)} {OPTIONS}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    packages.install()
    fetch()
    # ggml's own look at the processor is what GGML_NATIVE stands for; a cache of another machine must not survive.
    settings = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    source, build_folder = str(folder() / "source"), str(folder() / "build")
    environment = {**os.environ, "PATH": f"{packages.environment() / 'bin'}:{os.environ['PATH']}"}
    cmake = packages.program("cmake")
    say(f"building llama.cpp in {build_folder} with {jobs} jobs; about eight minutes of processor time")
    for command in (
        [cmake, "-S", source, "-B", build_folder, "-G", "Ninja", *settings],
        [cmake, "--build", build_folder, f"-j{jobs}", "--target", *TARGETS],
    ):
        if subprocess.run(command, stdout=sys.stderr, env=environment, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
    stamp.write_text(wanted)


def fetch() -> None:
    """Fetches the sources, unless they are there."""
    target = folder() / "source"
    if target.is_dir():
        return
    folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder()) as temporary:
        say(f"fetching {ARCHIVE}")
        command = [packages.python(), "-m", "pip", "download", "--no-deps", "--no-binary", "llama-cpp-python"]
        command += ["--disable-pip-version-check", "-d", temporary, f"llama-cpp-python=={VERSION}"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        archive = Path(temporary) / ARCHIVE
        if not archive.is_file():
            raise BenchError(f"`{' '.join(command)}` brought no {ARCHIVE}\n{finished.stderr[-1500:]}")
        found = hashlib.sha256(archive.read_bytes()).hexdigest()
        if found != ARCHIVE_SHA256:
            raise BenchError(f"{ARCHIVE} has SHA-256 {found} instead of {ARCHIVE_SHA256}")
        unpack(archive, Path(temporary) / "source")
        shutil.move(Path(temporary) / "source", target)


def unpack(archive: Path, target: Path) -> None:
    """Takes llama.cpp out of the archive."""
    with tarfile.open(archive) as file:
        for member in file:
            _, _, path = member.name.partition(f"/{VENDORED}")
            if path:
                member.name = path
                file.extract(member, target, filter="data")


def cpu_flags() -> str:
    """Returns a digest of what the processor can do: programs built for another one may not run."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return hashlib.sha256(flags.encode()).hexdigest()[:16]


if __name__ == "__main__":
    build(int(sys.argv[1]) if len(sys.argv) > 1 else os.cpu_count() or 1)
    print(folder() / "build" / "bin")
