"""What the figures were taken on: without it a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def use_cores(count: int) -> int:
    """Confines this process, and all it starts, to `count` cores, the same for both sides; returns how many."""
    allowed = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def load_average() -> str:
    """Returns the load average of the last 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def describe(cores_used: int, load_before: str, command: str) -> str:
    """Returns the lines that stand under the table."""
    system = f"{memory_gigabytes():.0f} GB of memory, {platform.system()} {platform.release()}"
    lines = [
        f"- Machine: {cpu_model()}, {os.cpu_count()} cores ({cores_used} used), {system}",
        f"- Load average (1, 5, 15 minutes): {load_before} before, {load_average()} after",
        f"- Code: {commit()}",
        f"- Repeat with: `{command}`",
    ]
    # Our own runs are `cores_used` at most. Beside others, llama.cpp loses most of its speed in waiting threads.
    if os.getloadavg()[0] > cores_used + 1:
        lines.append("- **Others were using this machine meanwhile: figures and ratios say little, those on text nothing.**")
    return "\n".join(lines)


def cpu_model() -> str:
    """Returns the name that the CPU gives itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def memory_gigabytes() -> float:
    """Returns the size of the memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def commit() -> str:
    """Returns the commit, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown (no git here)"
    return f"commit {answer.stdout.strip()}" if answer.returncode == 0 else "unknown (not a git checkout)"
