"""Files from outside, open for reading at any place, and safetensors files among them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from wvc.errors import BadFile
from wvc.store.blobs import Blob, held
from wvc.store.durable import EXPECTED
from wvc.store.header import Header, read_header

SAFE = ".safetensors"
MODEL = "model" + SAFE  # what a safetensors file is called that came alone
HEADER = ".header"  # follows the name of a safetensors file: the side file that holds its length field and header
PIECE = 1 << 30  # Linux reads 2 GiB at once, at most


def open_regular(path: Path) -> int:
    """A descriptor of the regular file at `path`, links followed. Raises BadFile."""
    try:
        # A pipe would wait for its writer, for ever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        missing = error.errno == errno.ENOENT
        dangling = missing and path.is_symlink()
        why = "is a link to nothing" if dangling else "no such file" if missing else EXPECTED.get(error.errno or 0)
        raise BadFile(path, why or (error.strerror or "cannot be read").lower()) from None
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return fd
    os.close(fd)
    raise BadFile(path, "is a folder" if stat.S_ISDIR(kind) else "is neither a file nor a folder")


def read_at(fd: int, start: int, stop: int, path: Path) -> bytes:
    """Bytes start..stop of an open file. Raises BadFile where there are fewer."""
    pieces = []
    while start < stop:
        piece = os.pread(fd, min(PIECE, stop - start), start)
        if not piece:
            raise BadFile(path, "became shorter while it was read", "try again when nobody writes to it")
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Opened:
    """Something that is closed at the end of a `with`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError


class SafeFile(Opened):
    """A safetensors file whose header has been checked. Use it in a `with`.

    tensors: by name. files: the header, so that the file can be written again.
    """

    format = "safetensors"

    def __init__(self, path: Path, name: str = MODEL) -> None:
        """name: what the file will be called when it is written again. Raises BadFile."""
        self.path = path
        self._fd = open_regular(path)
        try:
            self.header: Header = read_header(self._fd, path)
        except BaseException:
            self.close()
            raise
        self.tensors: Mapping[str, Blob] = {
            entry.name: Blob(entry.dtype, entry.shape, self._from(entry.start)) for entry in self.header.entries
        }
        self.files: Mapping[str, Blob] = {name + HEADER: held("U8", (len(self.header.raw),), self.header.raw)}

    def close(self) -> None:
        fd, self._fd = self._fd, -1  # a number that is let go may soon be another file's
        if fd >= 0:
            os.close(fd)

    def _from(self, place: int) -> Callable[[int, int], bytes]:
        return lambda start, stop: read_at(self._fd, place + start, place + stop, self.path)


def side_file(path: Path) -> Blob:
    """Any regular file as a blob, opened only while it is read. Raises BadFile, later too if it is another one then."""
    fd = open_regular(path)
    try:
        about = os.fstat(fd)
    finally:
        os.close(fd)

    def read(start: int, stop: int) -> bytes:
        fd = open_regular(path)
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino, now.st_size) != (about.st_dev, about.st_ino, about.st_size):
                raise BadFile(path, "was replaced while it was read", "try again when nobody writes to it")
            return read_at(fd, start, stop, path)
        finally:
            os.close(fd)

    return Blob("U8", (about.st_size,), read)
