"""Have a checkpoint's pickle read by a process of its own, which may do nothing else, and take its answer apart.

The answer repeats what the file says. Here it gets its types; whether its numbers make sense is for `torchfile`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wvc.errors import BadFile, WvcError
from wvc.repo.torchfile_child import FORBIDDEN
from wvc.store.header import MAX_TENSORS

MEMORY = 2 << 30  # bytes of address space
PROCESSOR = 60  # seconds
PATIENCE = 120  # seconds
ANSWER = 64 << 20  # bytes
# The package's folder comes last, so that nothing in it stands before the standard library.
PROGRAM = "import sys; sys.path.append(sys.argv.pop()); from wvc.repo.torchfile_child import main; main()"
ROOT = Path(__file__).resolve().parents[2]

PROBLEMS = {
    "marks": ("is marked as conjugate or negative", "save it with `.resolve_conj().resolve_neg()`"),
    "_rebuild_sparse_tensor": ("is sparse", "save it as a dense one, with `.to_dense()`"),
    "_rebuild_sparse_csr_tensor": ("is sparse", "save it as a dense one, with `.to_dense()`"),
    "_rebuild_qtensor": ("is quantized", "save it as a plain one, with `.dequantize()` or `.int_repr()`"),
    "_rebuild_meta_tensor_no_storage": ("is on the meta device and has no values", None),
    "_rebuild_nested_tensor": ("is a nested one", "save its parts as plain tensors"),
}


@dataclass(frozen=True)
class Storage:
    """Elements start..start + size of the storage that the file calls `key`, which has `count` of class `kind`."""

    key: str
    kind: str
    count: int
    start: int
    size: int


@dataclass(frozen=True)
class View:
    """A tensor. dtype: torch's name, "" for that of its storage. offset, shape, stride: in elements of it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Storage


@dataclass
class Contents:
    """What a pickle says.

    left_out: names of what lies beside the tensors, numbers and texts apart; a hundred at most.
    order: keys and classes of a legacy file's storages in the order of their bytes, which begin at byte `end`.
    """

    views: list[View] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    order: list[tuple[str, str]] = field(default_factory=list)
    end: int | None = None


def unpickle(path: Path, fd: int, start: int, stop: int, *, legacy: bool, key: str | None) -> Contents:
    """What the pickle says that begins at byte `start` of the open file and ends before `stop`. Raises BadFile.

    legacy: several pickles follow each other. key: which of the mappings to take, None where that is plain.
    """
    asked = {"fd": fd, "start": start, "stop": stop, "legacy": legacy, "key": key}
    answer, status = _run(fd, json.dumps({**asked, "memory": MEMORY, "seconds": PROCESSOR}))
    if not answer.startswith(b"ready\n"):
        raise WvcError(f"cannot start {sys.executable or 'Python'} to read {path}", "reinstall wvc, or Python")
    if len(answer) > ANSWER:
        raise BadFile(path, "holds more tensors than fit into the answer of the process that reads it")
    try:
        contents = _parsed(path, answer.splitlines()[1:])
    except (ValueError, TypeError, IndexError, RecursionError):
        contents = Contents()
    if contents.end is None:
        raise BadFile(path, _why(status))
    return contents


def _run(fd: int, asked: str) -> tuple[bytes, int]:
    """What the process answered, and its exit status."""
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, asked, str(ROOT)]
    # Nothing of the environment is its business; but without this one some Pythons do not start.
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environment, cwd="/", pass_fds=(fd,)
        )
    except OSError:
        return b"", 0
    timer = threading.Timer(PATIENCE, process.kill)
    timer.start()
    try:
        with process:
            answer = process.stdout.read(ANSWER + 1) if process.stdout else b""
            if len(answer) > ANSWER:
                process.kill()
    finally:
        timer.cancel()
        process.kill()
    return answer, process.returncode


def _why(status: int) -> str:
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        return "its pickle takes longer to read than any checkpoint should"
    if status == FORBIDDEN:
        return "its pickle tried to do what no checkpoint does"
    return "its pickle crashed the process that read it"


def _parsed(path: Path, lines: list[bytes]) -> Contents:
    """The answer with its types checked; `end` is None where it is not whole. Raises BadFile for what it refuses."""
    contents, storages = Contents(), []
    for line in lines:
        match json.loads(line):
            case ["storage", str(key), str(kind), int(count), int(start), int(size)]:
                storages.append(Storage(key, kind, count, start, size))
            case ["tensor", str(name), str(dtype), list(shape), list(stride), int(offset), int(n)] if n >= 0:
                numbers = tuple(_integers(shape)), tuple(_integers(stride))
                contents.views.append(View(name, dtype, *numbers, offset, storages[n]))
            case ["problem", str(name), str(maker)]:
                what, hint = PROBLEMS.get(maker, (f"is of a kind that wvc does not know ({_clean(maker[:80])})", None))
                raise BadFile(path, f"tensor {name[:80]!a} {what}", hint)
            case ["refused", str(why), hint]:
                raise BadFile(path, _clean(why), _clean(hint) if isinstance(hint, str) else None)
            case ["left", str(name)]:
                contents.left_out.append(_clean(name))
            case ["order", str(key), str(kind)]:
                contents.order.append((key, kind))
            case ["end", int(end)]:
                contents.end = end
            case _:
                raise ValueError(line)
        if len(contents.views) > MAX_TENSORS or len(contents.order) > MAX_TENSORS:
            raise BadFile(path, f"holds more than {MAX_TENSORS} tensors")
    return contents


def _integers(values: list[object]) -> Iterator[int]:
    for value in values:
        if type(value) is not int:
            raise TypeError
        yield value


def _clean(text: str) -> str:
    """One short line without anything that moves the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text[:500])
