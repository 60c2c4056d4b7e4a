"""Packs on their way in. Only who sends them sees them, until a record that names them is accepted.

A pack lies in `quarantine/<sender>/` of the repository under its own name, cut short until all of it has come. Whoever
writes to it holds a lock on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wvc.errors import Damage
from wvc.store.canonical import digest
from wvc.store.durable import disk, make_folder
from wvc.store.header import MAX_HEADER, parse_header
from wvc.store.packs import MAX_ENTRIES, NAME, SUFFIX, Pack
from wvc.web.problems import Problem

FOLDER = "quarantine"
STALE = 24 * 3600  # seconds since the last byte came
GROWTH = 4  # times the largest pack: what a pack may decode to, or a sender may keep here


@dataclass(frozen=True)
class Upload:
    """An open file in quarantine, locked.

    here: bytes that are there.
    """

    name: str
    path: Path
    fd: int
    here: int


class Quarantine:
    """The packs that `sender` sent to the repository in `folder` and that nobody announced yet."""

    def __init__(self, folder: Path, sender: str, largest: int) -> None:
        """folder: the .wvc folder. sender: a name that may be that of a folder. largest: bytes of a pack."""
        self._folder, self._largest = folder / FOLDER / sender, largest

    def path(self, name: str) -> Path:
        """Where the pack `name` is, or would be. Raises ValueError for what is no name."""
        if not NAME.fullmatch(name):
            raise ValueError(name)
        return self._folder / (name + SUFFIX)

    def size(self, name: str) -> int | None:
        """Bytes of pack `name` that are there; None for none."""
        with contextlib.suppress(FileNotFoundError):
            found = self.path(name).lstat()
            return found.st_size if stat.S_ISREG(found.st_mode) else None
        return None

    def is_whole(self, name: str) -> bool:
        """True if all of pack `name` has come: a pack that is cut short cannot be opened."""
        with contextlib.suppress(Damage):
            return Pack(self._folder, name).name == name
        return False

    def check_whole(self, upload: Upload) -> None:
        """Raises Damage unless the pack can be opened; what is in it is looked at when a record names it."""
        Pack(self._folder, upload.name)

    @contextlib.contextmanager
    def receive(self, name: str, start: int, total: int) -> Iterator[Upload]:
        """Go on with pack `name`, of `total` bytes, at byte `start`; from 0, begin anew. Raises Problem."""
        if total > self._largest:
            raise Problem(413, f"a pack of {total} bytes is too large here", "ask for a larger --max-pack-mb")
        with disk(self._folder):
            make_folder(self._folder)
            fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
            try:
                yield Upload(name, self.path(name), fd, self._begin(name, fd, start, total))
            finally:
                os.close(fd)

    def _begin(self, name: str, fd: int, start: int, total: int) -> int:
        """Lock what is there, and see where it goes on."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(423, "another connection is sending this pack", "wait for it") from None
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:  # taken away, or on its way to its place
            raise Problem(423, "this pack is being looked at", "wait for it")
        # What is whole stays as it is, so that what was found out about it holds; `remove` it where it is found bad.
        if start not in (0, about.st_size) or start > total or (start == 0 and about.st_size and self.is_whole(name)):
            raise Problem(409, f"{about.st_size} bytes are there", "go on from there", offset=about.st_size)
        if self._kept() - about.st_size + total > GROWTH * self._largest:
            raise Problem(413, "too much lies in quarantine already", "push what was sent, or wait for a day")
        if start == 0:
            os.ftruncate(fd, 0)
        return start

    def _kept(self) -> int:
        with os.scandir(self._folder) as entries:
            return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)

    def check_begin(self, upload: Upload, here: int, total: int) -> bool:
        """True once the header was seen to be what the name promises, False while it has not come. Raises Problem.

        So a bomb is refused before the rest of it comes.
        """
        length = int.from_bytes(os.pread(upload.fd, 8, 0), "little")
        if here < 8:
            return False
        if not 2 <= length <= min(MAX_HEADER, total - 8):
            raise BadPack(upload.name, f"a header of {length} bytes")
        if here < 8 + length:
            return False
        raw = os.pread(upload.fd, 8 + length, 0)
        if digest(raw) != upload.name.split(".", maxsplit=1)[0]:
            raise BadPack(upload.name, "its header does not hash to its name")
        try:
            self._check_growth(raw, total)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise BadPack(upload.name, f"its header is not one of wvc's: {error}") from None
        return True

    def _check_growth(self, raw: bytes, total: int) -> None:
        header = parse_header(raw, total)
        if len(header.entries) > MAX_ENTRIES:
            raise ValueError(f"more than {MAX_ENTRIES} entries")
        sizes = [coding[2] for coding in json.loads(header.metadata["codecs"]).values()]
        if sum(sizes) > GROWTH * self._largest:
            raise ValueError(f"{total} bytes that would become {sum(sizes)}")

    @contextlib.contextmanager
    def held(self, packs: Iterable[str]) -> Iterator[None]:
        """Let nobody write to `packs`, which are about to be checked. Raises Problem where one is being sent."""
        with contextlib.ExitStack() as stack:
            for name in packs:
                try:
                    fd = os.open(self.path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
                    stack.callback(os.close, fd)
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except FileNotFoundError:
                    raise Problem(422, f"pack {name[:12]} is not there", "send it, then the record") from None
                except BlockingIOError:
                    raise Problem(423, f"pack {name[:12]} is still being sent, or looked at", "wait for it") from None
            yield

    def discard(self, upload: Upload) -> None:
        """Remove what turned out to be no pack."""
        upload.path.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Forget pack `name`, which has its place now, or is none."""
        self.path(name).unlink(missing_ok=True)


class BadPack(Problem):
    """A pack that is refused for what is in it."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(422, f"pack {name[:12]} is refused: {why[:300]}", "run `wvc fsck` where it comes from")
        self.name = name


def sweep(folder: Path, known: frozenset[str] = frozenset(), older: float = STALE) -> None:
    """Remove what nobody has sent more of for `older` seconds, and packs in `known`, which have their place."""
    for path in sorted((folder / FOLDER).glob(f"*/*{SUFFIX}")):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.name.removesuffix(SUFFIX) in known or path.stat().st_mtime < time.time() - older:
                    path.unlink()
            finally:
                os.close(fd)
