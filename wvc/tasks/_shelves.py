"""Files of a dataset, in a folder or in a tar that is never unpacked."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tarfile
import tempfile
import threading
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Protocol

from wvc.errors import TaskProblem

DEEPEST = 6  # folders; also ends loops of symbolic links
GZIP = b"\x1f\x8b"

Stamp = tuple[int, ...]


class Shelf(Protocol):
    """A place that holds files under relative paths, parts joined by "/"."""

    @property
    def stamp(self) -> Stamp | None:
        """Changes whenever a file does, or None where only the files' own stamps tell."""

    def files(self) -> dict[str, Stamp]:
        """Path and stamp of every regular file that is not hidden. Raises TaskProblem where it cannot be read."""

    def read(self, path: str, stamp: Stamp) -> bytes:
        """The bytes of one file. Raises OSError where that fails. Called from several threads at once."""


def opened(path: Path) -> Shelf:
    """The shelf at `path`. Raises TaskProblem where there is none."""
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from None
    return Folder(path) if path.is_dir() else Tar(path, (status.st_size, status.st_mtime_ns))


def unreadable(path: Path, error: OSError) -> TaskProblem:
    """The error that tells the user why `path` cannot be read."""
    hints = {
        errno.EACCES: "ask its owner for permission to read it",
        errno.ENOSPC: "set TMPDIR to a folder with room for the inflated tar, or inflate it yourself",
    }
    hint = hints.get(error.errno or 0, "look where the data are, then name that folder or tar")
    return TaskProblem(f"{path}: {error.strerror or error}", hint)


@dataclass(frozen=True)
class Folder:
    """Files below a folder; their stamp is size and time of change. Symbolic links are followed."""

    path: Path
    stamp: Stamp | None = None

    def files(self) -> dict[str, Stamp]:
        try:
            return dict(self._below(self.path, "", DEEPEST))
        except OSError as error:
            raise unreadable(Path(error.filename or self.path), error) from None

    def read(self, path: str, stamp: Stamp) -> bytes:
        return (self.path / path).read_bytes()

    def _below(self, folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, Stamp]]:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
        for entry in visible:
            if entry.is_dir() and depth:
                yield from self._below(folder / entry.name, f"{prefix}{entry.name}/", depth - 1)
            elif entry.is_file():
                status = entry.stat()
                yield prefix + entry.name, (status.st_size, status.st_mtime_ns)


class Tar:
    """Members of a tar, plain or gzip; their stamp is offset and length. A compressed one is inflated once, unnamed."""

    def __init__(self, path: Path, stamp: Stamp) -> None:
        self.path = path
        self.stamp: Stamp | None = stamp
        self._plain: IO[bytes] | None = None
        self._lock = threading.Lock()

    def files(self) -> dict[str, Stamp]:
        try:
            with self._open() as file, tarfile.open(fileobj=file, mode="r:") as tar:
                members = {_name(self.path, m): (m.offset_data, m.size) for m in tar if m.isreg() and not m.issparse()}
                _check_end(file, tar.offset)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise TaskProblem(f"{self.path}: not a tar that can be read: {error}", "give a folder or a tar") from None
        except OSError as error:
            raise unreadable(self.path, error) from None
        return {name: stamp for name, stamp in members.items() if not _is_hidden(name)}

    def read(self, path: str, stamp: Stamp) -> bytes:
        offset, length = stamp
        with self._open() as file:
            return os.pread(file.fileno(), length, offset)

    def _open(self) -> IO[bytes]:
        """The plain bytes, from their beginning; for a compressed tar, another descriptor of the inflated file."""
        with self._lock:
            if self._plain is None and not self._is_gzip():
                return self.path.open("rb")
            if self._plain is None:
                self._plain = self._inflated()
        file = os.fdopen(os.dup(self._plain.fileno()), "rb")
        file.seek(0)
        return file

    def _is_gzip(self) -> bool:
        with self.path.open("rb") as file:
            return file.read(2) == GZIP

    def _inflated(self) -> IO[bytes]:
        plain = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, plain.close)
        with gzip.open(self.path) as packed:
            shutil.copyfileobj(packed, plain, 1 << 20)
        plain.flush()
        return plain


def _name(tar: Path, member: tarfile.TarInfo) -> str:
    """The member's path without "." parts. Raises TaskProblem on one that leaves the tar."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise TaskProblem(f"{tar}: refused, a member is called {member.name!r}", "pack it again with relative names")
    return str(path)


def _check_end(file: IO[bytes], offset: int) -> None:
    """Raise EOFError unless the mark of the end stands at `offset`: tarfile takes a tar cut short for a whole one."""
    file.seek(offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it is damaged or was cut off")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))
