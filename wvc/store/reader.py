"""Read tensors and files from packs, whichever way they are stored, and check them against their ids."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from wvc.errors import CorruptObject, CorruptPack, Damage, MissingObject
from wvc.store.codecs import CHUNK, Plan, decode
from wvc.store.packs import Pack, Stored, chunks_of

T = TypeVar("T")

OPEN = 256  # packs at a time: maps and descriptors are not endless


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
        """Chunk `number` of the raw bytes, CHUNK of them but at the end. Raises Damage if they cannot be made out."""
        start = number * CHUNK
        size = min(CHUNK, self.stored.raw - start)
        if self.stored.codec == "raw":
            return memoryview(self.pack.piece(self.id, start, start + size))
        out = memoryview(bytearray(size))
        base = self.base.chunk(number) if self.base else None
        begin, end = self._offsets[number : number + 2]
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
    def _offsets(self) -> list[int]:
        """Where the coded chunks begin, and the last one ends."""
        stored, offsets = self.stored, [0]
        table = self.pack.piece(self.id, stored.size - 4 * chunks_of(stored.raw), stored.size)
        for place in range(0, len(table), 4):
            offsets.append(offsets[-1] + int.from_bytes(table[place : place + 4], "little"))
        if offsets[-1] + len(table) != stored.size:
            raise CorruptPack(self.pack.name, f"entry {self.id[:12]} has a table that does not fit it")
        return offsets


class Reader:
    """Packs in a folder. May be used by several threads."""

    def __init__(self, folder: Path, find: Callable[[str], Sequence[str]]) -> None:
        """find: names of the packs that hold an id."""
        self.folder, self._find = folder, find
        self._opened: dict[str, Pack] = {}
        self._lock = threading.Lock()

    def read(self, id: str, size: int | None = None) -> memoryview:
        """The bytes of `id`, checked against it: mapped where they are stored raw. Raises MissingObject, Damage.

        size: how many there must be, if that is known: what promises another number is not even decoded.
        """
        return self._first(id, size, Copy.read)

    def whole(self, id: str, size: int | None = None) -> Copy:
        """A copy that was read to its end and is what its id promises. Raises MissingObject, Damage."""
        return self._first(id, size, Copy.checked)

    def chunks(self, id: str, size: int | None = None) -> Iterator[memoryview]:
        """The bytes of `id` in pieces of CHUNK bytes; rely on them only once the iteration has ended. Raises Damage."""
        copies = list(itertools.islice(self.copies(id, size=size), 2))
        return (copies[0] if len(copies) == 1 else self.whole(id, size)).chunks()

    def _first(self, id: str, size: int | None, look: Callable[[Copy], T]) -> T:
        """What `look` finds in the first copy in which it finds something: another pack may hold a good one."""
        problems: list[Damage] = []
        copies = self.copies(id, size=size)
        while True:
            try:
                return look(next(copies))
            except StopIteration:
                raise problems.pop() from None
            except Damage as error:
                problems.append(error)

    def has(self, id: str) -> bool:
        """True if a pack is known to hold `id`, whether it can be read or not."""
        return bool(self._find(id))

    def best(self, id: str) -> Copy:
        """The copy that takes the least to decode. Raises MissingObject, Damage."""
        return next(self.copies(id))

    def copies(self, id: str, below: int | None = None, size: int | None = None) -> Iterator[Copy]:
        """All copies of `id`, the least deep first. Raises MissingObject or Damage at the end, if there was none.

        below: only those of a smaller depth. That differences never go round in a circle rests on this.
        size: only those that promise so many raw bytes.
        """
        found: list[tuple[Pack, Stored]] = []
        problems: list[Damage] = [MissingObject(id)]
        for name in self._find(id):
            try:
                pack = self.pack(name)
                stored = pack.stored(id)
            except Damage as error:
                problems.append(error)
            except KeyError:  # the lineage says so, the pack does not
                problems.append(CorruptPack(name, f"it lacks {id[:12]}"))
            else:
                if size is None or stored.raw == size:
                    found.append((pack, stored))
                else:
                    problems.append(CorruptObject(id))
        some = False
        for pack, stored in sorted(found, key=lambda item: item[1].depth):
            if below is not None and stored.depth >= below:
                continue
            try:
                for copy in self.ways(pack, id):
                    some = True
                    yield copy
            except Damage as error:
                problems.append(error)
        if not some:
            # Popped: an exception that a local name refers to keeps this frame, and all below it, in memory.
            raise problems.pop()

    def pack(self, name: str) -> Pack:
        """An open pack. Raises MissingObject, CorruptPack."""
        with self._lock:
            if name not in self._opened:
                if len(self._opened) >= OPEN:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[name] = Pack(self.folder, name)
            return self._opened[name]

    def ways(self, pack: Pack, id: str) -> Iterator[Copy]:
        """The copies that entry `id` of `pack` makes possible. Raises Damage if it needs a base that is not there."""
        stored = pack.stored(id)
        if stored.base is None:
            yield Copy(pack, id, stored)
        else:
            for base in self.copies(stored.base, stored.depth, stored.raw):
                yield Copy(pack, id, stored, base)
