"""Chunks of tensors, smaller and exactly as they were: differences of bit patterns, byte planes, zstd.

A tensor is cut into chunks of CHUNK bytes that are coded one by one, so that any size is read and written in little
memory. docs/design.md, "Encoded entries", is the contract.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import zstandard

from wvc.store.blobs import Bytes
from wvc.store.header import BITS

Words = npt.NDArray[np.unsignedinteger]
Plane = npt.NDArray[np.uint8]
Groups = Sequence[npt.NDArray[np.intp]]
_NONE: Groups = ()

CHUNK = 1 << 20
PROBE = 1 << 14  # numbers of a plane that tell whether it is worth being parted
RAW, CONSTANT, ZSTD, GROUPED = range(4)

# Bits to the right of the exponent, and so the right shift that leaves sign and exponent, whose low 8 bits suffice.
MANTISSA: Mapping[str, int] = {"F64": 52, "F32": 23, "BF16": 7, "F16": 10}

# Steps below the largest common exponent at which a tensor's numbers may be parted into groups.
STEPS = ((), (2,), (1, 2, 4))

# Planes of noise are what remains: only literals are worth coding, and a search for matches that finds none is lost
# time. So: a tiny hash table, and no match shorter than 7 bytes. Level 1 takes twice as long and 1 % more space.
_PARAMETERS = zstandard.ZstdCompressionParameters(
    window_log=20, hash_log=6, chain_log=6, search_log=1, min_match=7, target_length=0,
    strategy=zstandard.STRATEGY_FAST, write_content_size=True, write_checksum=False, write_dict_id=False,
)  # fmt: skip


class _Tools(threading.local):
    """zstd's contexts, and memory to work in: one of each for every thread."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(compression_params=_PARAMETERS)
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 21)
        self.last: tuple[Bytes, Plan, Groups] | None = None
        self._scratch: dict[np.dtype[np.unsignedinteger], tuple[Words, Words]] = {}

    def scratch(self, dtype: np.dtype[np.unsignedinteger]) -> tuple[Words, Words]:
        """Two arrays of a chunk's size to work in."""
        if dtype not in self._scratch:
            size = CHUNK // dtype.itemsize
            self._scratch[dtype] = np.empty(size, dtype), np.empty(size, dtype)
        return self._scratch[dtype]


_tools = _Tools()


@dataclass(frozen=True)
class Plan:
    """How the chunks of one tensor are coded.

    dtype: safetensors' name.
    delta: whether they are differences to a base.
    bounds: ascending exponents of the base (their low 8 bits): numbers whose base lies below the first are the first
      group, and so on. Their differences have different sizes, so they compress better apart. Only with a base.
    """

    dtype: str
    delta: bool
    bounds: tuple[int, ...] = ()


def encode(data: Bytes, base: Bytes | None, plan: Plan) -> bytes:
    """One chunk of a tensor, coded. base: the same chunk of the base, for a plan with delta."""
    words = _words(data, plan.dtype)
    if base is None:
        code, groups = _turned(words, plan.dtype), _NONE
    else:
        under = _words(base, plan.dtype)
        code, groups = _folded(words - under), _groups(base, under, plan)
    parts = [bytes([len(plan.bounds), *plan.bounds])]
    for shift in range(0, 8 * words.itemsize, 8):
        parts += _encode_plane((code >> code.dtype.type(shift)).astype(np.uint8), groups)
    return b"".join(parts)


def decode(data: Bytes, base: Bytes | None, plan: Plan, out: memoryview) -> None:
    """Write the chunk that `encode` made `data` of to `out`, of the chunk's size. Raises ValueError.

    The bounds that count are the ones in the chunk; those of `plan` do not matter.
    """
    reader = _Cursor(data)
    plan = Plan(plan.dtype, plan.delta, tuple(reader.take(reader.byte())))
    words = _words(out, plan.dtype)
    under = None if base is None else _words(base, plan.dtype)
    if under is None and plan.bounds:
        raise ValueError("groups without a base")
    if any(a >= b for a, b in itertools.pairwise(plan.bounds)):
        raise ValueError("bounds that do not ascend")
    groups = _groups(base, under, plan) if base is not None and under is not None else _NONE
    planes = [_decode_plane(reader, words.size, groups) for _ in range(words.itemsize)]
    reader.end()
    _join(planes, under, plan.dtype, words)


def _join(planes: Sequence[Plane | int], under: Words | None, dtype: str, words: Words) -> None:
    """Put planes together, a whole chunk at a time.

    Smaller blocks would stay in the cache, but after each of steps so short, threads wait for Python's lock.
    """
    code, wide = (array[: words.size] for array in _tools.scratch(words.dtype))
    code[...] = planes[0]
    for i, plane in enumerate(planes[1:], 1):
        shift = code.dtype.type(8 * i)
        if not isinstance(plane, int):
            wide[...] = plane
            wide <<= shift
            code |= wide
        elif plane:
            code |= code.dtype.type(plane << (8 * i))
    one = code.dtype.type(1)
    if under is not None:
        np.bitwise_and(code, one, out=wide)
        np.negative(wide, out=wide)
        code >>= one
        code ^= wide  # small numbers become small differences of either sign
        np.add(code, under, out=words)
    elif dtype in MANTISSA:
        np.left_shift(code, code.dtype.type(8 * code.itemsize - 1), out=wide)
        code >>= one
        np.bitwise_or(code, wide, out=words)
    else:
        words[...] = code


