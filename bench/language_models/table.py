"""The table to reach: ours, the best rival, the ratio and the share of the machine's ceiling; below it every rival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rounds import Spread
from table import Better, Unit, TOKENS_PER_SECOND, number, spread


@dataclass(frozen=True)
class Result:
    """What came of one row; ours is missing where only the rivals ran."""

    what: str
    threads: int
    ours: Spread | None
    share: float | None
    rivals: Mapping[str, Spread]
    least_ratio: float
    least_share: float | None = None
    ceilings: Mapping[str, float] = field(default_factory=dict)
    unit: Unit = TOKENS_PER_SECOND

    def best_rival(self) -> str:
        """Returns the name of the rival with the best median."""
        best = max if self.unit.better is Better.MORE else min
        return best(self.rivals, key=lambda name: self.rivals[name].median)

    def ratio(self) -> float | None:
        """Returns how many times better than the best rival ours is."""
        if self.ours is None:
            return None
        more = self.ours.median / self.rivals[self.best_rival()].median
        return more if self.unit.better is Better.MORE else 1 / more

    def reached(self) -> str:
        """Returns whether the row is reached, and if not, what is missing."""
        ratio = self.ratio()
        if ratio is None:
            return "–"
        missing = []
        if ratio < self.least_ratio:
            missing.append(f"ratio {1 - ratio / self.least_ratio:.0%} below")
        if self.least_share is not None and self.share is not None and self.share < self.least_share:
            missing.append(f"share {self.share:.0%} instead of {self.least_share:.0%}")
        return f"**no**: {', '.join(missing)}" if missing else "yes"

    def target(self) -> str:
        """Returns what is to be reached."""
        share = f", {self.least_share:.0%} of the ceiling" if self.least_share is not None else ""
        return f"{self.least_ratio:g} x{share}"


def render(results: Sequence[Result]) -> str:
    """Returns both tables in Markdown."""
    heads = ["what", "threads", "ours", "share of the ceiling", "best rival", "its figure", "ratio", "at least", "reached"]
    rows = [line(heads), f"|{' --- |' * len(heads)}"]
    for result in results:
        best, ratio = result.best_rival(), result.ratio()
        cells = [
            f"{result.what}, {result.unit.name}",
            str(result.threads),
            spread(result.ours) if result.ours else "–",
            f"{result.share:.0%}" if result.share is not None else "–",
            best,
            spread(result.rivals[best]),
            number(ratio) if ratio is not None else "–",
            result.target(),
            result.reached(),
        ]
        rows.append(line(cells))
    return "\n".join([*rows, "", *every_rival(results)])


def every_rival(results: Sequence[Result]) -> list[str]:
    """Returns the lines of the second table."""
    rows = [line(["what", "threads", "every rival, median (least–most)", "ceilings meanwhile, median"]), f"|{' --- |' * 4}"]
    for result in results:
        rivals = ", ".join(f"{name}: {spread(figures)}" for name, figures in result.rivals.items())
        rows.append(line([f"{result.what}, {result.unit.name}", str(result.threads), rivals, limits(result.ceilings)]))
    return rows


def limits(ceilings: Mapping[str, float]) -> str:
    """Returns the ceilings in words."""
    if not ceilings:
        return "–"
    products = ", ".join(f"{kind} {rate / 1e9:.0f}" for kind, rate in ceilings.items() if kind != "read_bytes_per_second")
    return f"read {ceilings['read_bytes_per_second'] / 1e9:.1f} GB/s; {products} G operations/s"


def line(cells: Sequence[str]) -> str:
    """Returns a line of a table."""
    return f"| {' | '.join(cells)} |"
