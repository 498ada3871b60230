"""Where the bench model lies, in all its forms; `bench_model.py` makes it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from rivals import llama_cpp, packages
from rounds import BenchError, say

MAKERS = ("bench_model.py", "bench_onnx.py")

# Of the weights that one token reads: all but the table of token vectors, of which it reads a row.
WEIGHTS_READ = 12 * (4 * 768 * 768 + 3 * 768 * 2048) + 32_000 * 768
BITS = {"f32": 32.0, "bf16": 16.0, "int8": 8.0, "Q8_0": 8.5, "Q4_0": 4.5, "Q4_K": 4.5}

# Multiplications and additions of the products of one token of a prompt; its logits are computed for the last one only.
OPERATIONS_PER_PROMPT_TOKEN = 2 * (WEIGHTS_READ - 32_000 * 768)


@dataclass(frozen=True)
class ModelFiles:
    """One folder of the cache."""

    folder: Path

    def hugging_face(self, storage: str) -> Path:
        """Returns a directory: `f32` or `bf16`."""
        return self.folder / f"hugging-face-{storage}"

    def gguf(self, kind: str) -> Path:
        """Returns a file: `f32`, `bf16`, `q8_0`, `q4_0` or `q4_k`."""
        return self.folder / f"{kind}.gguf"

    def onnx(self, storage: str) -> Path:
        """Returns a graph: `f32` or `int8`."""
        return self.folder / f"{storage}.onnx"


def bytes_per_token(storage: str) -> float:
    """Returns how many bytes of weights one token reads."""
    return WEIGHTS_READ * BITS[storage] / 8


def make() -> ModelFiles:
    """Makes what is missing; takes some minutes and 3 GB once."""
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in MAKERS)).hexdigest()
    files = ModelFiles(packages.cache_folder() / "model-134m")
    stamp = files.folder / "made"
    if stamp.is_file() and stamp.read_text() == digest:
        return files
    files.folder.mkdir(exist_ok=True)
    for name in MAKERS:
        say(f"making the bench model in {files.folder}: {name}")
        command = [packages.install(), str(here / name), str(files.folder), llama_cpp.program("llama-quantize")]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise BenchError(f"`{' '.join(command)}` failed")
    stamp.write_text(digest)
    return files
