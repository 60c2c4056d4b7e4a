"""Faults in the calls by which a program changes files: calls.c, compiled, and what it says."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# As in calls.h.
KILL_BEFORE, KILL_AFTER, TEAR, FAIL, LOSE = 1, 2, 3, 4, 5
PID, MODE, AT, ERROR, STICKY, LOGGING, CALLS, WRITES, SYNCED_AGAIN, UNSYNCED = range(10)
REMEMBERED = 64
CONTROL = struct.Struct("q")
RECORD = struct.Struct("8q")


class Unusable(Exception):
    """There is no C compiler, or what it compiled cannot be put in front of libc."""


def compile(folder: Path) -> Path:
    """The library made from calls.c. Raises Unusable."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unusable("no C compiler")
    library = folder / "calls.so"
    source = Path(__file__).with_suffix(".c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl", "-pthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unusable(f"{compiler}: {done.stderr[-500:]}")
    return library


def environment(library: Path, folder: Path) -> dict[str, str]:
    """Variables under which a program's changes below `folder` can be watched; two files beside it are for that."""
    control, log = folder.with_name("control"), folder.with_name("log")
    control.write_bytes(bytes(CONTROL.size * (UNSYNCED + REMEMBERED)))
    log.write_bytes(b"")
    names = {"FAULTS_ROOT": folder, "FAULTS_CONTROL": control, "FAULTS_LOG": log, "LD_PRELOAD": library}
    return {name: str(value) for name, value in names.items()}


def check(library: Path, folder: Path) -> None:
    """Raises Unusable where a program that runs under the library is not watched."""
    code = "import os, sys; from tests.faults.calls import Calls; calls = Calls(); calls.count(); "
    code += "os.mkdir(sys.argv[1]); os.rmdir(sys.argv[1]); print(calls.stop())"
    command = [sys.executable, "-c", code, str(folder / "probe")]
    env = os.environ | environment(library, folder)
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False)
    if done.stdout.strip() != "2":
        raise Unusable(f"LD_PRELOAD does not work: {done.stdout}{done.stderr[-500:]}")


class Calls:
    """The control block of this process, its children and the library. Nothing is watched until it is asked for."""

    def __init__(self) -> None:
        with Path(os.environ["FAULTS_CONTROL"]).open("r+b") as file:
            self._block = mmap.mmap(file.fileno(), CONTROL.size * (UNSYNCED + REMEMBERED))

    def count(self) -> None:
        """From here on, count the calls of this process."""
        self.arm(0, 0)

    def arm(self, mode: int, at: int, *, error: int = 0, sticky: bool = False) -> None:
        """Let the call `at`, counted from 1, of this process meet with `mode`; if `sticky`, all after it too."""
        self._block[:] = bytes(len(self._block))
        for field, value in ((MODE, mode), (AT, at), (ERROR, error), (STICKY, sticky), (PID, os.getpid())):
            self._set(field, value)

    def record(self) -> None:
        """From here on, write down what this process changes."""
        Path(os.environ["FAULTS_LOG"]).write_bytes(b"")
        self.count()
        self._set(LOGGING, 1)

    def go_on(self) -> None:
        """Watch again, after a stop."""
        self._set(PID, os.getpid())

    def stop(self) -> int:
        """Watch no longer; how many calls there were."""
        self._set(PID, 0)
        return self._get(CALLS)

    @property
    def writes(self) -> int:
        """How many of the calls were writes."""
        return self._get(WRITES)

    @property
    def synced_again(self) -> int:
        """How many fsyncs there were of files whose fsync had failed."""
        return self._get(SYNCED_AGAIN)

    def _get(self, field: int) -> int:
        return int(CONTROL.unpack_from(self._block, field * CONTROL.size)[0])

    def _set(self, field: int, value: int) -> None:
        CONTROL.pack_into(self._block, field * CONTROL.size, value)


def mark(text: str) -> None:
    """Put `text` into the log."""
    ctypes.CDLL(None).faults_mark(text.encode())


@dataclass(frozen=True)
class Change:
    """One line of the log. Files and folders are inodes.

    kind: c(reate), d (mkdir), l(ink), r(ename), u(nlink, rmdir too), w(rite), t(runcate), a(llocate), s(ync), m(ark).
    folder, name: where the name is that the change is about; `other` and `other_name` where it goes.
    offset: of a write; the length after truncate and allocate.
    """

    kind: str
    node: int
    folder: int
    other: int
    offset: int
    name: str
    other_name: str
    data: bytes


def changes() -> Iterator[Change]:
    """What was written down."""
    log, at = Path(os.environ["FAULTS_LOG"]).read_bytes(), 0
    while at < len(log):
        kind, node, folder, other, offset, *sizes = RECORD.unpack_from(log, at)
        at += RECORD.size
        parts = []
        for size in sizes:
            parts.append(log[at : at + size])
            at += size
        name, other_name, data = parts
        yield Change(chr(kind), node, folder, other, offset, name.decode(), other_name.decode(), data)
