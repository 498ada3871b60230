#!/usr/bin/env python3
"""Holds exported models against what they answered before: ONNX Runtime, transformers and llama.cpp compute them.

    cargo run -p seedhouse-native --example exports -- FOLDER
    python3 scripts/check_exports.py FOLDER [--only FORMAT]

Needs numpy, onnx, onnxruntime, safetensors, torch and transformers for what is not a GGUF file, and xllamacpp and gguf for what is; `--only` checks
one format, where one environment has not all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Sums in another order; keys and values of our decoders are kept with 11 bits.
TOLERANCE = 1e-3

# Activations of 8 bits beside weights of 4, in networks of 32 numbers: 1.3e-2 was the largest.
TOLERANCE_OF_ROUNDED = 2e-2

# llama.cpp tells probabilities in 32 bits: one below the least is 0 there, and has no logarithm.
LEAST_LOGARITHM = float(np.log(np.finfo(np.float32).tiny))

Case = dict[str, Any]


def array(described: dict[str, Any]) -> np.ndarray:
    """Returns a tensor; what is missing in it is NaN."""
    values = [np.nan if value is None else value for value in described["data"]]
    return np.array(values, dtype=described["type"]).reshape(described["shape"])


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, as a part of the largest number."""
    if found.shape != expected.shape:
        raise SystemExit(f"the shape is {found.shape} instead of {expected.shape}")
    if not np.all(np.isfinite(found)):
        raise SystemExit("a number is missing or not finite")
    greatest = float(np.max(np.abs(expected)))
    if greatest == 0.0:
        raise SystemExit("what is expected is nothing but zeros, which say nothing")
    return float(np.max(np.abs(found - expected))) / greatest


def check_onnx(path: Path, case: Case) -> float:
    """Checks the file by the standard's own rules, and computes it."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = list(case["outputs"])
    results = session.run(names, {name: array(value) for name, value in case["inputs"].items()})
    pairs = zip(results, case["outputs"].values(), strict=True)
    return max(difference(found, array(expected)) for found, expected in pairs)


def check_safetensors(path: Path, case: Case) -> float:
    """Loads a folder as the transformers library does, its tokenizer too."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if not tokenizer.convert_ids_to_tokens(case["tokens"]):
        raise SystemExit("the tokenizer has no tokens")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(torch.tensor([case["tokens"]]), use_cache=False).logits.numpy()
    return difference(logits, array(case["outputs"]["logits"]))


def check_gguf(path: Path, case: Case) -> float:
    """Computes a file with llama.cpp, and a copy of it whose weights are of 32 bits; returns the difference of the copy.

    Where weights are of 16 bits or fewer, llama.cpp rounds what it multiplies with them: the file itself is held to less.
    """
    expected = array(case["outputs"]["logits"])[0, -1].astype(np.float64)
    expected -= np.log(np.sum(np.exp(expected - expected.max()))) + expected.max()
    expected = np.maximum(expected, LEAST_LOGARITHM)
    as_stored = difference(logarithms(path, case["tokens"], len(expected)), expected)
    if as_stored > TOLERANCE_OF_ROUNDED:
        raise SystemExit(f"`{path.name}` differs by {as_stored:.1e} where llama.cpp computes with its own types")
    with tempfile.TemporaryDirectory() as folder:
        widened = Path(folder) / path.name
        widen(path, widened)
        return difference(logarithms(widened, case["tokens"], len(expected)), expected)


def logarithms(path: Path, tokens: list[int], vocab_size: int) -> np.ndarray:
    """Returns the logarithm of the probability of every token that may follow."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 64
    params.n_parallel = 1
    params.warmup = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    asked = {"prompt": tokens, "n_predict": 1, "temperature": 0.0, "n_probs": vocab_size, "cache_prompt": False}
    answer = server.handle_completions(asked)
    told = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    found = np.full(vocab_size, np.nan)
    for token in told:
        found[token["id"]] = token["logprob"]
    return np.maximum(found, LEAST_LOGARITHM)


def widen(path: Path, copy: Path) -> None:
    """Writes the same file with 32-bit weights: a type and a place are as long in the header whatever they are."""
    import gguf

    shutil.copyfile(path, copy)
    reader = gguf.GGUFReader(copy, "r+")
    values, end = [], 0
    for tensor in sorted(reader.tensors, key=lambda tensor: tensor.data_offset):
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32).tobytes()
        *_, kind, place = tensor.field.parts
        kind[0], place[0] = gguf.GGMLQuantizationType.F32, end
        values.append(numbers + bytes(-len(numbers) % reader.alignment))
        end += len(values[-1])
    reader.data.flush()
    start = reader.data_offset
    del reader
    with copy.open("r+b") as file:
        file.truncate(start)
        file.seek(start)
        file.write(b"".join(values))


CHECKS: dict[str, Callable[[Path, Case], float]] = {
    "onnx": check_onnx,
    "safetensors": check_safetensors,
    "gguf": check_gguf,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=CHECKS, action="append", help="check this format; may be given several times")
    arguments = parser.parse_args()
    cases: list[Case] = json.loads((arguments.folder / "cases.json").read_text())
    cases = [case for case in cases if case["format"] in (arguments.only or CHECKS)]
    failures = 0
    for case in cases:
        found = CHECKS[case["format"]](arguments.folder / case["path"], case)
        is_close = found <= TOLERANCE
        failures += not is_close
        print(f"{'ok  ' if is_close else 'FAIL'} {case['path']:45} {found:.1e}")
    if failures or not cases:
        sys.exit(f"{failures} of {len(cases)} exports differ")


if __name__ == "__main__":
    main()
