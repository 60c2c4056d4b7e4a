"""Read tensors and files from packs, whichever way they are stored, and check them against their ids."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from wvc.errors import CorruptObject, CorruptPack, Damage, MissingObject
from wvc.store.copies import Copy
from wvc.store.packs import Pack, Stored
from wvc.store.pieces import Pieces

OPEN = 128  # packs at a time: maps and descriptors are not endless
LARGEST = 1 << 28  # bytes of a JSON object

# Copies by pack and id, and None for an entry that makes none: each is looked at once, however often others rest on it.
Known = dict[tuple[str, str], Copy | None]


class Reader:
    """Packs in a folder. May be used by several threads."""

    def __init__(
        self,
        folder: Path,
        find: Callable[[str], Sequence[str]],
        explain: Callable[[str, Damage], None] = lambda id, problem: None,
    ) -> None:
        """find: names of the packs that hold an id. explain: may add to an error about an id before it is raised."""
        self.folder, self._find, self._explain = folder, find, explain
        self._opened: dict[str, Pack] = {}
        self._lock = threading.Lock()

    def read(self, id: str, size: int | None = None) -> memoryview:
        """The bytes of `id`, checked against it: mapped where they are stored raw. Raises MissingObject, Damage.

        size: how many there must be, if that is known: what promises another number is not even decoded.
        """
        with self.explained(id):
            try:
                return self.best(id, size).read()
            except Damage:
                if not self._has_others(id):
                    raise
            return self._find_whole(id, size).read()

    def object(self, id: str) -> bytes:
        """The bytes of a JSON object, which is always stored raw. Raises MissingObject, Damage."""
        with self.explained(id):
            problems: list[Damage] = [MissingObject(id)]
            for pack, stored in self._entries(id, problems):
                try:
                    if stored.raw > LARGEST:
                        raise CorruptPack(pack.name, f"{id[:12]} is no object")
                    return bytes(pack.read(id))
                except Damage as error:
                    problems.append(error)
            raise problems.pop()

    def chunks(self, id: str, size: int | None = None) -> Iterator[memoryview]:
        """The bytes of `id` in pieces of CHUNK bytes; rely on them only once the iteration has ended. Raises Damage."""
        with self.explained(id):
            copy = self._find_whole(id, size) if self._has_others(id) else self.best(id, size)
            yield from copy.chunks()

    def pieces(self, id: str, size: int | None = None) -> Pieces:
        """The bytes of `id` in any order, checked on the way. Raises MissingObject, Damage: now, or while reading."""
        with self.explained(id):
            if self._has_others(id):
                return Pieces(self._find_whole(id, size), checked=True, alone=False)
            return Pieces(self.best(id, size))

    def whole(self, id: str, size: int | None = None) -> Copy:
        """A copy that was read to its end and is what its id promises. Raises MissingObject, Damage."""
        with self.explained(id):
            if self._has_others(id):
                return self._find_whole(id, size)
            return self.best(id, size).checked()

    @contextlib.contextmanager
    def explained(self, id: str) -> Iterator[None]:
        """Let an error about `id` say what it touches."""
        try:
            yield
        except Damage as problem:
            self._explain(id, problem)
            raise

    def size(self, id: str) -> int:
        """Raw bytes that `id` promises to have. Raises MissingObject, Damage."""
        with self.explained(id):
            return self.best(id).stored.raw

    def has(self, id: str) -> bool:
        """True if a pack is known to hold `id`, whether it can be read or not."""
        return bool(self._find(id))

    def names_with(self, id: str) -> Sequence[str]:
        """Names of the packs that hold `id`."""
        return self._find(id)

    def best(self, id: str, size: int | None = None) -> Copy:
        """The copy that takes the least to decode, not checked. Raises MissingObject, Damage."""
        return self._resolve(id, {}, size=size)

    def copy(self, pack: Pack, id: str) -> Copy:
        """Entry `id` of `pack`, not checked. Raises MissingObject, Damage for want of a base."""
        return self._entry(pack, id, {}, check=False)

    def check(self, pack: Pack, id: str) -> None:
        """Raises Damage unless entry `id` of `pack` can be read with some base that is there."""
        try:
            self.copy(pack, id).checked()
        except Damage:
            self._entry(pack, id, {}, check=True)

    def pack(self, name: str) -> Pack:
        """An open pack. Raises MissingObject, CorruptPack."""
        with self._lock:
            if name not in self._opened:
                if len(self._opened) >= OPEN:
                    self._opened.pop(next(iter(self._opened)))
                self._opened[name] = Pack(self.folder, name)
            return self._opened[name]

    def _find_whole(self, id: str, size: int | None) -> Copy:
        """The first copy that is whole; of what it rests on, too, whatever is whole."""
        return self._resolve(id, {}, size=size, check=True)

    def _has_others(self, id: str) -> bool:
        """True if there is a choice, of copies of `id` or of what they rest on."""
        names: Sequence[str] = self._find(id)
        copy: Copy | None = None
        while len(names) == 1:
            try:
                copy = self.best(id) if copy is None else copy.base
            except Damage:
                return False
            if copy is None:
                return False
            names = self._find(copy.id)
        return len(names) > 1

    def _resolve(
        self, id: str, known: Known, *, below: int | None = None, size: int | None = None, check: bool = False
    ) -> Copy:
        """The least deep copy. below: only of a smaller depth: that differences never go in circles rests on this."""
        problems: list[Damage] = [MissingObject(id)]
        for pack, stored in sorted(self._entries(id, problems), key=lambda item: item[1].depth):
            if size is not None and stored.raw != size:
                problems.append(CorruptObject(id))
            elif below is None or stored.depth < below:
                try:
                    return self._entry(pack, id, known, check=check)
                except Damage as error:
                    problems.append(error)
        # Popped: an exception that a local name refers to keeps this frame, and all below it, in memory.
        raise problems.pop()

    def _entries(self, id: str, problems: list[Damage]) -> Iterator[tuple[Pack, Stored]]:
        for name in self._find(id):
            try:
                pack = self.pack(name)
                yield pack, pack.stored(id)
            except Damage as error:
                problems.append(error)
            except KeyError:  # the lineage says so, the pack does not
                problems.append(CorruptPack(name, f"it lacks {id[:12]}"))

    def _entry(self, pack: Pack, id: str, known: Known, *, check: bool) -> Copy:
        key = (pack.name, id)
        if key not in known:
            known[key] = None
            stored = pack.stored(id)
            base = None
            if stored.base is not None:
                base = self._resolve(stored.base, known, below=stored.depth, size=stored.raw, check=check)
            copy = Copy(pack, id, stored, base)
            known[key] = copy.checked() if check else copy
        found = known[key]
        if found is None:
            raise CorruptObject(id)
        return found
