"""Run commands one after another and say what they cost; and what must be still before and after."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ERROR = re.compile(r"^[\w.]*(?:Error|Exception)\b.*$|^(?:error|fatal): .*$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """What some commands took together.

    seconds: on the wall, until the last one returned.
    settled: seconds until the kernel had written everything to the disk as well.
    cpu: seconds of all processes.
    rss: bytes, the largest process of them all at its peak, with the pages of mapped files that it touched.
    private: bytes without those of mapped files, of the processes that were started (not of their children) at their
        peak, read every 20 ms.
    failure: None, or what the command that failed has to say.
    """

    seconds: float
    settled: float
    cpu: float
    rss: int
    private: int
    failure: str | None


def timed(commands: Sequence[Sequence[str]], folder: Path, env: Mapping[str, str], log: Path) -> Usage:
    """Run the commands in `folder` until one fails; what they print is added to `log`."""
    start = time.perf_counter()
    cpu, rss, private, failure = 0.0, 0, 0, None
    for command in commands:
        begin = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            code, usage, peak = _run(command, folder, env, output.fileno())
        cpu += usage.ru_utime + usage.ru_stime
        rss, private = max(rss, usage.ru_maxrss * 1024), max(private, peak)
        if code != 0:
            failure = _reason(log.read_bytes()[begin:].decode(errors="replace"), code)
            break
    seconds = time.perf_counter() - start
    os.sync()
    return Usage(seconds, time.perf_counter() - start, cpu, rss, private, failure)


def _run(
    command: Sequence[str], folder: Path, env: Mapping[str, str], output: int
) -> tuple[int, resource.struct_rusage, int]:
    process = subprocess.Popen(command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    peak = _Peak(process.pid)
    peak.start()
    _, status, usage = os.wait4(process.pid, 0)
    peak.stop.set()
    peak.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage, peak.bytes


class _Peak(threading.Thread):
    """The most private memory that a process was seen to have, in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.status = Path(f"/proc/{pid}/status")
        self.stop = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self.stop.wait(0.02):
            try:
                text = self.status.read_text()
            except OSError:
                return
            sizes = re.findall(r"^Rss(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE)
            self.bytes = max(self.bytes, 1024 * sum(map(int, sizes)))


def _reason(output: str, code: int) -> str:
    """The first error in the output, else its last line."""
    if "nothing to commit" in output:
        return "not stored (nothing to commit)"
    found = ERROR.search(output)
    lines = [found.group()] if found else output.strip().splitlines()[-1:]
    return f"failed: {lines[0].strip()[:80]}" if lines else f"failed with exit code {code}"


def size(*paths: Path) -> int:
    """Bytes of all files below `paths`, as `du --bytes` counts them, without the folders' own."""
    return sum(file.lstat().st_size for file in _files(*paths))


def warm(*paths: Path) -> None:
    """Have the kernel keep all files below `paths` in memory, as far as there is room."""
    buffer = bytearray(1 << 20)
    for path in _files(*paths):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def cold() -> None:
    """Have the kernel forget all files that it holds in memory; only root can."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _files(*paths: Path) -> list[Path]:
    found = [path for path in paths if path.is_file()]
    for path in paths:
        for folder, _, names in os.walk(path):
            found += [file for name in names if (file := Path(folder, name)).is_file() and not file.is_symlink()]
    return found
