"""The ceilings of the machine, measured in the same rounds as everything else."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from rivals.llama_cpp import cpu_flags
from rounds import BenchError, run

SOURCE = Path(__file__).with_name("ceilings.c")

READ = "read_bytes_per_second"


@dataclass(frozen=True)
class Ceilings:
    """The program that measures them."""

    program: Path

    @staticmethod
    def build(cache: Path) -> Ceilings:
        """Compiles the program for this machine, unless the cache has it."""
        digest = hashlib.sha256(SOURCE.read_bytes() + cpu_flags().encode()).hexdigest()[:16]
        program = cache / f"ceilings-{digest}"
        if not program.is_file():
            compiler = shutil.which("gcc") or shutil.which("cc")
            if not compiler:
                raise BenchError("`gcc` is not on PATH; it compiles the program that measures the machine's ceilings")
            run([compiler, "-O3", "-march=native", "-o", str(program), str(SOURCE), "-lpthread"])
        return Ceilings(program)

    def measure(self, threads: int) -> dict[str, float]:
        """Returns bytes read per second, and multiplications and additions per second by kind (`f32`, `bf16`, `int8`)."""
        return json.loads(run([str(self.program), str(threads)])[0])
