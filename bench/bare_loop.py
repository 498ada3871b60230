"""Registrations in the store alone, without HTTP, beside a bare SQLite loop that batches alike: `cargo bench` measures both."""

from __future__ import annotations

import re

from ours import REPOSITORY
from rounds import BenchError, Spread, run, say
from table import REQUESTS_PER_SECOND, Line, Target

BENCH = "registrations"

TARGET = Target(0.6, of_ratio=True)

OURS = "ours, searchable and audited"

# The loop inserts into the registry's own tables, which is what looking versions up costs any program, and into two bare ones.
BARE = {
    "bare loop, the same tables and indexes": "a bare SQLite loop, same batching, tables and indexes",
    "bare loop, two rows without indexes": "a bare SQLite loop, same batching, two tables without indexes",
}


def measure(rounds: int) -> list[Line]:
    """Returns a line for each bare loop."""
    say("the store alone, beside bare SQLite loops")
    manifest = str(REPOSITORY / "Cargo.toml")
    command = ["cargo", "bench", "--quiet", "--locked", "--manifest-path", manifest, "--package", "seedhouse-store"]
    text, _ = run([*command, "--bench", BENCH, "--", "--rounds", str(rounds)])
    what = "registrations in the store alone, 8 callers"
    ours = row(text, OURS)
    return [Line(what, REQUESTS_PER_SECOND, ours, rival, row(text, name), TARGET) for name, rival in BARE.items()]


def row(text: str, name: str) -> Spread:
    """Returns the median and the extremes of one side."""
    found = re.search(rf"^\| {re.escape(name)} \| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    if not found:
        raise BenchError(f"`cargo bench --bench {BENCH}` printed no row `{name}`: {text[-500:]!r}")
    return Spread(*map(float, found.groups()))
