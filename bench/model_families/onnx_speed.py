"""ONNX Runtime on one graph: takes graph, threads, seconds and `name=shape` of its input; prints runs per second as JSON.

It runs in the rivals' Python, as a process of its own. The first runs are a warm-up and do not count.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime

WARM_UP = 2
LEAST_RUNS = 3


def main() -> None:
    """Prints the rate."""
    graph, threads, seconds, entry = sys.argv[1:]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name, shape = entry.split("=")
    numbers = np.random.default_rng(1).standard_normal([int(size) for size in shape.split("x")], np.float32)
    for _ in range(WARM_UP):
        session.run(None, {name: numbers})
    runs, begin = 0, time.perf_counter()
    while runs < LEAST_RUNS or time.perf_counter() - begin < float(seconds):
        session.run(None, {name: numbers})
        runs += 1
    print(json.dumps({"runs_per_second": runs / (time.perf_counter() - begin)}))


if __name__ == "__main__":
    main()
