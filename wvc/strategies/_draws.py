"""Random numbers that depend on what they are for, not on who asks first: pieces, threads and order change nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wvc.dtypes import Array
from wvc.strategies._models import Models, Stack

Numbers = npt.NDArray[np.uint32]

ONE = 1 << 32  # what the numbers are below
TOGETHER = 8  # numbers that Philox makes of one counter


@dataclass(frozen=True)
class Draws:
    """Uniform integers below 2^32, one for each element: Philox 4x64-10, its counter is the index divided by 8.

    key: 128 bits.
    """

    key: int

    def __call__(self, start: int, stop: int) -> Numbers:
        """Those of elements start..stop."""
        first, last = start // TOGETHER, -(-stop // TOGETHER)
        words = np.random.Philox(key=self.key, counter=first).random_raw(4 * (last - first))
        numbers: Numbers = words.astype("<u8", copy=False).view("<u4")
        return numbers[start - TOGETHER * first : stop - TOGETHER * first]


def draws(models: Models, stack: Stack, seed: int) -> list[Draws]:
    """One for each model: of the seed, the tensor's name, and the model's id and occurrence."""
    known = zip(models.members, models.occurrences, strict=True)
    return [Draws(_key(f"{seed}\n{model.id}\n{occurrence}\n{stack.name}")) for model, occurrence in known]


def norm_ratios(pieces: Iterable[tuple[Sequence[Array], Sequence[Array]]]) -> list[float]:
    """For each model, the sum of magnitudes of all its changes, divided by that of those that are left; 1 if none are.

    pieces: of a tensor, (the changes of each model, the same with 0 for what is dropped).
    """
    norms = [[[_norm(change) for change in changes] for changes in piece] for piece in pieces]
    before, after = np.add.reduce(norms)
    return [float(all / left) if left else 1.0 for all, left in zip(before, after, strict=True)]


def _norm(changes: Array) -> float:
    return float(np.add.reduce(np.abs(changes).astype(np.float64, copy=False)))


def _key(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
