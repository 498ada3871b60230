"""Files that are pinned by SHA-256: how they are downloaded, compared and kept. What fetch_models.py and fetch_data.py share."""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Callable, NoReturn, Protocol

# One fixed platform, whatever this machine is: the archive, and with it the digest, is then the same everywhere.
PIP_PLATFORM = (
    "--only-binary", ":all:", "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
    "--platform", "manylinux_2_28_x86_64",
)  # fmt: skip

# Archives are downloaded and unpacked in folders of this kind, on the same disk as the cache so that a rename suffices.
WORKSPACE_PREFIX = ".fetch-"

# Lines of pip's own output that an error message repeats; the cause stands in the last ones.
PIP_LINES_SHOWN = 6


class FetchError(Exception):
    """A fetch that did not come to its end; the message is for the user."""


class Unreachable(FetchError):
    """pip delivered nothing, most likely because there is no network."""


class Downloadable(Protocol):
    """What pip can download."""

    @property
    def requirement(self) -> str:
        """The package as pip is asked for it."""


def parse_parts(arguments: Sequence[str], description: str, folder: str, names: list[str], usual: list[str]) -> argparse.Namespace:
    """Reads the command line of a program that fetches parts into a folder of the cache; no part named means the usual ones."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=f"The cache is the folder {folder}/ in $SEEDHOUSE_CACHE, else in $XDG_CACHE_HOME/seedhouse, "
        "else in ~/.cache/seedhouse.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of: {', '.join(names)} (default: {', '.join(usual)})")
    parser.add_argument("--list", action="store_true", help="print what is pinned and fetch nothing")
    parser.add_argument("--verbose", action="store_true", help="show what the programs that download print")
    options = parser.parse_args(arguments)
    for part in options.parts:
        if part not in names:
            parser.error(f"`{part}` is no part; the parts are {', '.join(names)}")
    options.parts = options.parts or usual
    return options


def deliver(folder: Path, fetch: Callable[[], None]) -> int:
    """Fetches, prints the folder with the files, or what went wrong, and returns the exit code."""
    try:
        fetch()
    except FetchError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: cannot write the cache `{folder}`: {error}")
        say("hint: SEEDHOUSE_CACHE names another folder for it")
        return 1
    print(folder)
    return 0


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Returns the folder of the models; an empty variable counts as absent."""
    if environment.get("SEEDHOUSE_CACHE"):
        base = Path(environment["SEEDHOUSE_CACHE"]).expanduser()
    elif environment.get("XDG_CACHE_HOME"):
        base = Path(environment["XDG_CACHE_HOME"]) / "seedhouse"
    else:
        base = Path.home() / ".cache" / "seedhouse"
    return base.absolute() / "models"


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary folders of fetches that were killed; a day apart from those that may still be running."""
    for workspace in folder.glob(f"{WORKSPACE_PREFIX}*"):
        if time.time() - workspace.stat().st_mtime > 86_400:
            shutil.rmtree(workspace, ignore_errors=True)


def is_there(part: str, path: Path, expected: str) -> bool:
    """Says whether a file is there with its pinned content; one with another content is removed."""
    if not path.is_file():
        return False
    found = sha256_of(path)
    if found == expected:
        return True
    say(f"{part}: `{path}` is not the pinned file, so it is removed and fetched again")
    say(f"  expected SHA-256 {expected}\n  found    SHA-256 {found}")
    path.unlink()
    return False


def copy_and_hash(source: BinaryIO, sink: BinaryIO) -> str:
    """Copies a stream, syncs it to disk and returns the SHA-256 of what was written."""
    digest = hashlib.sha256()
    for block in iter(lambda: source.read(1 << 20), b""):
        digest.update(block)
        sink.write(block)
    sink.flush()
    os.fsync(sink.fileno())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        for block in iter(lambda: opened.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def expect_digest(name: str, found: str, expected: str) -> None:
    """Refuses a file that is not the pinned one."""
    if found != expected:
        raise FetchError(
            f"`{name}` is not the pinned file, so nothing of it was kept\n"
            f"  expected SHA-256 {expected}\n  found    SHA-256 {found}"
        )


def pip_download(package: Downloadable, folder: Path, verbose: bool) -> None:
    """Lets pip download one archive; its output is shown when wanted, else its last lines when it fails."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"]
    # Our own cache holds the files; a second copy in pip's would cost 120 MB for nothing.
    command += ["--no-cache-dir", "--progress-bar", "off", *PIP_PLATFORM, *resume_options(), "--dest", str(folder)]
    command.append(package.requirement)
    output = sys.stderr if verbose else subprocess.PIPE
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)
    if finished.returncode == 0:
        return
    lines = [line for line in (finished.stdout or b"").decode(errors="replace").splitlines() if line.strip()]
    shown = "".join(f"\n  pip: {line}" for line in lines[-PIP_LINES_SHOWN:])
    if any("No module named pip" in line for line in lines):
        raise FetchError(
            f"`{sys.executable}` has no pip\n"
            "hint: `python3 -m ensurepip --upgrade`, or the package python3-pip of your system, brings it"
        )
    raise Unreachable(f"{package.requirement} could not be fetched (pip ended with code {finished.returncode}){shown}")


@functools.cache
def resume_options() -> tuple[str, ...]:
    """Returns the option that lets pip go on after a broken connection, for a pip that knows it (25.1 and later)."""
    command = [sys.executable, "-m", "pip", "download", "--help"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return ("--resume-retries", "5") if b"--resume-retries" in answer.stdout else ()


def megabytes(size_bytes: int) -> str:
    """Returns a size for people."""
    return f"{size_bytes / 1e6:.1f} MB"


def say(text: str) -> None:
    """Prints to stderr: stdout is for the folder."""
    print(text, file=sys.stderr, flush=True)


def stop(_signal: int, _frame: object) -> NoReturn:
    """Ends the program the ordinary way, so that temporary folders are removed."""
    raise SystemExit(143)


def run_program(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a program with the arguments of the command line, and ends with its exit code."""
    signal.signal(signal.SIGTERM, stop)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        say("interrupted; the next run goes on with what is missing")
        sys.exit(130)
