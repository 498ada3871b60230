"""One completion by llama.cpp inside xllamacpp: takes model, threads and request, prints the timings as JSON.

It runs in the Python that has the package, as a process of its own.
"""

import json
import os
import sys

import xllamacpp


def parameters(model: str, threads: int) -> "xllamacpp.CommonParams":
    """Returns one slot on the CPU, without the warm-up and the caches that a single answer cannot profit from."""
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.cpuparams.n_threads = threads
    settings.cpuparams_batch.n_threads = threads
    settings.n_ctx = 2048
    settings.n_parallel = 1
    settings.warmup = False
    settings.use_jinja = False
    settings.cache_ram_mib = 0
    settings.n_ctx_checkpoints = 0
    # Fitting the model to the devices' memory took 1.7 s of a 2.1 s start.
    settings.fit_params = False
    return settings


def main() -> None:
    """Prints llama.cpp's own timings of one greedy completion."""
    model, threads, request = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    server = xllamacpp.Server(parameters(model, threads))
    answer = server.handle_completions(
        {
            "prompt": request["prompt"],
            "n_predict": request["max_tokens"],
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
    )
    if "timings" not in answer:
        sys.exit(f"llama.cpp answered without timings: {json.dumps(answer)[:500]}")
    print(json.dumps(answer["timings"]), flush=True)
    # Stopping its HTTP server is no part of the answer.
    os._exit(0)


main()
