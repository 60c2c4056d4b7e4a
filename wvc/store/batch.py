"""New tensors, files and objects on their way into packs, each stored once and small."""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from wvc.errors import BadFile, Damage
from wvc.progress import SILENT, Progress
from wvc.store import threads
from wvc.store.blobs import Blob, Bytes, held
from wvc.store.canonical import digest
from wvc.store.choice import Choice, choose
from wvc.store.codecs import CHUNK, Plan, encode
from wvc.store.durable import disk
from wvc.store.pack_writer import PackWriter, room
from wvc.store.packs import MAX_ENTRIES, Stored, chunks_of
from wvc.store.reader import Copy, Reader

# A tensor may need an entry for itself and one for the padding before it.
PER_PACK = MAX_ENTRIES // 2 - 2

# More bytes of JSON objects than this go into a pack of their own, rather than into room kept in front of tensors.
IN_FRONT = 1 << 20

# Bytes of tensors that all threads together keep in memory. What is larger than a thread's part of it is read twice and
# written as it comes, into a pack of its own or with others of its kind.
WINDOW = 128 << 20
WIDE_PER_PACK = 512


class Batch:
    """What one operation adds. `publish` makes it durable; a transaction must then announce the packs.

    Its drafts stay open until `close`, so that what was expensive to make is never lost to a lost race.
    """

    def __init__(
        self, packs: Path, tmp: Path, reader: Reader, shapes: Iterable[tuple[int, ...]] = (), objects: int = 0
    ) -> None:
        """reader: of what is stored already. shapes: of tensors to come. objects: bytes of JSON to come."""
        self._folder, self._tmp, self._reader = packs, tmp, reader
        widest = heapq.nlargest(PER_PACK, shapes, key=len)  # no pack holds more, however many are to come
        self._room = room(widest, objects if objects <= IN_FRONT else 0)
        self._writers: list[PackWriter] = []
        self._main: PackWriter | None = None
        self._free: list[PackWriter] = []  # for what is wide; in nobody's hands now
        self._sealed: list[str | None] = []  # packs of the first writers, to which nothing is added; None for no pack
        self._lock = threading.Lock()  # of everything here but the bytes themselves
        self._stored: set[str] = set()
        self.needs: set[str] = set()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def store(self, blobs: Iterable[Blob], progress: Progress = SILENT) -> list[str]:
        """Store tensors and side files, in a few threads; return their ids in the same order.

        blobs: large ones first, so that few bytes of padding are needed. Raises what their `read` raises, and BadFile
        where the bytes changed meanwhile.
        """
        ids = []
        with disk(self._tmp):
            for id, size in threads.spread(self._store, blobs):
                ids.append(id)
                progress.advance(size)
        return ids

    def add(self, dtype: str, shape: tuple[int, ...], chunks: Iterable[Bytes]) -> str:
        """Store one tensor or side file that is in memory; return its id."""
        return self.store([held(dtype, shape, b"".join(chunks))])[0]

    def copy(self, copy: Copy) -> None:
        """Store an entry of another repository's pack as it lies there; its base must come, too. Raises Damage."""
        entry = copy.pack.entries[copy.id]
        with disk(self._tmp), self._lock:
            self._writer().copy(copy.id, entry.dtype, entry.shape, copy.stored, copy.pack.pieces(copy.id))

    def put(self, data: bytes) -> str:
        """Store a JSON object; return its id."""
        id = digest(data)
        with disk(self._tmp), self._lock:
            self._stored.add(id)
            return id if any(writer.has_object(id) for writer in self._writers) else self._writer().put(data)

    def reuse(self, id: str) -> bool:
        """True if `id` is stored already, which the transaction will then rely on."""
        if id not in self._stored:
            try:
                self._rely_on(self._reader.whole(id))
            except Damage:
                return False
        return True

    def publish(self) -> tuple[str, ...]:
        """Write what is new into packs, durable; return the names of all packs so far. What was written stays."""
        for writer in [writer for writer in self._writers[len(self._sealed) :] if not writer.fits()]:
            own = PackWriter(self._folder, self._tmp, room=0)
            self._writers.append(own)
            for data in writer.take_objects():
                own.put(data)
        for writer in self._writers[len(self._sealed) :]:
            self._sealed.append(writer.publish() if len(writer) else None)
        self._main, self._free = None, []
        names = tuple(name for name in self._sealed if name is not None)
        self.needs.update(names)
        return names

    def _store(self, blob: Blob) -> tuple[str, int]:
        """Store one blob: hash it, see whether it is there, choose how, write. Called in several threads."""
        if not blob.fixed and not _is_wide(blob):
            blob = _held(blob)
        hasher = hashlib.sha256()
        for chunk in _chunks(blob):
            hasher.update(chunk)
        id = hasher.hexdigest()
        if self._claim(id) and not self._is_stored(id, blob):
            self._write(id, blob)
        return id, blob.size

    def _claim(self, id: str) -> bool:
        """True for the first who asks: equal tensors are stored once."""
        with self._lock:
            new = id not in self._stored
            self._stored.add(id)
            return new

    def _is_stored(self, id: str, blob: Blob) -> bool:
        """True if a pack has it, whole: what is damaged must be written again. Comparing is faster than hashing."""
        try:
            for copy in self._reader.copies(id):
                if copy.stored.raw == blob.size and _same(copy, blob):
                    self._rely_on(copy)
                    return True
        except Damage:
            pass
        return False

    def _write(self, id: str, blob: Blob) -> None:
        choice = choose(blob, self._reader)
        if choice is not None and self._write_coded(id, blob, choice):
            return
        if choice is not None and choice.base is not None:  # which is damaged
            plain = Choice(Plan(blob.dtype, delta=False), None)
            if self._write_coded(id, blob, plain):
                return
        chunks = _chunks(blob) if blob.fixed else _checked(id, blob)
        with self._writer_for(blob) as writer:
            writer.write(id, blob.dtype, blob.shape, chunks)

    def _write_coded(self, id: str, blob: Blob, choice: Choice) -> bool:
        """False if that turned out to be no smaller, or the base is damaged."""
        base = choice.base
        depth = base.stored.depth + 1 if base else 0
        coding = Stored("delta" if base else "plain", blob.dtype, 0, blob.size, depth, base.id if base else None, "")
        chunks: Iterable[bytes] = _coded(id, blob, choice)
        try:
            if not _is_wide(blob):
                chunks = list(chunks)  # before the writer is taken: others encode meanwhile
            with self._writer_for(blob) as writer:
                if not writer.write_coded(id, coding, chunks, most=blob.size):
                    return False
        except Damage:
            return False
        if base:
            self._rely_on(base)
        return True

    @contextlib.contextmanager
    def _writer_for(self, blob: Blob) -> Iterator[PackWriter]:
        """The writer for what is ready, in turns; one of its own for what is wide and will take a while."""
        if not _is_wide(blob):
            with self._lock:
                yield self._writer()
            return
        with self._lock:
            free = [writer for writer in self._free if len(writer) < WIDE_PER_PACK]
            writer = free[-1] if free else self._new(room([blob.shape] * WIDE_PER_PACK, 0))
            self._free = [other for other in self._free if other is not writer]
        yield writer
        with self._lock:
            self._free.append(writer)

    def _writer(self) -> PackWriter:
        if self._main is None or len(self._main) >= PER_PACK:
            self._main = self._new(self._room)
        return self._main

    def _new(self, room: int) -> PackWriter:
        self._writers.append(PackWriter(self._folder, self._tmp, room=room))
        return self._writers[-1]

    def _rely_on(self, copy: Copy) -> None:
        with self._lock:
            self._stored.add(copy.id)
            self.needs |= copy.packs


