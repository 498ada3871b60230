"""ONNX Runtime on sentences: takes graph, threads, seconds and a file with lists of tokens; prints runs over all of them per second as JSON.

The sentences are one batch, filled up to the longest one, as the library takes them; the mean over their own tokens and the
normalisation are a part of a run. It runs in the rivals' Python, as a process of its own. The first runs do not count.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

WARM_UP = 2
LEAST_RUNS = 3


def main() -> None:
    """Prints the rate."""
    graph, threads, seconds, file = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    sentences = json.loads(Path(file).read_text())
    longest = max(map(len, sentences))
    ids = np.array([sentence + [0] * (longest - len(sentence)) for sentence in sentences], np.int64)
    mask = np.array([[1] * len(sentence) + [0] * (longest - len(sentence)) for sentence in sentences], np.int64)
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    kinds = {entry.name: np.int32 if "int32" in entry.type else np.int64 for entry in session.get_inputs()}
    given = {name: given[name].astype(kind) for name, kind in kinds.items()}
    weights = (mask / mask.sum(axis=1, keepdims=True)).astype(np.float32)[:, None, :]

    def run() -> np.ndarray:
        rows = session.run(None, given)[0]
        vectors = np.matmul(weights, rows)[:, 0]
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    for _ in range(WARM_UP):
        run()
    runs, begin = 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - begin < float(seconds):
        run()
        runs += 1
    print(json.dumps({"runs_per_second": runs / (time.perf_counter() - begin)}))


if __name__ == "__main__":
    main()
