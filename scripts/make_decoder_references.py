#!/usr/bin/env python3
"""Makes small decoders with random weights, as Hugging Face directories and GGUF files, and beside each `expected.json`:
token ids, the logits of every position and a greedy continuation, by transformers and PyTorch.

The results are in the repository (crates/native/fixtures/decoders). This makes them again: it installs its packages into the
cache, and builds llama.cpp there for its quantiser. With names it makes only those.
"""

from __future__ import annotations

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "crates" / "native" / "fixtures" / "decoders"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

from rivals import packages


def main() -> None:
    """Makes what is asked for."""
    packages.enter()
    from decoder_references import cases, gguf_cases, gguf_files, hugging_face

    wanted = sys.argv[1:]
    makers = {case.name: lambda case=case: hugging_face.make(FOLDER / case.name, case) for case in cases.CASES}
    makers["original"] = lambda: hugging_face.make_post_norm_decoder(FOLDER / "original", seed=9)
    for case in gguf_cases.cases():
        makers[case.name] = lambda case=case: gguf_files.make(FOLDER / case.name, case)
    unknown = set(wanted) - makers.keys()
    if unknown:
        raise SystemExit(f"no case is called {', '.join(sorted(unknown))}; there are {', '.join(makers)}")
    for name in wanted or makers:
        print(f"making {name}", file=sys.stderr)
        makers[name]()


if __name__ == "__main__":
    main()
