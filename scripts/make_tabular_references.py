#!/usr/bin/env python3
"""Makes small networks for tables with random weights, the same networks as ONNX graphs, and beside each `expected.json`: rows, and
what PyTorch makes of them in float64.

The results are in the repository (crates/native/fixtures/tabular). This makes them again: it installs its packages into the cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "crates" / "native" / "fixtures" / "tabular"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

from rivals import packages


def main() -> None:
    """Makes every case, or those that are named."""
    packages.enter()
    from tabular_references import cases

    for name in sys.argv[1:] or cases.CASES:
        print(f"making {name}", file=sys.stderr)
        cases.make(cases.CASES[name], FOLDER / name)


if __name__ == "__main__":
    main()
