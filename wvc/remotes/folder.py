"""A repository in a folder: on this machine, a mounted share, a USB stick. Needs no locks, only link(2)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wvc.errors import MissingObject, NotARepository, Refused, Unreachable
from wvc.remotes import Kind, Remote
from wvc.repo import location
from wvc.store.durable import Draft, disk, sweep
from wvc.store.packs import NAME, SUFFIX

PIECE = 1 << 20
RECORD = re.compile(r"[0-9]{12}\.json")


def open(url: str, *, token: str | None = None) -> Remote:
    """The repository in the folder `url`. Raises Unreachable, UnknownFormat."""
    return Folder(Path(url))


class Folder(Remote):
    """Packs and log of the repository at `path`, whoever it belongs to: nothing else there is read or believed."""

    def __init__(self, path: Path) -> None:
        self.url = str(path)
        try:
            self._folder = location.at(path)
        except NotARepository:
            raise Unreachable(
                f"there is no repository at {path}", "make one there: wvc init DIR, or wvc clone"
            ) from None

    def names(self, kind: Kind, after: str = "") -> list[str]:
        with disk(self.url), os.scandir(self._folder / kind) as entries:
            return sorted(entry.name for entry in entries if entry.name > after and _is_name(kind, entry.name))

    def size(self, kind: Kind, name: str) -> int | None:
        try:
            found = self._path(kind, name).lstat()
        except (FileNotFoundError, MissingObject):
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def read(self, kind: Kind, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        try:
            fd = os.open(self._path(kind, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            raise MissingObject(name, kind) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise MissingObject(name, kind)
            end = os.fstat(fd).st_size if stop is None else stop
            while start < end and (data := os.pread(fd, min(PIECE, end - start), start)):
                yield data
                start += len(data)
        finally:
            os.close(fd)

    def put(self, kind: Kind, name: str, source: BinaryIO, size: int) -> bool:
        target, hasher, position = self._path(kind, name), hashlib.sha256(), 0
        with disk(target):
            draft = Draft(self._folder / "tmp")
            try:
                while position < size and (data := source.read(min(PIECE, size - position))):
                    draft.write(data, position)
                    hasher.update(data)
                    position += len(data)
                if position != size:
                    raise Refused(f"{name[:12]} ended after {position} of {size} bytes")
                draft.publish(target)
            except FileExistsError:
                return self._hash(kind, name) == hasher.digest()
            finally:
                draft.close()
        return True

    def probe(self) -> list[tuple[str, bool]]:
        """Whether the folder can be written to, and a name can be taken only once."""
        tmp = self._folder / "tmp"
        found: list[tuple[str, bool]] = []
        name = f"probe-{secrets.token_hex(8)}"
        with disk(tmp):
            sweep(tmp)
            draft, again = Draft(tmp), Draft(tmp)
            try:
                draft.write(b"one", 0)
                draft.publish(tmp / name)
                found.append(("write a file", True))
                found.append(("take a name only once", not _publishes(again, tmp / name)))
                found.append(("list it", name in {path.name for path in tmp.iterdir()}))
                found.append(("read a part of it", (tmp / name).read_bytes()[1:] == b"ne"))
            finally:
                draft.close()
                again.close()
                (tmp / name).unlink(missing_ok=True)
            found.append(("remove it", not (tmp / name).exists()))
        return found

    def _path(self, kind: Kind, name: str) -> Path:
        """Raises MissingObject for what is no name: it may come from elsewhere, and must not lead anywhere."""
        if not _is_name(kind, name):
            raise MissingObject(name, kind)
        return self._folder / kind / name

    def _hash(self, kind: Kind, name: str) -> bytes:
        hasher = hashlib.sha256()
        for data in self.read(kind, name):
            hasher.update(data)
        return hasher.digest()


def _is_name(kind: Kind, name: str) -> bool:
    if kind == "log":
        return bool(RECORD.fullmatch(name))
    return name.endswith(SUFFIX) and bool(NAME.fullmatch(name.removesuffix(SUFFIX)))


def _publishes(draft: Draft, target: Path) -> bool:
    try:
        draft.publish(target)
    except FileExistsError:
        return False
    return True
