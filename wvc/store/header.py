"""Read the header of a safetensors file, and refuse every file that the format does not allow.

The library is lenient where this must not be: it takes duplicate keys, unknown fields and hostile names, and
a large header costs it seconds. Nothing reaches it that was not checked here first.
"""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from wvc.errors import BadFile
from wvc.store.canonical import Json

BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip

MAX_HEADER = 16 * 2**20
MAX_TENSORS = 1_000_000
MAX_NAME = 512
METADATA = "__metadata__"
MAX_DIMENSION = 2**48
MAX_DIMENSIONS = 64  # as torch and numpy; the product of a million would take minutes
# Left-to-right and right-to-left overrides and isolates, which make a printed name lie.
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Entry:
    """One tensor in a file: bytes start..stop of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """entries in the order of their bytes; metadata as in the file; raw: length field and JSON, as in the file."""

    entries: tuple[Entry, ...]
    metadata: Mapping[str, str]
    raw: bytes


def read_header(fd: int, path: object) -> Header:
    """The checked header of the open file `fd`. Raises BadFile."""
    raw, size = raw_header(fd, path)
    try:
        return parse_header(raw, size)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadFile(path, f"not a valid safetensors file: {error}") from None


def raw_header(fd: int, path: object) -> tuple[bytes, int]:
    """Length field and JSON of the header of open file `fd`, not checked, and the size of the file. Raises BadFile."""
    size = os.fstat(fd).st_size
    start = os.pread(fd, 8, 0)
    length = int.from_bytes(start, "little")
    if size < 8 or length > size - 8:
        hint = "a checkpoint of PyTorch's must end in .pt, .pth or .bin"
        if start == b"version ":
            hint = "it is a pointer of git-lfs: run `git lfs pull` where it comes from"
        raise BadFile(path, "not a safetensors file, or cut short", hint)
    if not 2 <= length <= MAX_HEADER:
        raise BadFile(path, f"not a safetensors file: a header of {length} bytes")
    return os.pread(fd, 8 + length, 0), size


def size_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes that a tensor takes. Raises ValueError for an unknown dtype or one that ends within a byte."""
    if dtype not in BITS:
        raise ValueError(f"unknown dtype {dtype[:20]!r}")
    bits = math.prod(shape) * BITS[dtype]
    if bits % 8:
        raise ValueError(f"a {dtype} tensor of shape {list(shape)} ends within a byte")
    return bits // 8


def check_name(name: str) -> None:
    """Raises ValueError for a tensor name that could not be printed, compared or stored safely."""
    if not 1 <= len(name.encode("utf-8")) <= MAX_NAME:
        raise ValueError("a tensor name must have 1 to 512 bytes")
    if name == METADATA:
        raise ValueError(f"no tensor may be called {METADATA}")
    if name.isascii() and name.isprintable():
        return  # as nearly all are, and looking at each character takes as long as the rest of a header
    if not unicodedata.is_normalized("NFC", name):
        raise ValueError(f"tensor name {name[:40]!a} is not NFC")
    if any(unicodedata.category(c) == "Cc" or c in BIDI for c in name):
        raise ValueError(f"tensor name {name[:40]!a} holds control characters")


def parse_header(raw: bytes, size: int | None) -> Header:
    """The header in `raw` of a file of `size` bytes. Raises ValueError, TypeError, KeyError or RecursionError.

    size: None for a header whose file is not there; its tensors must still lie end to end.
    """
    if raw[8:9] != b"{":
        raise ValueError("the header does not begin with '{'")
    value = json.loads(raw[8:].decode("utf-8"), object_pairs_hook=unique)
    metadata = value.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(x, str) for x in metadata.values()):
        raise ValueError("metadata must be text")
    if len(value) > MAX_TENSORS:
        raise ValueError(f"more than {MAX_TENSORS} tensors")
    entries = sorted((_entry(name, fields, len(raw)) for name, fields in value.items()), key=_place)
    position = len(raw)
    for entry in entries:
        if entry.start != position:
            raise ValueError(f"tensor {entry.name!r} overlaps another, or bytes before it belong to none")
        position = entry.stop
    if size is not None and position > size:
        raise ValueError(f"cut short: {size} bytes, where its header promises {position}")
    if size is not None and position < size:
        raise ValueError(f"{size - position} bytes behind the last tensor belong to none")
    return Header(tuple(entries), metadata, raw)


def _place(entry: Entry) -> tuple[int, int]:
    return entry.start, entry.stop


def _entry(name: str, fields: Json, base: int) -> Entry:
    check_name(name)
    if set(fields) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} has unknown or missing fields")
    shape, offsets = fields["shape"], fields["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"tensor {name!r} has a bad shape or bad offsets")
    if not all(_is_size(n) for n in shape) or len(offsets) != 2 or not all(_is_size(n) for n in offsets):
        raise ValueError(f"tensor {name!r} has a bad shape or bad offsets")
    start, stop = offsets
    if stop - start != size_of(fields["dtype"], tuple(shape)):
        raise ValueError(f"tensor {name!r} does not have the bytes that its shape needs")
    return Entry(name, fields["dtype"], tuple(shape), base + start, base + stop)


def _is_size(n: Json) -> bool:
    return type(n) is int and 0 <= n <= MAX_DIMENSION


def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """A JSON object, for `object_pairs_hook`. Raises ValueError where a name is there twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("duplicate names")
    return value
