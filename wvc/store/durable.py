"""Write a file once, so that it is there whole or not at all, whatever happens in between."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wvc.errors import DiskProblem

DRAFT = re.compile(r"\d+-[0-9a-f]{16}")  # names of drafts: process id, nonce

# The user can act on these; anything else is a bug and should look like one.
EXPECTED = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "input/output error",
    errno.EFBIG: "file too large for this file system",
    errno.EMFILE: "too many open files",
    errno.ENAMETOOLONG: "name too long",
    errno.ENOTDIR: "not a folder",
    errno.EISDIR: "is a folder",
    errno.ENOENT: "no such file or folder",
    errno.ELOOP: "a symbolic link where none may be",
}


@contextlib.contextmanager
def disk(path: object) -> Iterator[None]:
    """Turn what the operating system refuses into a DiskProblem. FileExistsError passes: it is an answer."""
    try:
        yield
    except OSError as error:
        if error.errno not in EXPECTED:
            raise
        raise DiskProblem(error.filename or path, EXPECTED[error.errno]) from error


class Draft:
    """A file being written in `tmp`, which `publish` puts in its place.

    Its descriptor holds a lock, by which `sweep` knows that the writer lives. It stays open until `close`, so that
    what took long to make can be published again if something in the way must first be cleared.
    """

    def __init__(self, tmp: Path) -> None:
        tmp.mkdir(exist_ok=True)
        self.path = tmp / f"{os.getpid()}-{secrets.token_hex(8)}"
        self.fd = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.fd, fcntl.LOCK_EX)

    def write(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        view = memoryview(data).cast("B")
        while view:
            done = os.pwrite(self.fd, view[: 1 << 26], offset)
            view, offset = view[done:], offset + done

    def publish(self, target: Path) -> None:
        """Make the file durable under `target`. Raises FileExistsError if that name is taken."""
        # After a failed fsync the kernel may forget that pages are dirty: never try again, the caller starts over.
        os.fsync(self.fd)
        os.fchmod(self.fd, 0o444)
        _link(self.path, target)
        sync_folder(target.parent)

    def close(self) -> None:
        """Remove the draft; what was published stays. One that cannot be removed is left to `sweep`."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                self.path.unlink()
            os.close(self.fd)
            self.fd = -1


def create(target: Path, data: bytes, tmp: Path) -> None:
    """Put `data` under `target`, durable. Raises FileExistsError if that name is taken."""
    draft = Draft(tmp)
    try:
        draft.write(data, 0)
        draft.publish(target)
    finally:
        draft.close()


def replace(target: Path, data: bytes, tmp: Path, mode: int = 0o644) -> None:
    """Put `data` under `target`, in place of what is there: readers see the old file or the new one."""
    draft = Draft(tmp)
    try:
        draft.write(data, 0)
        os.fsync(draft.fd)
        os.fchmod(draft.fd, mode)
        draft.path.replace(target)
        sync_folder(target.parent)
    finally:
        draft.close()


def make_folder(path: Path) -> bool:
    """Make `path` and what is missing above it, durable. True if it was not there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        with contextlib.suppress(PermissionError):  # who may write into a folder need not be allowed to open it
            sync_folder(folder.parent)
    return bool(missing)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Some file systems cannot, and say so with EINVAL."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def flushing(paths: Iterable[Path]) -> Iterator[None]:
    """Make the bytes of files durable while something else is done. Raises DiskProblem at its end.

    What goes wrong is told here and nowhere else: the kernel reports a failed write once.
    """

    def flush(path: Path) -> None:
        with disk(path):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    with ThreadPoolExecutor(1, "flush") as pool:
        pending = [pool.submit(flush, path) for path in paths]
        try:
            yield
            for one in pending:
                one.result()
        finally:
            for one in pending:
                one.cancel()


def sweep(tmp: Path) -> None:
    """Remove what dead writers left in `tmp`. A file whose lock is held belongs to the living.

    A link in the place of `tmp`, which a repository from elsewhere may hold, is not followed: files would be lost.
    """
    with contextlib.suppress(OSError):
        for path in [] if tmp.is_symlink() else list(tmp.iterdir()):
            if DRAFT.fullmatch(path.name):
                _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between a writer's open and its flock the file is empty and unlocked: spare what is empty and young.
            if os.fstat(fd).st_size or path.stat().st_mtime < time.time() - 60:
                path.unlink(missing_ok=True)
        finally:
            os.close(fd)


def _link(source: Path, target: Path) -> None:
    """link(2) is put-if-absent, on shared folders too, where its reply may be lost: one more name means it worked."""
    before = source.stat().st_nlink
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        if source.stat().st_nlink != before + 1:
            raise
