"""New tensors, files and objects on their way into packs, each stored once."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from wvc.progress import SILENT, Progress
from wvc.store.blobs import Blob, Bytes
from wvc.store.canonical import digest
from wvc.store.durable import disk
from wvc.store.packs import MAX_ENTRIES, PackWriter, room

# A tensor may need an entry for itself and one for the padding before it.
PER_PACK = MAX_ENTRIES // 2 - 2

# More bytes of JSON objects than this go into a pack of their own, rather than into room kept in front of tensors.
IN_FRONT = 1 << 20

CHUNK = 8 << 20


class Batch:
    """What one operation adds. `publish` makes it durable; a transaction must then announce the packs.

    Its drafts stay open until `close`, so that what was expensive to make is never lost to a lost race.
    """

    def __init__(
        self, packs: Path, tmp: Path, find: Callable[[str], str | None], shapes: Iterable[tuple[int, ...]], objects: int
    ) -> None:
        """find: names the pack that holds an id already. shapes: of tensors to come. objects: bytes of JSON to come."""
        self._folder, self._tmp, self._find = packs, tmp, find
        widest = heapq.nlargest(PER_PACK, shapes, key=len)  # no pack holds more, however many are to come
        self._room = room(widest, objects if objects <= IN_FRONT else 0)
        self._writers: list[PackWriter] = []
        self._sealed: list[str | None] = []  # packs of the first writers, to which nothing is added; None for no pack
        self.needs: set[str] = set()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def add(self, dtype: str, shape: tuple[int, ...], chunks: Iterable[memoryview | bytes]) -> str:
        """Store a tensor or a side file (dtype "U8"), read once; return its id."""
        with disk(self._tmp):
            writer = self._writer()
            before = len(writer)
            id = writer.add(dtype, shape, chunks)
        if len(writer) > before and self._known(id, writer):
            writer.forget(id)
        return id

    def store(self, blobs: Sequence[Blob], progress: Progress = SILENT) -> list[str]:
        """Store tensors and side files, and return their ids in the same order."""
        ids = []
        for blob in blobs:
            ids.append(self.add(blob.dtype, blob.shape, _chunks(blob)))
            progress.advance(blob.size)
        return ids

    def put(self, data: bytes) -> str:
        """Store a JSON object; return its id."""
        id = digest(data)
        with disk(self._tmp):
            return id if any(writer.has_object(id) for writer in self._writers) else self._writer().put(data)

    def reuse(self, id: str) -> bool:
        """True if `id` is stored already, which the transaction will then rely on."""
        return self._known(id, None)

    def publish(self) -> tuple[str, ...]:
        """Write what is new into packs, durable; return the names of all packs so far. What was written stays."""
        for writer in [writer for writer in self._writers[len(self._sealed) :] if not writer.fits()]:
            own = PackWriter(self._folder, self._tmp, room=0)
            self._writers.append(own)
            for data in writer.take_objects():
                own.put(data)
        for writer in self._writers[len(self._sealed) :]:
            self._sealed.append(writer.publish() if len(writer) else None)
        names = tuple(name for name in self._sealed if name is not None)
        self.needs.update(names)
        return names

    def _writer(self) -> PackWriter:
        if len(self._writers) == len(self._sealed) or len(self._writers[-1]) >= PER_PACK:
            self._writers.append(PackWriter(self._folder, self._tmp, room=self._room))
        return self._writers[-1]

    def _known(self, id: str, new: PackWriter | None) -> bool:
        if any(id in writer for writer in self._writers if writer is not new):
            return True
        pack = self._find(id)
        if pack is None:
            return False
        self.needs.add(pack)
        return True


def _chunks(blob: Blob) -> Iterator[Bytes]:
    for start in range(0, blob.size, CHUNK):
        yield blob.read(start, min(start + CHUNK, blob.size))
