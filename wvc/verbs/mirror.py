"""What is known of a remote: its log, and of its packs what has come so far, as a repository that is only read."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wvc.errors import CorruptLog, CorruptPack, Damage, MissingObject, Rewound
from wvc.progress import SILENT, Progress
from wvc.remotes import Remote
from wvc.repo.location import FORMAT
from wvc.repo.repository import Repository
from wvc.store import threads
from wvc.store.canonical import digest
from wvc.store.copies import Copy
from wvc.store.durable import create, make_folder
from wvc.store.header import MAX_HEADER
from wvc.store.log import LARGEST, Log, verified
from wvc.store.packs import SUFFIX, Pack
from wvc.store.reader import Reader
from wvc.store.records import State
from wvc.store.sparse import Part, Sparse, cut, merged
from wvc.verbs.transfer import Wanted

FRONT = 1 << 18  # bytes of a pack that are asked for first: most headers with their objects fit
PIECE = 8 << 20  # bytes that are asked for at a time
GAP = 1 << 16  # bytes between two parts that come along, rather than ask twice
LINES = 4  # transfers at a time
MOST_OBJECTS = 1 << 31  # bytes of JSON in one pack


@dataclass(frozen=True)
class Pinned:
    """How far the log of a remote was seen: it may grow, and must never be another one."""

    repository: str
    number: int
    hash: str


class Mirror:
    """The remote as far as it is known in `folder`, which may be lost at any time."""

    def __init__(self, folder: Path, remote: Remote, own: Path | None = None) -> None:
        """own: packs that are here already; what lies there under the same hash need not come."""
        self.remote, self.folder, self._own = remote, folder, own
        for name in ("log", "packs", "tmp"):
            make_folder(folder / name)
        (folder / "format").write_text(FORMAT + "\n", encoding="utf-8")
        (folder / "HEAD").write_text("ref: refs/heads/main\n", encoding="utf-8")  # errors ask for it
        self._log = Log(folder / "log", folder / "tmp")
        self._followed: str | None = None  # hash of the newest record that was seen over this connection
        self._sparse: dict[str, Sparse] = {}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """For one process at a time."""
        with (self.folder / "lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @cached_property
    def repository(self) -> Repository:
        """To read from. Tensors and files are there once `bring` has brought them."""
        return Repository.source(self.folder, self.folder)

    def update(self, pinned: Pinned | None, progress: Progress = SILENT) -> State:
        """Read on in the remote's log, and the fronts of its packs. Raises Rewound, CorruptLog, and what remotes raise.

        Nothing of the log is kept before all of it was found to follow what was seen before.
        """
        state = self.follow(pinned)
        new = [name for name in sorted(state.packs) if not self._has_front(name)]
        progress.start("looking at packs", len(new), "packs")
        for _ in threads.spread(self._front, new, LINES):
            progress.advance(1)
        progress.stop()
        return state

    def bring(self, wanted: Wanted, has: Callable[[str], bool], progress: Progress = SILENT) -> None:
        """Let the stored bytes of `wanted` come, and of what they are differences to unless `has` says it is here.

        What came before a cut stays, and does not come again.
        """
        parts: dict[str, list[Part]] = {}
        for id, size in wanted.items():
            copy: Copy | None = self.repository.reader.best(id, size)
            while copy is not None:
                entry = copy.pack.entries[copy.id]
                parts.setdefault(copy.pack.name, []).append((entry.start, entry.stop))
                copy = None if copy.base is None or has(copy.base.id) else copy.base
        todo = [
            (name, part)
            for name, some in parts.items()
            for part in cut(self.sparse(name).missing(merged(some, GAP)), PIECE)
        ]
        progress.start("receiving", sum(stop - start for _, (start, stop) in todo), "B")
        for size in threads.spread(lambda item: self._piece(*item), todo, LINES):
            progress.advance(size)
        progress.stop()
        for name in parts:
            self.sparse(name).refresh()

    def reader(self, own: Reader | None) -> Reader:
        """Of what is here: what has come, and what `own` has."""
        return _Both(self, own)

    def holds(self, name: str, id: str) -> bool:
        """True if entry `id` of pack `name` has come."""
        entry = self.repository.reader.pack(name).entries[id]
        return not self.sparse(name).missing([(entry.start, entry.stop)])

    def sparse(self, name: str) -> Sparse:
        if name not in self._sparse:
            path = self.folder / "packs" / (name + SUFFIX)
            self._sparse[name] = Sparse(path, path.stat().st_size)
        return self._sparse[name]

    def packs(self) -> list[Pack]:
        """All packs of the remote, as far as they have come."""
        return [self.repository.reader.pack(name) for name in sorted(self.repository.log.head().packs)]

    def trim(self) -> None:
        """Keep only the fronts: what was wanted of the packs lies elsewhere by now, under another name or copied."""
        for name, sparse in self._sparse.items():
            end = self.repository.reader.pack(name).objects_end
            if sparse.missing([(end, sparse.size)]) != [(end, sparse.size)]:
                sparse.keep(end)

    def distrust(self) -> None:
        """Keep of nothing but the fronts: something that came was wrong."""
        for pack in self.packs():
            self.sparse(pack.name).keep(pack.objects_end)

    def follow(self, pinned: Pinned | None) -> State:
        """Read on in the remote's log alone: `update` must follow before anything else is asked. Raises as it does."""
        state = self._known(pinned)
        if state.number and state.hash != self._followed:  # is it still the same history?
            last = self._record(state.number)
            if last is None or digest(last) != state.hash:
                raise _rewound(self.remote, last)
        names = self.remote.names("log", after=f"{state.number:012d}.json")
        if names != [f"{state.number + i + 1:012d}.json" for i in range(len(names))]:
            raise CorruptLog(state.number + 1, f"{self.remote.url} has a gap there, or records that are none")
        numbers = range(state.number + 1, state.number + 1 + len(names))
        records = [data for data in threads.spread(self._record, numbers, LINES) if data is not None]
        if state.number + len(names) == 0:
            raise CorruptLog(1, f"{self.remote.url} has no log")
        new = verified(records, state)
        if pinned is not None and not state.number:
            _check_pinned(self.remote, pinned, new.repository, records)
        for number, data in zip(numbers, records, strict=False):
            create(self.folder / "log" / f"{number:012d}.json", data, self.folder / "tmp")
        self._followed = new.hash
        return new

    def _known(self, pinned: Pinned | None) -> State:
        """How far the log is here; nothing where what is here does not fit what was pinned."""
        with contextlib.suppress(Damage):
            state = self._log.head()
            if pinned is None or not state.number:
                return state
            same = state.repository == pinned.repository and state.number >= pinned.number
            if same and self._log.read(pinned.number)[1] == pinned.hash:
                return state
        self._log = Log(self.folder / "log", self.folder / "tmp")
        for path in (self.folder / "log").iterdir():
            path.unlink()
        return State("")

    def _record(self, number: int) -> bytes | None:
        try:
            return _few(self.remote.read("log", f"{number:012d}.json", 0, LARGEST + 1), LARGEST)
        except MissingObject:
            return None

    def _has_front(self, name: str) -> bool:
        """False too for one that was cut short, or that is not what its name says."""
        if not (self.folder / "packs" / (name + SUFFIX)).exists():
            return False
        try:
            end = self.repository.reader.pack(name).objects_end
        except Damage:
            return False
        return not self.sparse(name).missing([(0, end)])

    def _front(self, name: str) -> None:
        """Header and objects of a pack: history without weights."""
        size = self.remote.size("packs", name + SUFFIX)
        if size is None or size < 8:
            raise MissingObject(name, "pack")
        path = self.folder / "packs" / (name + SUFFIX)
        sparse = self._sparse[name] = Sparse(path, size)
        sparse.forget()
        sparse.write(0, self._own_front(name) or self._header(name, size))
        sparse.refresh()
        end = Pack(path.parent, name).objects_end  # checks the header
        if end > MAX_HEADER + MOST_OBJECTS:
            raise CorruptPack(name, "its objects are too large")
        for part in cut(sparse.missing([(0, end)]), PIECE):
            self._piece(name, part)
        sparse.refresh()

    def _own_front(self, name: str) -> bytes | None:
        """From a pack of ours with the same header, where there is one."""
        for path in self._same(name):
            with contextlib.suppress(Damage, OSError), path.open("rb") as file:
                return file.read(Pack(path.parent, path.name.removesuffix(SUFFIX)).objects_end)
        return None

    def _header(self, name: str, size: int) -> bytes:
        """The header, and what comes along."""
        data = self._read(name, 0, min(FRONT, size))
        length = 8 + int.from_bytes(data[:8], "little")
        if length > min(size, MAX_HEADER + 8):
            raise CorruptPack(name, "its header is too large")
        return data + (self._read(name, len(data), length) if length > len(data) else b"")

    def _same(self, name: str) -> Sequence[Path]:
        hash = name.split(".", maxsplit=1)[0]
        return [] if self._own is None else sorted(self._own.glob(f"{hash}.*{SUFFIX}"))

    def _piece(self, name: str, part: Part) -> int:
        sparse, place = self.sparse(name), part[0]
        for data in self.remote.read("packs", name + SUFFIX, *part):
            if place + len(data) > part[1]:
                break
            sparse.write(place, data)  # as it comes: a cut costs what is on its way, no more
            place += len(data)
        if place != part[1]:
            raise CorruptPack(name, "the remote has not as much of it as it said, or more")
        return place - part[0]

    def _read(self, name: str, start: int, stop: int) -> bytes:
        data = _few(self.remote.read("packs", name + SUFFIX, start, stop), stop - start)
        if len(data) != stop - start:
            raise CorruptPack(name, "the remote has less of it than it said")
        return data


