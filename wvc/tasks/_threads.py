"""Apply a function to many things on all cores, in order, without holding more than a few results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

CHUNK = 256


def in_order(function: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
    """`function` of each item. Decoding and hashing leave Python's lock, so threads suffice."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for start in range(0, len(items), CHUNK):
            yield from pool.map(function, items[start : start + CHUNK])
