"""New tensors, files and objects on their way into packs, each stored once and small."""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from wvc.errors import Damage, Interrupted
from wvc.progress import SILENT, Progress
from wvc.store import recent, threads
from wvc.store.blobs import Blob, Bytes, held
from wvc.store.canonical import digest
from wvc.store.choice import Choice, choose
from wvc.store.codecs import Plan
from wvc.store.copies import Copy
from wvc.store.durable import disk
from wvc.store.pack_writer import PackWriter, room, second
from wvc.store.packs import MAX_ENTRIES, Pack, Stored
from wvc.store.reader import Reader
from wvc.store.reading import Reading, equals

# A tensor may need an entry for itself and one for the padding before it.
PER_PACK = MAX_ENTRIES // 2 - 2

# More bytes of JSON objects than this go into a pack of their own, rather than into room kept in front of tensors.
IN_FRONT = 1 << 20

# Bytes of tensors that all threads together keep in memory. What is larger than a thread's part of it is written as it
# comes, into packs with others of its kind.
WINDOW = 64 << 20
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
        self._adopted: list[str] = []  # packs that were taken whole
        self._stop = threading.Event()
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
            for id, size in threads.spread(self._store, blobs, stop=self._stop.set):
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

    def adopt(self, pack: Pack) -> None:
        """Take a whole pack that was checked, under a name of its own: by a second name for the file where that can be.

        Every difference in it must rest on what is stored, or in this batch.
        """
        with disk(self._tmp), self._lock:
            self._adopted.append(second(pack.path, self._folder, self._tmp))
            self._stored.update(pack.ids())

    def put(self, data: bytes) -> str:
        """Store a JSON object; return its id."""
        id = digest(data)
        with disk(self._tmp), self._lock:
            self._stored.add(id)
            return id if any(writer.has_object(id) for writer in self._writers) else self._writer().put(data)

    def rely_on(self, id: str) -> None:
        """Let the transaction rely on what is stored already, or in this batch. Raises MissingObject, Damage."""
        if id not in self._stored:
            self._rely_on(self._reader.whole(id))

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
        names = (*self._adopted, *(name for name in self._sealed if name is not None))
        self.needs.update(names)
        return names

    def _store(self, blob: Blob) -> tuple[str, int]:
        """Store one blob, which is read once. Called in several threads."""

        def read(start: int, stop: int) -> Bytes:
            if self._stop.is_set():  # something went wrong elsewhere, or Ctrl-C: nobody wants this any more
                raise Interrupted("interrupted")
            return blob.read(start, stop)

        watched = replace(blob, read=read)
        with recent.kept():
            return self._read(watched, choose(watched, self._reader)), blob.size

    def _read(self, blob: Blob, choice: Choice | None, expected: str | None = None) -> str:
        """Store `blob` as chosen, or otherwise where that turns out to be impossible or larger; return its id."""
        reading = Reading(blob, choice, expected)
        try:
            with self._wide_writer(blob) if _is_wide(blob) else nullcontext() as wide:
                if wide:
                    wide.write(reading.entry())
                    parts: list[Bytes] = []
                else:
                    parts = list(reading.entry())
                if choice is None or (reading.whole and (reading.same or reading.size < blob.size)):
                    if not self._wants(reading, blob, choice):
                        return reading.id
                    if choice is None or choice.base is None or not self._reader.has(reading.id):
                        self._keep(reading, blob, choice, parts, wide)
                        return reading.id
                    # It is there, but damaged: what is stored as a difference to it needs it at depth 0 again.
                    with self._lock:
                        self._stored.discard(reading.id)
                    reading.whole = False
        except Damage:
            if choice is None or choice.base is None:  # it is not the base: what the blob is made of is damaged
                raise
            reading.whole = False
        plain = None if reading.whole else Choice(Plan(blob.dtype, delta=False), None)
        return self._read(blob, plain, reading.id or None)

    def _wants(self, reading: Reading, blob: Blob, choice: Choice | None) -> bool:
        """False if the bytes are stored already, whole, or are being stored by another thread."""
        base = choice.base if choice else None
        if base and reading.same:
            self._rely_on(base)
            return False
        with self._lock:
            if reading.id in self._stored:
                return False
            self._stored.add(reading.id)
        if not self._reader.has(reading.id):
            return True
        with contextlib.suppress(Damage):
            copy = self._reader.best(reading.id)
            if not equals(blob, copy):
                copy = self._reader.whole(reading.id)
            self._rely_on(copy)
            return False
        return True

    def _keep(
        self, reading: Reading, blob: Blob, choice: Choice | None, parts: list[Bytes], wide: PackWriter | None
    ) -> None:
        coding, base = None, choice.base if choice else None
        dtype, shape = blob.dtype, blob.shape
        if choice is not None:
            depth = base.stored.depth + 1 if base else 0
            codec, id = ("delta", base.id) if base else ("plain", None)
            coding = Stored(codec, dtype, reading.size, blob.size, depth, id, reading.hash)
            dtype, shape = "U8", (reading.size,)
        if base:
            self._rely_on(base)
        if wide:
            wide.keep(reading.id, dtype, shape, coding)
            return
        with self._lock:
            writer = self._writer()
            writer.write(parts)
            writer.keep(reading.id, dtype, shape, coding)

    @contextlib.contextmanager
    def _wide_writer(self, blob: Blob) -> Iterator[PackWriter]:
        """One that nobody else has: what is wide takes a while."""
        with self._lock:
            free = [writer for writer in self._free if len(writer) < WIDE_PER_PACK]
            writer = free[-1] if free else self._new(room([blob.shape] * WIDE_PER_PACK, 0))
            self._free = [other for other in self._free if other is not writer]
        try:
            yield writer
        finally:
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