def unchanged(dtype: str) -> bytes:
    """A chunk that is equal to its base, of whatever size."""
    return bytes(1) + bytes([CONSTANT, 0]) * _width(dtype)


def plan(dtype: str, base: Bytes | None, steps: Sequence[int]) -> Plan:
    """A plan for chunks of `dtype`; with a base, groups that begin `steps` below its largest common exponent."""
    if base is None or dtype not in MANTISSA or not steps:
        return Plan(dtype, base is not None)
    exponents = np.sort(_exponents(_words(base, dtype), dtype))
    top = int(exponents[int(0.98 * (len(exponents) - 1))])  # a few outliers do not count
    return Plan(dtype, delta=True, bounds=tuple(sorted({max(0, top - step) for step in steps})))


def _words(data: Bytes, dtype: str) -> Words:
    """Bit patterns as unsigned numbers: of the dtype's own width, of bytes where it does not fill whole ones."""
    return np.frombuffer(data, f"<u{_width(dtype)}")


def _width(dtype: str) -> int:
    return 4 if dtype == "C64" else max(1, BITS[dtype] // 8)


def _folded(difference: Words) -> Words:
    """Zigzag: small differences of either sign become small numbers."""
    signs = (difference.view(f"i{difference.itemsize}") >> (8 * difference.itemsize - 1)).view(difference.dtype)
    difference <<= difference.dtype.type(1)
    difference ^= signs
    return difference


def _turned(words: Words, dtype: str) -> Words:
    """Floats with the sign moved to the other end, so that the exponent fills the highest plane alone."""
    if dtype not in MANTISSA:
        return words
    return (words << words.dtype.type(1)) | (words >> words.dtype.type(8 * words.itemsize - 1))


def _exponents(words: Words, dtype: str) -> Plane:
    return (words >> words.dtype.type(MANTISSA[dtype])).astype(np.uint8)


def _groups(base: Bytes, under: Words, plan: Plan) -> Groups:
    """Places of the numbers of each group.

    Of the last base they are kept: where models are blended, several are differences to the very same chunk.
    """
    if not plan.bounds:
        return _NONE
    last = _tools.last
    if last is None or last[0] is not base or last[1] != plan:
        last = _tools.last = (base, plan, _parted(under, plan))
    return last[2]


def _parted(under: Words, plan: Plan) -> Groups:
    if plan.dtype not in MANTISSA:
        raise ValueError("groups of something without an exponent")
    exponents = _exponents(under, plan.dtype)
    below = [np.zeros(len(exponents), bool), *(exponents < bound for bound in plan.bounds)]
    below.append(np.ones(len(exponents), bool))
    return [np.flatnonzero(upper > lower) for lower, upper in itertools.pairwise(below)]


def _encode_plane(plane: Plane, groups: Groups) -> list[bytes]:
    """A plane: its kind, then what the kind needs."""
    if not plane.size or (plane == plane[0]).all():
        return [bytes([CONSTANT, int(plane[0]) if plane.size else 0])]
    if groups and 0.03 < _ratio(plane[:PROBE]) < 0.97:
        frames = [_compressed(plane.take(places)) for places in groups]
        return [bytes([GROUPED]), *(part for frame in frames for part in _framed(frame))]
    frame = _compressed(plane)
    if len(frame) > 0.97 * plane.size:
        return [bytes([RAW]), plane.tobytes()]
    return [bytes([ZSTD]), *_framed(frame)]


def _compressed(plane: Plane) -> bytes:
    return _tools.compressor.compress(plane.data)


def _ratio(plane: Plane) -> float:
    return len(_compressed(plane)) / plane.size


def _framed(frame: bytes) -> tuple[bytes, bytes]:
    return len(frame).to_bytes(4, "little"), frame


def _decode_plane(reader: _Cursor, size: int, groups: Groups) -> Plane | int:
    kind = reader.byte()
    if kind == CONSTANT:
        return reader.byte()
    if kind == RAW:
        return np.frombuffer(reader.take(size), np.uint8)
    if kind == ZSTD:
        return _inflated(reader, size)
    if kind == GROUPED and groups:
        plane = np.empty(size, np.uint8)
        for places in groups:
            plane[places] = _inflated(reader, len(places))
        return plane
    raise ValueError("an unknown kind of plane")


def _inflated(reader: _Cursor, size: int) -> Plane:
    """A zstd frame of exactly `size` bytes: what promises more is refused before any memory is taken for it."""
    frame = reader.take(int.from_bytes(reader.take(4), "little"))
    try:
        if zstandard.frame_content_size(frame) != size:
            raise ValueError("a zstd frame of the wrong size")
        data = _tools.decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from None
    if len(data) != size:
        raise ValueError("a zstd frame of the wrong size")
    return np.frombuffer(data, np.uint8)


class _Cursor:
    """Reads bytes one after the other. Raises ValueError at the end of them."""

    def __init__(self, data: Bytes) -> None:
        self._data, self._position = memoryview(data), 0

    def take(self, count: int) -> memoryview:
        start, self._position = self._position, self._position + count
        if self._position > len(self._data):
            raise ValueError("cut short")
        return self._data[start : self._position]

    def byte(self) -> int:
        return self.take(1)[0]

    def end(self) -> None:
        if self._position != len(self._data):
            raise ValueError("bytes behind the end")
