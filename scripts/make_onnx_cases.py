#!/usr/bin/env python3
"""Writes the single-operator cases of the `onnx` package into a folder, for the conformance test of crates/onnx.

Needs a Python with `onnx` (the list in docs/onnx.md is of 1.23.2). The folder is the one named, or `onnx-cases-<version>` in the cache.
Each case becomes a folder with its model, `input_<i>.pb` and `output_<i>.pb` for each set of data, and the tolerance that the package
itself compares with. A value that is no tensor is written as an empty file: such cases are outside of what is claimed.

The last line on stdout is the folder; SEEDHOUSE_TEST_ONNX_CASES names it for the test.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import numpy
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit code."""
    target = Path(arguments[0]) if arguments else cache_folder() / f"onnx-cases-{onnx.__version__}"
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    warnings.simplefilter("ignore")
    numpy.seterr(all="ignore")
    cases = collect_testcases(None)
    for case in cases:
        write_case(case, unfinished / case.name)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    print(f"{len(cases)} cases of onnx {onnx.__version__}", file=sys.stderr)
    print(target)
    return 0


def cache_folder() -> Path:
    """Returns the folder that scripts/fetch_models.py caches in, too."""
    base = os.environ.get("SEEDHOUSE_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seedhouse"


def write_case(case: object, folder: Path) -> None:
    """Writes one case."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(case.model.SerializeToString())
    (folder / "case.json").write_text(json.dumps({"rtol": case.rtol, "atol": case.atol}))
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = folder / f"data_{number}"
        data.mkdir()
        write_values(data, "input", inputs)
        write_values(data, "output", outputs)


def write_values(folder: Path, kind: str, values: list[object]) -> None:
    """Writes the inputs or outputs of a set of data."""
    for index, value in enumerate(values):
        (folder / f"{kind}_{index}.pb").write_bytes(tensor_bytes(value))


def tensor_bytes(value: object) -> bytes:
    """Returns a tensor as the format writes it, or nothing for what is none."""
    if isinstance(value, onnx.TensorProto):
        return value.SerializeToString()
    if isinstance(value, (numpy.ndarray, numpy.generic)):
        try:
            return numpy_helper.from_array(numpy.asarray(value)).SerializeToString()
        except (KeyError, ValueError, TypeError, NotImplementedError):
            return b""
    return b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
