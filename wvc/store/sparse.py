"""A file of which only parts are there yet: what has come of a pack that lies elsewhere.

Beside the file lies a journal of the parts. Both may be lost or wrong at any time: what is read is checked by whoever
relies on it, and what turns out to be wrong is forgotten and comes again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LINE = re.compile(rb"(\d{1,15}) (\d{1,15})\n")
JOURNAL = ".parts"

Part = tuple[int, int]  # start, stop: bytes


class Sparse:
    """The file at `path`, of `size` bytes. For one process at a time; `write` may be called by several threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._journal = path.with_name(path.name + JOURNAL)
        self._parts = merged(self._known()) if path.exists() and path.stat().st_size == size else []
        if not self._parts:
            self.forget()

    def missing(self, wanted: Iterable[Part]) -> list[Part]:
        """What of `wanted` is not there yet, in order, no two overlapping."""
        found = []
        for start, stop in merged(wanted):
            place = start
            for begin, end in self._parts:
                if begin > place and begin < stop:
                    found.append((place, begin))
                if begin < stop and end > place:
                    place = end
            if place < stop:
                found.append((place, stop))
        return found

    @property
    def complete(self) -> bool:
        return not self.missing([(0, self.size)])

    def write(self, start: int, data: bytes) -> None:
        """Put `data` at `start`, then say so in the journal: a kill between the two costs a part, never more."""
        with self.path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), data, start)
        with self._journal.open("ab", buffering=0) as file:
            file.write(b"%d %d\n" % (start, start + len(data)))

    def refresh(self) -> None:
        """Read the journal again, after writes."""
        self._parts = merged(self._known())

    def keep(self, end: int) -> None:
        """Keep the first `end` bytes alone."""
        with self.path.open("rb") as file:
            data = file.read(end)
        self.forget()
        self.write(0, data)
        self.refresh()

    def forget(self) -> None:
        """Begin with nothing. A new file: the old one may have another name, under which it is whole."""
        self._journal.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        with self.path.open("wb") as file:
            file.truncate(self.size)
        self._parts = []

    def _known(self) -> Iterator[Part]:
        try:
            text = self._journal.read_bytes()
        except FileNotFoundError:
            return
        for line in LINE.finditer(text):
            start, stop = int(line[1]), int(line[2])
            if start < stop <= self.size:
                yield start, stop


def merged(parts: Iterable[Part], gap: int = 0) -> list[Part]:
    """The same bytes, in order, in as few parts as can be. gap: bytes between two that may come along."""
    found: list[Part] = []
    for start, stop in sorted(parts):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found


def cut(parts: Iterable[Part], most: int) -> Iterator[Part]:
    """The same bytes in pieces of at most `most`."""
    for start, stop in parts:
        for begin in range(start, stop, most):
            yield begin, min(begin + most, stop)
