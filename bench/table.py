"""The table: one line for each comparison, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from rounds import Spread


class Better(Enum):
    """Which way a figure is better."""

    MORE = "more"
    LESS = "less"


@dataclass(frozen=True)
class Unit:
    """What a figure counts."""

    name: str
    better: Better


SECONDS = Unit("s", Better.LESS)
MEGABYTES = Unit("MB", Better.LESS)
MEGABYTES_PER_SECOND = Unit("MB/s", Better.MORE)
TOKENS_PER_SECOND = Unit("tokens/s", Better.MORE)


@dataclass(frozen=True)
class Line:
    """One comparison. Without a rival's figure `rival_name` says why."""

    what: str
    unit: Unit
    ours: Spread
    rival_name: str
    rival: Spread | None = None

    def ratio(self) -> float | None:
        """Returns how many times better ours is: above 1 ours is better, whichever way the unit counts."""
        if self.rival is None or min(self.ours.median, self.rival.median) <= 0:
            return None
        more = self.ours.median / self.rival.median
        return more if self.unit.better is Better.MORE else 1 / more


def render(lines: Sequence[Line]) -> str:
    """Returns the lines as a Markdown table."""
    rows = ["| what | ours | rival | rival's figure | ratio (above 1: ours is better) |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for line in lines:
        ratio = line.ratio()
        cells = [
            f"{line.what}, {line.unit.name} ({line.unit.better.value} is better)",
            spread(line.ours),
            line.rival_name,
            spread(line.rival) if line.rival else "–",
            f"{ratio:.2f}" if ratio else "–",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def spread(figures: Spread) -> str:
    """Returns `median (least–most)`, or one number where nothing varies."""
    if figures.least == figures.most:
        return number(figures.median)
    return f"{number(figures.median)} ({number(figures.least)}–{number(figures.most)})"


def number(value: float) -> str:
    """Returns a figure with about three digits that matter."""
    for limit, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"
