"""Copies: an entry of a pack together with a copy of each base that it needs, down to one that needs none."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from wvc.errors import CorruptObject, CorruptPack
from wvc.store import recent
from wvc.store.codecs import CHUNK, Plan, decode
from wvc.store.packs import Pack, Stored, chunks_of


@dataclass(frozen=True)
class Copy:
    """One way to get at the bytes of `id`: an entry of a pack, and a copy of its base where it has one.

    Nothing is checked here but that there is something.
    """

    pack: Pack
    id: str
    stored: Stored
    base: Copy | None = None

    @property
    def packs(self) -> frozenset[str]:
        """Names of the packs that it relies on."""
        return frozenset({self.pack.name}) | (self.base.packs if self.base else frozenset())

    def chunk(self, number: int) -> memoryview:
        """Chunk `number` of the raw bytes, CHUNK of them but at the end, not to be written to.

        Raises Damage if they cannot be made out.
        """
        start = number * CHUNK
        size = min(CHUNK, self.stored.raw - start)
        if self.stored.codec == "raw":
            return memoryview(self.pack.piece(self.id, start, start + size))
        return recent.chunk((self.pack.name, self.id, number), lambda: self._decoded(number, size))

    def _decoded(self, number: int, size: int) -> memoryview:
        out = np.empty(size, np.uint8).data  # not zeroed first: every byte is written
        base = self.base.chunk(number) if self.base else None
        begin, end = (int(place) for place in self._offsets[number : number + 2])
        try:
            decode(self.pack.piece(self.id, begin, end), base, Plan(self.stored.dtype, base is not None), out)
        except ValueError:
            raise CorruptObject(self.id) from None
        return out

    def piece(self, start: int, stop: int) -> memoryview:
        """Raw bytes start..stop, not checked. Raises Damage."""
        first = start // CHUNK
        if stop <= (first + 1) * CHUNK:
            return self.chunk(first)[start - first * CHUNK : stop - first * CHUNK]
        data = b"".join(self.chunk(number) for number in range(first, chunks_of(stop)))
        return memoryview(data)[start - first * CHUNK : stop - first * CHUNK]

    def chunks(self) -> Iterator[memoryview]:
        """All chunks. Raises CorruptObject at the end if they are not what the id promises."""
        hasher = hashlib.sha256()
        for number in range(chunks_of(self.stored.raw)):
            chunk = self.chunk(number)
            hasher.update(chunk)
            yield chunk
        if hasher.hexdigest() != self.id:
            raise CorruptObject(self.id)

    def read(self) -> memoryview:
        """The raw bytes, checked: mapped where they are stored raw. Raises Damage."""
        if self.stored.codec == "raw":
            return self.pack.read(self.id)
        data, position = bytearray(self.stored.raw), 0
        for chunk in self.chunks():
            data[position : position + len(chunk)] = chunk
            position += len(chunk)
        return memoryview(data)

    def checked(self) -> Copy:
        """This copy, if it is what its id promises. Raises Damage."""
        for _ in self.chunks():
            pass
        return self

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        """Where the coded chunks begin, and the last one ends."""
        stored = self.stored
        table = self.pack.piece(self.id, stored.size - 4 * chunks_of(stored.raw), stored.size)
        offsets = np.zeros(chunks_of(stored.raw) + 1, np.int64)
        np.cumsum(np.frombuffer(table, "<u4"), out=offsets[1:])
        if offsets[-1] + len(table) != stored.size:
            raise CorruptPack(self.pack.name, f"entry {self.id[:12]} has a table that does not fit it")
        return offsets