def _is_wide(blob: Blob) -> bool:
    return blob.size > WINDOW // threads.workers()


def _held(blob: Blob) -> Blob:
    """The same blob, in memory."""
    data = b"".join(_chunks(blob)) if blob.size > CHUNK else blob.read(0, blob.size)
    kept = held(blob.dtype, blob.shape, data)
    return Blob(kept.dtype, kept.shape, kept.read, fixed=True, bases=blob.bases)


def _chunks(blob: Blob) -> Iterator[Bytes]:
    for start in range(0, blob.size, CHUNK):
        yield blob.read(start, min(start + CHUNK, blob.size))


def _checked(id: str, blob: Blob) -> Iterator[Bytes]:
    """The chunks of what was hashed before. Raises BadFile at the end if it is something else now."""
    hasher = hashlib.sha256()
    for chunk in _chunks(blob):
        hasher.update(chunk)
        yield chunk
    if hasher.hexdigest() != id:
        raise BadFile("the weights", "they changed while they were read", "try again when nobody writes to them")


def _coded(id: str, blob: Blob, choice: Choice) -> Iterator[bytes]:
    """Coded chunks. Raises CorruptObject at the end if the base is damaged."""
    chunks = _chunks(blob) if blob.fixed else _checked(id, blob)
    if choice.base is None:
        yield from (encode(chunk, None, choice.plan) for chunk in chunks)
        return
    bases = choice.base.chunks()
    yield from (encode(chunk, next(bases), choice.plan) for chunk in chunks)
    for _ in bases:  # runs into its end, where it is checked
        pass


def _same(copy: Copy, blob: Blob) -> bool:
    numbers = range(chunks_of(blob.size))
    return all(copy.chunk(n) == blob.read(n * CHUNK, min((n + 1) * CHUNK, blob.size)) for n in numbers)