class _Both(Reader):
    """Reads what has come, and what was here before."""

    def __init__(self, mirror: Mirror, own: Reader | None) -> None:
        super().__init__(mirror.folder / "packs", self._names)
        self._mirror, self._own = mirror, own

    @contextlib.contextmanager
    def explained(self, id: str) -> Iterator[None]:
        """Let an error about `id` say what it touches there."""
        with self._mirror.repository.reader.explained(id):
            yield

    def pack(self, name: str) -> Pack:
        mirror = self._mirror.repository
        return (
            mirror.reader.pack(name) if name in mirror.log.head().packs or self._own is None else self._own.pack(name)
        )

    def _names(self, id: str) -> list[str]:
        there = [name for name in self._mirror.repository.packs_with(id) if self._mirror.holds(name, id)]
        return there + ([] if self._own is None else [name for name in self._own.names_with(id) if name not in there])


def _few(pieces: Iterable[bytes], most: int) -> bytes:
    """All of `pieces`, which may not be endless. Raises Damage."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) > most:
            raise Damage("the remote sends more than was asked for")
    return bytes(data)


def _check_pinned(remote: Remote, pinned: Pinned, repository: str, records: Sequence[bytes]) -> None:
    if repository != pinned.repository:
        raise Rewound(f"{remote.url} is another repository than before", "wvc remote add it under another name")
    if len(records) < pinned.number or digest(records[pinned.number - 1]) != pinned.hash:
        raise _rewound(remote, None)


def _rewound(remote: Remote, last: bytes | None) -> Rewound:
    what = "lacks what it had" if last is None else "has another history than it had"
    return Rewound(
        f"{remote.url} {what}: it was restored from an older copy, or tampered with",
        "ask whoever keeps it; `wvc remote accept NAME` takes it as it is now",
    )
