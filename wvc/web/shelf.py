"""What the server gives out: records and packs that count, by name, and nothing else of the repository."""

from __future__ import annotations

import bisect
import errno
import os
import re
import stat
import threading
from pathlib import Path

from wvc.store.log import Log
from wvc.store.packs import NAME, SUFFIX
from wvc.store.records import State

RECORD = re.compile(r"[0-9]{12}\.json")
PAGE = 10_000  # names in one answer


class Shelf:
    """Log and packs of the repository in `folder`, read only. For several threads."""

    def __init__(self, folder: Path) -> None:
        """folder: the .wvc folder."""
        self._folder = folder
        self._log = Log(folder / "log", folder / "tmp")
        self._lock = threading.Lock()  # the log remembers how far it has read
        self._packs: tuple[int, list[str]] = (-1, [])

    def state(self) -> State:
        """What the log says in sum. Raises CorruptLog."""
        with self._lock:
            return self._log.head()

    def records(self, after: str) -> list[str]:
        """Names of records greater than `after`, sorted, at most PAGE."""
        last = self.state().number
        first = int(after[:12]) + 1 if RECORD.fullmatch(after) else 1
        return [f"{number:012d}.json" for number in range(first, min(last + 1, first + PAGE))]

    def packs(self, after: str) -> list[str]:
        """File names of packs that count, greater than `after`, sorted, at most PAGE."""
        state = self.state()
        with self._lock:
            if self._packs[0] != state.number:
                self._packs = (state.number, sorted(name + SUFFIX for name in state.packs))
            names = self._packs[1]
        first = bisect.bisect_right(names, after)
        return names[first : first + PAGE]

    def open_record(self, name: str) -> int | None:
        """A descriptor of record `name`, if it is in the log."""
        if not RECORD.fullmatch(name) or int(name[:12]) > self.state().number:
            return None
        return open_file(self._folder / "log" / name)

    def open_pack(self, name: str) -> int | None:
        """A descriptor of the pack with file name `name`, if it counts or did until gc condemned it."""
        bare = name.removesuffix(SUFFIX)
        if bare == name or not NAME.fullmatch(bare):
            return None
        state = self.state()
        if bare not in state.packs and bare not in state.condemned:
            return None
        return open_file(self._folder / "packs" / name)


def open_file(path: Path) -> int | None:
    """A descriptor of the file at `path`; None where there is no file, or a link."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP):
            raise
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd
