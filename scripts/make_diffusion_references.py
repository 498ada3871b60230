#!/usr/bin/env python3
"""Makes small diffusion models with random weights, and beside each `expected.json`: what they predict of two images at several
timesteps, by PyTorch. Makes as well what is drawn step by step from given noise, by NumPy.

The results are in the repository (crates/native/fixtures/diffusion, crates/engine/fixtures/diffusion). This makes them again: it
installs its packages into the cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "crates" / "native" / "fixtures" / "diffusion"
SAMPLING = REPOSITORY / "crates" / "engine" / "fixtures" / "diffusion" / "sampling.json"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

from rivals import packages


def main() -> None:
    """Makes every model, or those that are named, and what is drawn."""
    packages.enter()
    from diffusion_references import cases

    for name in sys.argv[1:] or cases.CASES:
        print(f"making {name}", file=sys.stderr)
        cases.CASES[name](FOLDER / name)
    cases.sampling(SAMPLING)


if __name__ == "__main__":
    main()
