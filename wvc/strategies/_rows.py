"""Rows of a tensor, the numbers behind its first axis, and the probabilities that ranks in a row stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from wvc.dtypes import Array
from wvc.strategies._magnitudes import Patterns, patterns
from wvc.strategies._models import Chunk, Stack
from wvc.strategies._trim import classes

Floats = npt.NDArray[np.float64]

COLUMN = 18  # bits of a column
LONG = 1 << COLUMN  # elements: longer rows are not sorted


class Ranks:
    """Rank of each element in its row by the magnitude of what a model changed: 0 for the least, 1 for the largest.

    Rows of more than LONG elements are not sorted: what has the same upper half of its pattern, within 1 %, shares the
    mean of its ranks. Equal magnitudes in shorter rows are ranked by their place.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._length = stack.numel if len(stack.shape) < 2 else stack.numel // stack.shape[0]
        self._row, self._tables = -1, np.zeros((0, 0))

    def span(self, index: int) -> tuple[int, int]:
        """The elements around `index` whose ranks are found together: whole rows, or a piece of one long row."""
        length = self._length
        if length <= LONG:
            size = LONG // length * length
            start = index - index % size
            return start, min(start + size, self._stack.numel)
        first = index - index % length
        start = index - (index - first) % LONG
        return start, min(start + LONG, first + length)

    def chunks(self) -> Iterator[Chunk]:
        """All spans, in order. Raises Damage, and MergeProblem for NaN and infinity."""
        start = 0
        while start < self._stack.numel:
            start, stop = self.span(start)
            yield self._stack.chunk(start, stop)
            start = stop

    def of(self, model: int, start: int, changes: Array) -> Floats:
        """Of one model's `changes` in a span that begins at `start`, (n,)."""
        found = patterns(changes)
        if self._length > LONG:
            ranks: Floats = self._table(start // self._length)[model, found >> 16]
            return ranks
        return _sorted(found.reshape(-1, self._length)).reshape(-1)

    def _table(self, row: int) -> Floats:
        """Ranks of the classes of one row, (k, CLASSES)."""
        if row != self._row:
            counts = classes(self._stack, row * self._length, (row + 1) * self._length)
            before = np.cumsum(counts, axis=1) - counts
            self._row, self._tables = row, (before + (counts - 1) / 2) / (self._length - 1)
        return self._tables


def _sorted(found: Patterns) -> Floats:
    """Ranks of each of the patterns in its row, (rows, n); 1/2 for a row of one."""
    rows, length = found.shape
    if length == 1:
        return np.full((rows, 1), 0.5)
    # Sorted together with their columns, which is several times faster than finding the order of the patterns.
    keys = found.astype(np.int64)
    keys <<= COLUMN
    keys += np.arange(length)
    keys.sort(axis=1)
    keys &= LONG - 1
    ranks = np.empty((rows, length))
    np.put_along_axis(ranks, keys, np.arange(length) / (length - 1), axis=1)
    return ranks


class Spans:
    """A tensor that is made span by span and read in pieces of any size. The last span is remembered."""

    def __init__(self, stack: Stack, ranks: Ranks, make: Callable[[Chunk], Array]) -> None:
        self._stack, self._ranks, self._make = stack, ranks, make
        self._begin, self._made = -1, np.empty(0)

    def read(self, start: int, stop: int) -> Array:
        """Elements start..stop: a copy."""
        pieces = []
        while start < stop:
            begin, end = self._ranks.span(start)
            if begin != self._begin:
                self._begin, self._made = begin, self._make(self._stack.chunk(begin, end))
            pieces.append(self._made[start - begin : min(stop, end) - begin])
            start = end
        return np.concatenate(pieces)
