"""What the machine is and how fast it copies, hashes and writes, as JSON.

    python docs/benchmarks/storage_machine.py FOLDER

The figures that bound every tool of storage.py: one thread of SHA-256, one of memcpy, and a file written and flushed.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

BLOCK = 256 << 20


def facts() -> dict[str, object]:
    """The machine in words and numbers; load is the average of the last minute, before anything was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def speeds(folder: Path) -> dict[str, float]:
    """Bytes per second, the best of three, of the three things that storing a file cannot do without."""
    data = bytearray(os.urandom(1 << 20) * (BLOCK >> 20))
    copy = bytearray(BLOCK)

    def duplicate() -> None:
        memoryview(copy)[:] = data

    def write() -> None:
        with (folder / "probe").open("wb", buffering=0) as file:
            for _ in range(4):
                file.write(data)
            os.fsync(file.fileno())

    rates = {
        "memcpy": BLOCK / _best(duplicate),
        "sha256": BLOCK / _best(lambda: hashlib.sha256(data)),
        "write and fsync": 4 * BLOCK / _best(write),
    }
    (folder / "probe").unlink()
    return rates


def _best(act: Callable[[], object]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        act()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    print(json.dumps({**facts(), "speeds": speeds(Path(sys.argv[1]))}))
