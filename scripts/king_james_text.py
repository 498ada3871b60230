"""The first 100 kB of the King James text: fixed words of ordinary language to measure a language model on.

Debian's package holds the text packed, and its reader unpacks it; neither is installed. The text itself is free.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

# The reader, and the text. Other versions of the packages are fine as long as the digest below holds.
PACKAGES = ("bible-kjv", "bible-kjv-text")
EVERYTHING = "gen1:1-rev22:21"
SIZE_BYTES = 100_000
SHA256 = "5f09de1934aaa0d9fb8b4478b3e28ffe5fd3bed989ce1fd48b860dff3b177ccf"
NAME = "king-james-100kB.txt"


class TextError(Exception):
    """The text is not to be had; the message is for the user."""


def fetch(cache: Path) -> Path:
    """Returns the file with the text in the cache; makes it where it is missing."""
    target = cache / NAME
    if target.is_file() and digest(target.read_bytes()) == SHA256:
        return target
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # Without the sandbox of apt, which could not write here.
        run(["apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES], folder)
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "-x", str(package), "unpacked"], folder)
        text = run(["unpacked/usr/bin/bible", "-p", "unpacked/usr/lib", EVERYTHING], folder)[:SIZE_BYTES]
    if digest(text) != SHA256:
        raise TextError(f"the text of {', '.join(PACKAGES)} has SHA-256 {digest(text)} instead of {SHA256}")
    cache.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    fresh.write_bytes(text)
    fresh.rename(target)
    return target


def run(command: list[str], folder: Path) -> bytes:
    """Runs a command in a folder and returns its output; lines are as long as where nothing says how long."""
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    try:
        finished = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise TextError(f"`{command[0]}` is not on this machine; the text comes from Debian's packages") from error
    if finished.returncode != 0:
        raise TextError(f"`{' '.join(command)}` failed: {finished.stderr.decode(errors='replace')[-500:]}")
    return finished.stdout


def digest(content: bytes) -> str:
    """Returns the SHA-256."""
    return hashlib.sha256(content).hexdigest()
