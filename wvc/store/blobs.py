"""Blobs: tensors and side files on their way in, read when their turn comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from wvc.store.header import BITS

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Blob:
    """Bytes to store: what they are and where to get them.

    dtype, shape: as in safetensors; a side file is "U8" with its length as only dimension.
    read: raw little-endian bytes start..stop, exactly as many as asked for; called from several threads, and for
      some ranges twice. Raises BadFile where it cannot.
    fixed: the bytes cannot change between two reads, because they are in this process's own memory.
    check: called when all bytes were read; raises what tells that they are not to be relied on.
    vouched: ids of stored tensors whose only copy `check` has looked at by then.
    costly: reading is work, so that a sample is taken where the reading will begin.
    bases: ids of stored tensors of the same dtype and shape that it may resemble, the likeliest first.
    """

    dtype: str
    shape: tuple[int, ...]
    read: Callable[[int, int], Bytes]
    fixed: bool = False
    bases: tuple[str, ...] = ()
    costly: bool = False
    check: Callable[[], None] = lambda: None
    vouched: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """Bytes that it takes, uncompressed."""
        return math.prod(self.shape) * BITS[self.dtype] // 8


def held(dtype: str, shape: tuple[int, ...], data: Bytes) -> Blob:
    """A blob of bytes that are in memory."""
    view = memoryview(data).cast("B")
    return Blob(dtype, shape, lambda start, stop: view[start:stop], fixed=True)
