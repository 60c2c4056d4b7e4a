"""Which changes are among the largest: exact ranks of magnitudes that are never in memory all at once.

Magnitudes are counted by the upper 16 bits of their patterns, which tell where the one that is sought lies, and one by
one around the place where it lies in a sample. One pass is enough if the sample is right, two if it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from wvc.dtypes import DTYPES, FP32, widened
from wvc.store import threads
from wvc.strategies._magnitudes import patterns
from wvc.strategies._models import Stack

# Applies a function to all items, and gives the results in order.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
Starts = Sequence[Sequence[int]]

CLASSES = 1 << 15  # upper halves of patterns: the sign bit is 0
LOWER = 1 << 16
AROUND = 3  # classes that are counted one by one: that of the sample, and those beside it
PIECE = 1 << 20  # bytes of a tensor that are read at a time; the first are the sample
BATCH = 1 << 22  # elements that are counted in one place


def ranked(stack: Stack, ranks: Sequence[int]) -> list[list[int]]:
    """Patterns of the `ranks`-th largest magnitudes (1: the largest) of what each model changed, (k, ranks).

    Magnitudes below 2^-133 count as 0, and where there are fewer than a rank it is 0. Raises Damage.
    """
    return _ranked([stack], ranks, map)


def ranked_together(stacks: Sequence[Stack], ranks: Sequence[int]) -> list[list[int]]:
    """The same of all `stacks` as if they were one tensor, in several threads."""
    if not stacks:
        return []
    return _ranked(stacks, ranks, threads.spread)


@dataclass
class Counts:
    """How many magnitudes there are in each model.

    starts: where the classes begin that are counted one by one, (k, ranks).
    classes: by upper half, (k, CLASSES). single: one by one, (k, ranks, AROUND * LOWER).
    """

    starts: Starts
    classes: npt.NDArray[np.int64]
    single: npt.NDArray[np.int64]

    @classmethod
    def none(cls, starts: Starts) -> Counts:
        shape = (len(starts), len(starts[0]), AROUND * LOWER)
        return cls(starts, np.zeros((len(starts), CLASSES), np.int64), np.zeros(shape, np.int64))

    def count(self, stack: Stack, start: int, stop: int) -> None:
        """Add elements start..stop of what each model changed in `stack`."""
        values, base = stack.read(start, stop)
        origin = base if base is None or base.itemsize >= FP32.itemsize else widened(base, FP32)
        for i, value in enumerate(values):
            if value is base:
                self.classes[i, 0] += stop - start
                continue
            found = patterns(value, origin)
            self.classes[i] += np.bincount(found >> 16, minlength=CLASSES)
            for j, first in enumerate(self.starts[i]):
                # what lies before wraps around, behind everything that is counted
                offsets = (found - np.int32(first * LOWER)).view(np.uint32)
                np.add.at(self.single[i, j], offsets[offsets < AROUND * LOWER], 1)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.starts, self.classes + other.classes, self.single + other.single)

    def patterns(self, ranks: Sequence[int]) -> list[list[int]] | None:
        """What `ranked` returns; None if some lie where patterns were not counted one by one."""
        found = [[self._pattern(i, j, rank) for j, rank in enumerate(ranks)] for i in range(len(self.starts))]
        complete = [[pattern for pattern in row if pattern is not None] for row in found]
        return complete if complete == found else None

    def _pattern(self, i: int, j: int, rank: int) -> int | None:
        place, rank = _place(self.classes[i], rank)
        ahead = place - self.starts[i][j]
        if place == 0:
            return 0
        if not 0 <= ahead < AROUND:
            return None
        return place * LOWER + _place(self.single[i, j, ahead * LOWER : (ahead + 1) * LOWER], rank)[0]


def classes(stack: Stack, start: int, stop: int) -> npt.NDArray[np.int64]:
    """How many magnitudes of elements start..stop have which upper half, (k, CLASSES). Raises Damage."""
    counts = Counts.none([()] * len(stack.tensors))
    step = max(1, PIECE // DTYPES[stack.dtype].itemsize)
    for first in range(start, stop, step):
        counts.count(stack, first, min(first + step, stop))
    return counts.classes


def _ranked(stacks: Sequence[Stack], ranks: Sequence[int], each: Each) -> list[list[int]]:
    sample = reduce(add, each(_sample, stacks))
    counts = _counted(stacks, [[max(0, _place(row, rank)[0] - 1) for rank in ranks] for row in sample], each)
    found = counts.patterns(ranks)
    if found is None:
        counts = _counted(stacks, [[_place(row, rank)[0] for rank in ranks] for row in counts.classes], each)
        found = counts.patterns(ranks)
    assert found is not None
    return found


def _sample(stack: Stack) -> npt.NDArray[np.float64]:
    """Classes of all magnitudes, as the first piece has them: (k, CLASSES)."""
    start, stop = next(stack.tensors[0].ranges(PIECE))
    return classes(stack, start, stop).astype(np.float64) * (stack.numel / stop)


def _counted(stacks: Sequence[Stack], starts: Starts, each: Each) -> Counts:
    def count(batch: Sequence[Stack]) -> Counts:
        counts = Counts.none(starts)
        for stack in batch:
            for start, stop in stack.tensors[0].ranges(PIECE):
                counts.count(stack, start, stop)
        return counts

    counted: Iterable[Counts] = each(count, _batches(stacks))
    return reduce(add, counted)


def _batches(stacks: Sequence[Stack]) -> Iterator[list[Stack]]:
    batch: list[Stack] = []
    for stack in stacks:
        batch.append(stack)
        if sum(member.numel for member in batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _place(counts: npt.NDArray[Any], rank: float) -> tuple[int, int]:
    """Where the rank-th from the end is counted, and its rank in there; (0, 1) where there are not so many."""
    upwards = np.cumsum(counts[::-1])
    ahead = int(np.searchsorted(upwards, rank))
    if ahead == len(counts):
        return 0, 1
    return len(counts) - 1 - ahead, int(rank - (upwards[ahead] - counts[-1 - ahead]))
