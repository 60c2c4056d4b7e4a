"""Packs: immutable safetensors files whose names vouch for every byte in them.

A pack's name is the SHA-256 of its length field and header, a dot, and a nonce that is fresh for every physical
copy. The header names every entry by the SHA-256 of its raw bytes, and holds the hash of what is stored where that is
something else. docs/design.md, "Packs", is the contract.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from wvc.errors import BadFile, CorruptObject, CorruptPack, MissingObject
from wvc.store.canonical import Json, digest
from wvc.store.codecs import CHUNK
from wvc.store.header import BITS, Entry, Header, parse_header, raw_header, unique

ID = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{16}")
SIZE = re.compile(r"[0-9]{1,15}")
SUFFIX = ".safetensors"
ALIGNMENT = 64
KNOWN = 1 << 18  # bytes of a header that is kept in mind once it was parsed
MAX_ENTRIES = 32_768
# A chain of differences longer than this is refused when it is read; writers stop far earlier.
DEEPEST = 16


@dataclass(frozen=True)
class Stored:
    """How an entry lies in a pack.

    codec: "raw" (as it is), "plain" (compressed by itself) or "delta" (its difference to `base`).
    dtype: by whose width it was coded; of a raw entry, the pack's own.
    size: bytes that it takes. raw: bytes of the tensor itself.
    depth: 0, or more than that of any base that may be used.
    hash: SHA-256 of the stored bytes, the id itself where they are raw.
    """

    codec: str
    dtype: str
    size: int
    raw: int
    depth: int
    base: str | None
    hash: str

    def json(self) -> Json:
        """What the header says of an entry that is coded; its size stands in the entry itself."""
        return [self.codec, self.dtype, self.raw, self.depth, self.base, self.hash]


class Pack:
    """An open pack. Its header is checked when it is opened, each entry when it is read."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.path = folder / (name + SUFFIX)
        with self._opened() as fd:
            header, self._coded = _header(fd, name)
        self.entries: Mapping[str, Entry] = {e.name: e for e in header.entries}
        self.objects_end = len(header.raw) + int(header.metadata["objects"])

    def __contains__(self, id: str) -> bool:
        return id in self.entries

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor, for as long as it is needed: there may be more packs than a process may have open."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise MissingObject(self.name, "pack") from None
        except OSError as error:
            if error.errno != errno.ELOOP:  # too many open files and the like are no damage
                raise
            raise CorruptPack(self.name, "a symbolic link is in its place") from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CorruptPack(self.name, "something else than a file is in its place")
            yield fd
        finally:
            os.close(fd)

    @cached_property
    def _bytes(self) -> memoryview:
        with self._opened() as fd:
            # A private, copy-on-write map: torch wants memory that it may write to, the file stays as it is.
            return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, access=mmap.ACCESS_COPY))

    def stored(self, id: str) -> Stored:
        """How entry `id` lies here."""
        entry = self.entries[id]
        size = entry.stop - entry.start
        return self._coded.get(id) or Stored("raw", entry.dtype, size, size, 0, None, id)

    def read(self, id: str) -> memoryview:
        """The raw bytes of entry `id`, checked against it. Raises CorruptObject; CorruptPack if coded.

        Large entries are mapped, small ones read: a map keeps a descriptor of its own.
        """
        entry = self.entries[id]
        size = entry.stop - entry.start
        if id in self._coded:
            raise CorruptPack(self.name, f"entry {id[:12]} is coded, where something raw is wanted")
        small = size <= CHUNK
        data = memoryview(self.piece(id, 0, size)) if small else self._bytes[entry.start : entry.stop]
        if hashlib.sha256(data).hexdigest() != id:
            raise CorruptObject(id)
        return data

    def piece(self, id: str, start: int, stop: int) -> bytearray:
        """Bytes start..stop of what is stored of entry `id`, not checked. Raises CorruptPack if there are fewer."""
        begin, data = self.entries[id].start + start, bytearray(stop - start)
        view, position = memoryview(data), 0
        with self._opened() as fd:
            while position < len(data):
                more = os.preadv(fd, [view[position:]], begin + position)
                if not more:
                    raise CorruptPack(self.name, "it is cut short")
                position += more
        return data

    def pieces(self, id: str) -> Iterator[bytearray]:
        """All that is stored of entry `id`, in order, not checked."""
        size = self.stored(id).size
        return (self.piece(id, start, min(start + CHUNK, size)) for start in range(0, size, CHUNK))

    def check(self, id: str) -> None:
        """Raises CorruptObject unless the stored bytes of entry `id` are what the header says."""
        hasher = hashlib.sha256()
        for piece in self.pieces(id):
            hasher.update(piece)
        if hasher.hexdigest() != self.stored(id).hash:
            raise CorruptObject(id)

    def ids(self) -> Sequence[str]:
        """Every entry but padding, in the order of its bytes."""
        return self._ids

    def objects(self) -> list[str]:
        """The entries that hold JSON objects."""
        return [name for name in self._ids if self.is_object(name)]

    def is_object(self, id: str) -> bool:
        """True for an entry that holds a JSON object."""
        return self.entries[id].start < self.objects_end

    @cached_property
    def _ids(self) -> tuple[str, ...]:
        return tuple(name for name in self.entries if ID.fullmatch(name))

    def check_padding(self) -> None:
        """Raises CorruptPack unless everything between the entries is zero."""
        for name in self.entries:
            if not ID.fullmatch(name) and any(any(piece) for piece in self.pieces(name)):
                raise CorruptPack(self.name, f"{name} is not zero")


