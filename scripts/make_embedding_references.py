#!/usr/bin/env python3
"""Makes small sentence encoders with random weights, and beside each `expected.json`: tokens and vectors of a few texts, by
transformers and PyTorch, with the modules of sentence-transformers written out.

The results are in the repository (crates/native/fixtures/embedding). This makes them again: it installs its packages into the cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "crates" / "native" / "fixtures" / "embedding"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

from rivals import packages


def main() -> None:
    """Makes every case, or those that are named."""
    packages.enter()
    from embedding_references import cases

    for name in sys.argv[1:] or cases.CASES:
        print(f"making {name}", file=sys.stderr)
        cases.CASES[name](FOLDER / name)


if __name__ == "__main__":
    main()
