"""Folders in which something is made before it takes its place, and which do not stay where their maker died."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

NAME = re.compile(r"\.wvc-\d+-[0-9a-f]{16}")  # process id, nonce
LOCK = "lock"  # a file in it that its maker has locked, and has written to once it had


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed when the `with` ends. What the dead left beside it is removed first."""
    sweep(parent)
    path = parent / f".wvc-{os.getpid()}-{secrets.token_hex(8)}"
    path.mkdir(mode=0o700)
    try:
        with (path / LOCK).open("xb", buffering=0) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.write(b"\n")
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the folders in `parent` whose makers are dead."""
    with contextlib.suppress(OSError):
        with os.scandir(parent) as entries:
            found = [entry.name for entry in entries if NAME.fullmatch(entry.name)]
        for name in found:
            _remove_if_dead(parent / name)


def _remove_if_dead(path: Path) -> None:
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        young = path.lstat().st_mtime > time.time() - 60
        try:
            fd = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            written = False
        else:
            stack.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            written = os.fstat(fd).st_size > 0
        if written or not young:  # else its maker may be about to lock it
            shutil.rmtree(path)  # which follows no links
