#!/usr/bin/env python3
"""Computes with ONNX Runtime what the real ONNX graphs give for made-up inputs, for tests/it/onnx_models.rs.

Needs a Python with `onnxruntime` and `numpy`, and the folder that `fetch_models.py onnx` prints. Writes JSON to stdout. Inputs are sines and
counters that a test can make in one line; of an output the shape, the mean of the absolute values and up to 64 values are kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy
import onnxruntime

SAMPLES = 64


def sines(*shape: int) -> dict[str, object]:
    """Describes an input of f32: the sine of a thousandth of the index."""
    return {"sine": list(shape)}


def counter(modulus: int, *shape: int) -> dict[str, object]:
    """Describes an input of int64: seven times the index, and one, modulo a number."""
    return {"counter": list(shape), "modulus": modulus}


def whole(value: int, *shape: int) -> dict[str, object]:
    """Describes an input of int64 with one value everywhere."""
    return {"whole": list(shape), "value": value}


CASES = {
    "ch_PP-OCRv4_det_infer.onnx": {"x": sines(1, 3, 96, 160)},
    "ch_PP-OCRv4_rec_infer.onnx": {"x": sines(2, 3, 48, 160)},
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": {"x": sines(1, 3, 48, 192)},
    "silero_vad.onnx": {"input": sines(1, 576), "state": sines(2, 1, 128), "sr": whole(16000)},
    "silero_vad_op18_ifless.onnx": {"input": sines(1, 576), "state": sines(2, 1, 128), "sr": whole(16000)},
    "magika-standard-v3-3.onnx": {"bytes": counter(256, 2, 2048)},
    "tashkeel-bilstm.int8.onnx": {"input_ids": counter(30, 1, 24)},
    "tashkeel-rawi.int8.onnx": {"input": counter(30, 2, 17)},
    "minilm-l6-v2.int8.onnx": {
        "input_ids": counter(29000, 2, 12),
        "attention_mask": whole(1, 2, 12),
        "token_type_ids": whole(0, 2, 12),
    },
}


def value_of(description: dict[str, object], element: str) -> numpy.ndarray:
    """Makes the input that a description means."""
    if "sine" in description:
        count = int(numpy.prod(description["sine"]))
        values = numpy.sin(0.001 * numpy.arange(count, dtype=numpy.float64))
        return values.astype(numpy.float32).reshape(description["sine"])
    kind = numpy.int32 if "int32" in element else numpy.int64
    if "whole" in description:
        return numpy.full(description["whole"], description["value"], dtype=kind)
    count = int(numpy.prod(description["counter"]))
    values = (7 * numpy.arange(count) + 1) % description["modulus"]
    return values.astype(kind).reshape(description["counter"])


def answer(folder: Path, name: str, inputs: dict[str, dict[str, object]]) -> dict[str, object]:
    """Runs one graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
    elements = {value.name: value.type for value in session.get_inputs()}
    feed = {key: value_of(description, elements[key]) for key, description in inputs.items()}
    outputs = {}
    for output, values in zip(session.get_outputs(), session.run(None, feed)):
        flat = values.reshape(-1).astype(numpy.float64)
        step = max(1, flat.size // SAMPLES)
        outputs[output.name] = {
            "shape": list(values.shape),
            "mean_absolute": float(numpy.abs(flat).mean()),
            "step": step,
            "values": [round(float(value), 6) for value in flat[::step][:SAMPLES]],
        }
    return {"inputs": inputs, "outputs": outputs}


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit code."""
    folder = Path(arguments[0])
    made_with = f"onnxruntime {onnxruntime.__version__}"
    graphs = {name: answer(folder, name, inputs) for name, inputs in CASES.items()}
    json.dump({"made_with": made_with, "graphs": graphs}, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
