"""Registrations in the store alone, without HTTP, beside a bare SQLite loop that batches alike: `cargo bench` measures both."""

from __future__ import annotations

import re

from ours import REPOSITORY
from rounds import BenchError, Spread, run, say
from table import REQUESTS_PER_SECOND, Line, Target

BENCH = "registrations"

TARGET = Target(0.6, of_ratio=True)

OURS, BARE = "ours, searchable and audited", "bare loop, two rows"


def measure(rounds: int) -> list[Line]:
    """Returns the line on the store, or none where the program that measures it is not in the tree."""
    if not (REPOSITORY / "crates" / "store" / "benches" / f"{BENCH}.rs").is_file():
        say(f"the store alone: skipped, there is no bench `{BENCH}` in the crate")
        return []
    say("the store alone, beside a bare SQLite loop")
    manifest = str(REPOSITORY / "Cargo.toml")
    command = ["cargo", "bench", "--quiet", "--locked", "--manifest-path", manifest, "--package", "seedhouse-store"]
    text, _ = run([*command, "--bench", BENCH, "--", "--rounds", str(rounds)])
    what = "registrations in the store alone, 8 callers"
    return [Line(what, REQUESTS_PER_SECOND, row(text, OURS), "a bare SQLite loop, same batching", row(text, BARE), TARGET)]


def row(text: str, name: str) -> Spread:
    """Returns the median and the extremes of one side."""
    found = re.search(rf"^\| {re.escape(name)} \| (\d+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    if not found:
        raise BenchError(f"`cargo bench --bench {BENCH}` printed no row `{name}`: {text[-500:]!r}")
    return Spread(*map(float, found.groups()))
