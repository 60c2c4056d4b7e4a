"""The bytes of an id in pieces, checked as they are read from the front to the end."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field

from wvc.errors import CorruptObject
from wvc.store.codecs import CHUNK
from wvc.store.copies import Copy
from wvc.store.packs import chunks_of

RECENT = 2  # decoded chunks that are kept: pieces that do not end where chunks do need the last one again


@dataclass
class Pieces:
    """Random access to one copy. For one thread at a time.

    Bytes that are read in order are hashed on the way; whoever relies on them calls `check` at the end, which reads
    what nobody has. checked: the whole is known to be what its id promises. alone: there is no other copy.
    """

    copy: Copy
    checked: bool = False
    alone: bool = True
    _hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    _hashed: int = 0
    _recent: OrderedDict[int, memoryview] = field(default_factory=OrderedDict)

    @property
    def size(self) -> int:
        """Raw bytes."""
        return self.copy.stored.raw

    def read(self, start: int, stop: int) -> memoryview:
        """Raw bytes start..stop. Raises Damage, if only where it cannot be overlooked."""
        first, last = start // CHUNK, chunks_of(stop)
        if last - first <= 1:
            piece = self._chunk(first)[start - first * CHUNK : stop - first * CHUNK]
        else:
            joined = memoryview(b"".join(self._chunk(number) for number in range(first, last)))
            piece = joined[start - first * CHUNK : stop - first * CHUNK]
        self._follow(piece, start)
        if stop == self.size:  # whoever reads on begins again: nothing is kept of what may be one of many tensors
            self._recent.clear()
        return piece

    def check(self) -> None:
        """Raises Damage unless all of the bytes are what the id promises."""
        while self._hashed < self.size and not self.checked:
            self.read(self._hashed, min(self._hashed - self._hashed % CHUNK + CHUNK, self.size))
        if not self.checked and self._hasher.hexdigest() != self.copy.id:
            raise CorruptObject(self.copy.id)

    def _follow(self, piece: memoryview, start: int) -> None:
        """Hash what continues what was hashed, and look at the result at the end."""
        stop = start + len(piece)
        if self.checked or not start <= self._hashed < stop:
            return
        self._hasher.update(piece[self._hashed - start :])
        self._hashed = stop
        if stop == self.size:
            if self._hasher.hexdigest() != self.copy.id:
                raise CorruptObject(self.copy.id)
            self.checked = True

    def _chunk(self, number: int) -> memoryview:
        if number not in self._recent:
            if len(self._recent) >= RECENT:
                self._recent.popitem(last=False)
            self._recent[number] = self.copy.chunk(number)
        return self._recent[number]
