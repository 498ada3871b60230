"""ONNX Runtime on the bench model: takes graph, threads, streams, prompt and new tokens; prints its rates as JSON.

It runs in the rivals' Python, as a process of its own. The first run of a session is a warm-up and does not count.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import onnxruntime

VOCAB_SIZE, LAYERS, HEADS, HEAD_WIDTH = 32_000, 12, 12, 64


class Decoder:
    """A session with caches that stay where they are."""

    def __init__(self, graph: str, threads: int, streams: int, length: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.binding = self.session.io_binding()
        self.streams, self.filled = streams, 0
        shape = (streams, HEADS, length, HEAD_WIDTH)
        for layer in range(LAYERS):
            for part in ("key", "value"):
                # The value is the array's memory, not a copy: each needs an array of its own.
                cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
                self.binding.bind_ortvalue_input(f"past.{layer}.{part}", cache)
                self.binding.bind_ortvalue_output(f"present.{layer}.{part}", cache)
        self.logits = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((streams, VOCAB_SIZE), np.float32))
        self.binding.bind_ortvalue_output("logits", self.logits)

    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Takes tokens in; returns the most likely next ones."""
        self.filled += tokens.shape[1]
        self.binding.bind_cpu_input("input_ids", np.ascontiguousarray(tokens))
        self.binding.bind_cpu_input("seqlens_k", np.full(self.streams, self.filled - 1, np.int32))
        self.binding.bind_cpu_input("total_sequence_length", np.array(self.filled, np.int32))
        self.session.run_with_iobinding(self.binding)
        return self.logits.numpy().argmax(-1)


def main() -> None:
    """Prints tokens per second of prompt and continuation."""
    graph = sys.argv[1]
    threads, streams, prompt, new_tokens = map(int, sys.argv[2:])
    decoder = Decoder(graph, threads, streams, prompt + new_tokens)
    tokens = np.random.default_rng(1).integers(0, VOCAB_SIZE - 2, (streams, prompt))
    decoder.step(tokens)
    decoder.filled = 0
    begin = time.perf_counter()
    latest = decoder.step(tokens)
    prefilled = time.perf_counter()
    for _ in range(new_tokens):
        latest = decoder.step(latest[:, None])
    end = time.perf_counter()
    print(
        json.dumps(
            {
                "prefill_tokens_per_second": streams * prompt / (prefilled - begin),
                "decode_tokens_per_second": streams * new_tokens / (end - prefilled),
            }
        )
    )


if __name__ == "__main__":
    main()
