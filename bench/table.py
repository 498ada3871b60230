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
MILLISECONDS = Unit("ms", Better.LESS)
MEGABYTES = Unit("MB", Better.LESS)
MEGABYTES_PER_SECOND = Unit("MB/s", Better.MORE)
REQUESTS_PER_SECOND = Unit("requests/s", Better.MORE)
TOKENS_PER_SECOND = Unit("tokens/s", Better.MORE)


@dataclass(frozen=True)
class Target:
    """What is to be reached: a ratio to the rival, or a figure of our own where `of_ratio` is false."""

    limit: float
    of_ratio: bool


@dataclass(frozen=True)
class Line:
    """One comparison. Without a rival's figure `rival_name` says why."""

    what: str
    unit: Unit
    ours: Spread
    rival_name: str
    rival: Spread | None = None
    target: Target | None = None

    def ratio(self) -> float | None:
        """Returns how many times better ours is: above 1 ours is better, whichever way the unit counts."""
        if self.rival is None or min(self.ours.median, self.rival.median) <= 0:
            return None
        more = self.ours.median / self.rival.median
        return more if self.unit.better is Better.MORE else 1 / more

    def shortfall(self) -> float | None:
        """Returns by which share the target is missed, 0 where it is reached, nothing where there is none to judge by."""
        if self.target is None:
            return None
        if self.target.of_ratio:
            ratio = self.ratio()
            return None if ratio is None else max(0.0, 1 - ratio / self.target.limit)
        if self.unit.better is Better.MORE:
            return max(0.0, 1 - self.ours.median / self.target.limit)
        return max(0.0, self.ours.median / self.target.limit - 1)


def render(lines: Sequence[Line]) -> str:
    """Returns the lines as a Markdown table; with columns for targets if there are any."""
    targets = any(line.target for line in lines)
    heads = ["what", "ours", "rival", "rival's figure", "ratio (above 1: ours is better)"]
    heads += ["target", "reached"] if targets else []
    rows = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for line in lines:
        ratio = line.ratio()
        cells = [
            f"{line.what}, {line.unit.name} ({line.unit.better.value} is better)",
            spread(line.ours),
            line.rival_name,
            spread(line.rival) if line.rival else "–",
            f"{ratio:.2f}" if ratio else "–",
        ]
        cells += [target(line), reached(line)] if targets else []
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def target(line: Line) -> str:
    """Returns what is to be reached, or a dash."""
    if line.target is None:
        return "–"
    if line.target.of_ratio:
        return f"ratio ≥ {line.target.limit:g}"
    sign = "≥" if line.unit.better is Better.MORE else "<"
    return f"{sign} {line.target.limit:g} {line.unit.name}"


def reached(line: Line) -> str:
    """Returns whether the target is reached, and if not, how much is missing."""
    missing = line.shortfall()
    if missing is None:
        return "–" if line.target is None else "cannot be said"
    if missing == 0:
        return "yes"
    if line.unit.better is Better.LESS and line.target and not line.target.of_ratio:
        return f"**no**, {missing:.0%} above"
    return f"**no**, {missing:.0%} below"


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
