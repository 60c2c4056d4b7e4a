"""Packs: immutable safetensors files whose names vouch for every byte in them.

A pack's name is the SHA-256 of its length field and header, a dot, and a nonce that is fresh for every physical
copy. The header names every entry by the SHA-256 of its raw bytes. docs/design.md, "Packs", is the contract.
"""

from __future__ import annotations

import errno
import hashlib
import json
import mmap
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wvc.errors import BadFile, CorruptObject, CorruptPack, MissingObject
from wvc.store.canonical import digest
from wvc.store.durable import Draft
from wvc.store.header import MAX_HEADER, Entry, Header, read_header

ID = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}")
SIZE = re.compile(r"[0-9]{1,15}")
SUFFIX = ".safetensors"
ALIGNMENT = 64
MAX_ENTRIES = 32_768
# What a JSON entry of the header takes at most, shape apart: id, dtype, two offsets of 13 digits, punctuation.
ENTRY_BYTES = 160


class Pack:
    """An open pack. Its header is checked when it is opened, each entry when it is read."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / (name + SUFFIX)
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise MissingObject(name, "pack") from None
        except OSError as error:
            if error.errno != errno.ELOOP:  # too many open files and the like are no damage
                raise
            raise CorruptPack(name, "a symbolic link is in its place") from None
        try:
            header = _header(fd, name)
            size = os.fstat(fd).st_size
            # A private, copy-on-write map: torch wants memory that it may write to, the file stays as it is.
            self._bytes = memoryview(mmap.mmap(fd, size, access=mmap.ACCESS_COPY))
        finally:
            os.close(fd)
        self.entries: Mapping[str, Entry] = {e.name: e for e in header.entries}
        self.objects_end = len(header.raw) + int(header.metadata.get("objects", "0"))
        self.codecs: Mapping[str, object] = json.loads(header.metadata.get("codecs", "{}"))

    def read(self, id: str) -> memoryview:
        """The raw bytes of entry `id`, checked against it. Raises CorruptObject."""
        entry = self.entries[id]
        data = self._bytes[entry.start : entry.stop]
        if id in self.codecs:
            raise CorruptPack(self.name, f"entry {id[:12]} is encoded in a way that this wvc cannot read")
        if hashlib.sha256(data).hexdigest() != id:
            raise CorruptObject(id)
        return data

    def ids(self) -> list[str]:
        """Every entry but padding, in the order of its bytes."""
        return [name for name in self.entries if ID.fullmatch(name)]

    def objects(self) -> list[str]:
        """The entries that hold JSON objects."""
        return [name for name in self.ids() if self.entries[name].stop <= self.objects_end]

    def check_padding(self) -> None:
        """Raises CorruptPack unless everything between the entries is zero."""
        for name, entry in self.entries.items():
            if not ID.fullmatch(name) and any(self._bytes[entry.start : entry.stop]):
                raise CorruptPack(self.name, f"{name} is not zero")


def _header(fd: int, name: str) -> Header:
    try:
        header = read_header(fd, name)
        objects, codecs = header.metadata.get("objects", "0"), json.loads(header.metadata.get("codecs", "{}"))
    except (BadFile, ValueError, RecursionError, IsADirectoryError) as error:
        raise CorruptPack(name, str(error)) from None
    if digest(header.raw) != name.split(".", maxsplit=1)[0]:
        raise CorruptPack(name, "its header does not hash to its name")
    if header.metadata.get("wvc") != "pack 1" or not SIZE.fullmatch(objects) or not isinstance(codecs, dict):
        raise CorruptPack(name, "its header is not one of wvc's")
    return header


@dataclass(frozen=True)
class _Written:
    id: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class PackWriter:
    """A pack in the making.

    Entries are written as they come and named by what was read while writing, so that a source is read once. The
    header stands in front of them; its room is reserved here and what it does not need is filled with blanks.
    """

    def __init__(self, packs: Path, tmp: Path, *, room: int) -> None:
        """room: bytes kept for header and objects; `room` adds them up."""
        self._folder = packs
        self._draft = Draft(tmp)
        self._room = _aligned(room)
        self._position = self._room
        self._written: dict[str, _Written] = {}
        self._objects: dict[str, bytes] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._written or id in self._objects

    def __len__(self) -> int:
        return len(self._written) + len(self._objects)

    def add(self, dtype: str, shape: tuple[int, ...], chunks: Iterable[memoryview | bytes]) -> str:
        """Write an entry and return its id. An entry that is here already takes no room: see `forget`."""
        hasher, start = hashlib.sha256(), self._position
        end = start
        for chunk in chunks:
            self._draft.write(chunk, end)
            hasher.update(chunk)
            end += memoryview(chunk).nbytes
        id = hasher.hexdigest()
        if id not in self:
            self._written[id] = _Written(id, dtype, shape, start, end)
            self._position = _aligned(end)
        return id

    def forget(self, id: str) -> None:
        """Drop the entry that was added last: another pack has it. The next one is written over it."""
        self._position = self._written.pop(id).start

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
        if not self._written:
            self._room = _aligned(8 + len(text) + self._objects_size())
        raw = self._length().to_bytes(8, "little") + text.ljust(self._length())
        self._draft.write(raw + b"".join(self._objects.values()), 0)
        self._pad()
        os.ftruncate(self._draft.fd, self._end())
        name = f"{digest(raw)}.{secrets.token_hex(8)}"
        self._draft.publish(self._folder / (name + SUFFIX))
        return name

    def close(self) -> None:
        """Give up the draft. A pack that was published stays."""
        self._draft.close()

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
        header: dict[str, object] = {"__metadata__": {"wvc": "pack 1", "objects": str(size), "codecs": "{}"}}
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
        """A larger entry that was forgotten may have left its bytes between two that stayed."""
        position = self._room
        for entry in self._written.values():
            self._draft.write(bytes(entry.start - position), position)
            position = entry.stop

    def _end(self) -> int:
        return max((entry.stop for entry in self._written.values()), default=self._room)


def _field(dtype: str, shape: tuple[int, ...], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


def room(shapes: Iterable[tuple[int, ...]], objects: int) -> int:
    """Bytes to reserve for a pack with entries of `shapes` and `objects` bytes of JSON objects."""
    pads = ENTRY_BYTES
    entries = sum(ENTRY_BYTES + pads + 16 * len(shape) for shape in shapes)
    return 512 + entries + objects + objects // 8


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