def _header(fd: int, name: str) -> tuple[Header, dict[str, Stored]]:
    try:
        raw, size = raw_header(fd, name)
    except BadFile as error:
        raise CorruptPack(name, str(error)) from None
    return (_known if len(raw) <= KNOWN else _parsed)(raw, size, name)


def _parsed(raw: bytes, size: int, name: str) -> tuple[Header, dict[str, Stored]]:
    try:
        header = parse_header(raw, size)
        objects, codecs = header.metadata["objects"], json.loads(header.metadata["codecs"], object_pairs_hook=unique)
    except KeyError:
        raise CorruptPack(name, "its header is not one of wvc's") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise CorruptPack(name, f"{name}: not a valid safetensors file: {error}") from None
    if digest(header.raw) != name.split(".", maxsplit=1)[0]:
        raise CorruptPack(name, "its header does not hash to its name")
    if header.metadata.get("wvc") != "pack 1" or not SIZE.fullmatch(objects) or not isinstance(codecs, dict):
        raise CorruptPack(name, "its header is not one of wvc's")
    end = len(header.raw) + int(objects)
    entries = {entry.name: entry for entry in header.entries}
    try:
        return header, {id: _coding(entries[id], value, end) for id, value in codecs.items()}
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptPack(name, f"an entry is coded in a way that this wvc cannot read: {error}") from None


# The lineage, a reader and a mirror each open a pack of its own, and looking at hundreds of entries takes milliseconds.
_known = lru_cache(maxsize=32)(_parsed)


def _coding(entry: Entry, value: Json, objects_end: int) -> Stored:
    """What the header says of a coded entry. Raises ValueError, TypeError."""
    if not isinstance(value, list):
        raise TypeError("no list")
    codec, dtype, raw, depth, base, hash = value
    size = entry.stop - entry.start
    if not ID.fullmatch(entry.name) or entry.start < objects_end or (entry.dtype, entry.shape) != ("U8", (size,)):
        raise ValueError("not an entry that may be coded")
    if dtype not in BITS or type(raw) is not int or type(depth) is not int or not ID.fullmatch(hash):
        raise ValueError("a field of the wrong type")
    if not 0 < raw <= 2**40 or 4 * chunks_of(raw) > size or raw * 8 % BITS[dtype]:
        raise ValueError("a size that cannot be")
    if codec == "delta":
        if not 0 < depth <= DEEPEST or not ID.fullmatch(base):
            raise ValueError("a difference to nothing")
    elif codec != "plain" or depth != 0 or base is not None:
        raise ValueError(f"codec {str(codec)[:20]!a}")
    return Stored(codec, dtype, size, raw, depth, base, hash)


def chunks_of(raw: int) -> int:
    """How many chunks a tensor of `raw` bytes is cut into."""
    return -(-raw // CHUNK)
