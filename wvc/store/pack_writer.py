"""Write a pack: entries first, then objects and header into the room that was kept in front of them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from wvc.errors import CorruptObject
from wvc.store.blobs import Bytes
from wvc.store.canonical import digest
from wvc.store.durable import Draft, sync_folder
from wvc.store.header import MAX_HEADER, parse_header
from wvc.store.packs import ALIGNMENT, SUFFIX, Stored

# What a JSON entry of the header takes at most, shape apart: id, dtype, two offsets of 13 digits, punctuation.
ENTRY_BYTES = 152
# What is said of an entry that is coded: three ids, dtype, sizes, and quotes that are escaped.
CODING_BYTES = 256
PAD_BYTES = 112
SMALL = 64 << 20


@dataclass(frozen=True)
class _Written:
    id: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    coding: Stored | None = None


class PackWriter:
    """A pack in the making.

    Entries are written as they come. The header stands in front of them; its room is reserved here and what it does
    not need is filled with blanks.
    """

    def __init__(self, packs: Path, tmp: Path, *, room: int) -> None:
        """room: bytes kept for header and objects; `room` adds them up."""
        self._folder = packs
        self._draft = Draft(tmp)
        self._room = _aligned(room)
        self._position = self._room
        self._last = (0, 0)
        self._written: dict[str, _Written] = {}
        self._objects: dict[str, bytes] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._written or id in self._objects

    def __len__(self) -> int:
        return len(self._written) + len(self._objects)

    def write(self, chunks: Iterable[Bytes]) -> None:
        """Write one entry, without a name: that is for `keep`, and what is not kept is written over."""
        end = self._position
        for chunk in chunks:
            self._draft.write(chunk, end)
            end += len(chunk)
        self._last = (self._position, end)

    def keep(self, id: str, dtype: str, shape: tuple[int, ...], coding: Stored | None = None) -> None:
        """Name what was written last. coding: how it is encoded, if it is."""
        start, stop = self._last
        self._written[id] = _Written(id, dtype, shape, start, stop, coding)
        self._position = _aligned(stop)

    def copy(self, id: str, dtype: str, shape: tuple[int, ...], stored: Stored, pieces: Iterable[Bytes]) -> None:
        """Write entry `id` as another pack stores it. Raises CorruptObject if it is not what that pack promises."""
        self.write(_checked(id, stored.hash, pieces))
        self.keep(id, dtype, shape, stored if stored.codec != "raw" else None)

    def put(self, data: bytes) -> str:
        """Add a JSON object."""
        id = digest(data)
        self._written.pop(id, None)  # one entry an id, and objects stand in front
        self._objects[id] = data
        return id

    def has_object(self, id: str) -> bool:
        """True if JSON object `id` was added."""
        return id in self._objects

    def take_objects(self) -> list[bytes]:
        """Hand over the objects, to be written elsewhere."""
        objects, self._objects = list(self._objects.values()), {}
        return objects

    def fits(self) -> bool:
        """True if header and objects fit into the room that was reserved."""
        return not self._written or len(self._text()) <= self._length()

    def publish(self) -> str:
        """Make the pack durable under its name, and return the name. Nothing may be added afterwards."""
        text = self._text()
        if not self.fits():
            raise ValueError("more entries than room was kept for")
        self._move_to(_aligned(8 + len(text) + self._objects_size()))
        text = self._text()
        raw = self._length().to_bytes(8, "little") + text.ljust(self._length())
        self._draft.write(raw + b"".join(self._objects.values()), 0)
        self._pad()
        os.ftruncate(self._draft.fd, self._end())
        parse_header(raw, self._end())  # what could not be opened must not be announced
        name = f"{digest(raw)}.{secrets.token_hex(8)}"
        self._draft.publish(self._folder / (name + SUFFIX))
        return name

    def close(self) -> None:
        """Give up the draft. A pack that was published stays."""
        self._draft.close()

    def _move_to(self, room: int) -> None:
        """Move the entries up to the header where that costs little: in a small pack the gap is a good part of all."""
        size = self._end() - self._room
        if self._written and (self._room - room < ALIGNMENT or size > SMALL):
            return
        self._draft.write(os.pread(self._draft.fd, size, self._room), room)
        by = self._room - room
        self._written = {e.id: replace(e, start=e.start - by, stop=e.stop - by) for e in self._written.values()}
        self._room = room

    def _objects_size(self) -> int:
        return sum(map(len, self._objects.values()))

    def _length(self) -> int:
        """Bytes of header JSON such that the objects end where the entries begin, or at the most that is allowed."""
        return self._room - 8 - self._objects_size() - self._gap()

    def _gap(self) -> int:
        """Bytes of padding between objects and entries, where more room was kept than a header may have."""
        return max(0, self._room - 8 - self._objects_size() - MAX_HEADER)

    def _text(self) -> bytes:
        size = self._objects_size()
        base = self._room - size - self._gap()
        codecs = {entry.id: entry.coding.json() for entry in self._written.values() if entry.coding}
        metadata = {"wvc": "pack 1", "objects": str(size), "codecs": json.dumps(codecs, separators=(",", ":"))}
        header: dict[str, object] = {"__metadata__": metadata}
        position = 0
        for id, data in self._objects.items():
            header[id] = _field("U8", (len(data),), position, position + len(data))
            position += len(data)
        for entry in self._written.values():
            start, stop = entry.start - base, entry.stop - base
            if start > position:
                header[f"pad.{position}"] = _field("U8", (start - position,), position, start)
            header[entry.id] = _field(entry.dtype, entry.shape, start, stop)
            position = stop
        return json.dumps(header, separators=(",", ":")).encode("ascii")

    def _pad(self) -> None:
        """An entry that was given up may have left its bytes between two that stayed."""
        position = self._room
        for entry in self._written.values():
            self._draft.write(bytes(entry.start - position), position)
            position = entry.stop

    def _end(self) -> int:
        return max((entry.stop for entry in self._written.values()), default=self._room)


def second(pack: Path, folder: Path, tmp: Path) -> str:
    """Put the file `pack` into `folder` under a name of its own, durable: the same header, a fresh nonce."""
    name = f"{pack.name.split('.', maxsplit=1)[0]}.{secrets.token_hex(8)}"
    target = folder / (name + SUFFIX)
    fd = os.open(pack, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
        with contextlib.suppress(PermissionError):  # of another user's file
            os.fchmod(fd, 0o444)
        try:
            os.link(pack, target, follow_symlinks=False)
            sync_folder(folder)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise
            _copy(fd, target, tmp)
    finally:
        os.close(fd)
    return name


def _copy(fd: int, target: Path, tmp: Path) -> None:
    draft, position = Draft(tmp), 0
    try:
        while data := os.pread(fd, 1 << 24, position):
            draft.write(data, position)
            position += len(data)
        draft.publish(target)
    finally:
        draft.close()


def _checked(id: str, hash: str, pieces: Iterable[Bytes]) -> Iterator[Bytes]:
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
        yield piece
    if hasher.hexdigest() != hash:
        raise CorruptObject(id)


def _field(dtype: str, shape: tuple[int, ...], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def room(shapes: Iterable[tuple[int, ...]], objects: int) -> int:
    """Bytes to reserve for a pack with entries of `shapes` and `objects` bytes of JSON objects."""
    entries = sum(ENTRY_BYTES + CODING_BYTES + PAD_BYTES + 16 * len(shape) for shape in shapes)
    return 512 + entries + objects + objects // 8


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
