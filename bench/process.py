"""Processes: when one is ready, and what it and those it started keep in memory."""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import time
from pathlib import Path
from typing import Callable

from rounds import BenchError


def ready_within(
    limit_seconds: float, process: subprocess.Popen[bytes], port: int, path: str, log: Callable[[], str]
) -> float:
    """Waits until a server that was just started answers a request with 200; returns the seconds that it took."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < limit_seconds:
        if process.poll() is not None:
            raise BenchError(f"the server ended with code {process.returncode}\n  {log()}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            try:
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return time.perf_counter() - begin
            finally:
                connection.close()
        time.sleep(0.002)
    raise BenchError(f"the server did not answer within {limit_seconds} s\n  {log()}")


def family_memory(pid: int) -> float:
    """Returns the memory of a process and all below it in MB: what they share is counted once."""
    pids = [pid]
    for member in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{member}/task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
    return sum(map(proportional, pids))


def proportional(pid: int) -> float:
    """Returns the resident memory of a process in MB, where a page of n processes counts for 1/n; 0 if it is gone."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0


def highest(pid: int) -> float:
    """Returns the most that a process ever had resident in MB; 0 if it is gone."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0.0
    return int(found.group(1)) * 1024 / 1e6 if found else 0.0
