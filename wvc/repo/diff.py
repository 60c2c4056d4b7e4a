"""How two models differ: which tensors, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wvc.progress import SILENT, Progress
from wvc.repo.dtypes import decode
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.store.header import size_of


@dataclass(frozen=True)
class Change:
    """One tensor that differs.

    status: "changed", "added", "removed" or "reshaped" (another shape or dtype).
    l2: norm of the difference; relative: l2 over the norm of the old tensor (inf where that is 0).
    cosine: of the angle between old and new, nan where one of them is 0.
    largest: largest absolute difference. All four are None where there is nothing to subtract.
    changed: how many numbers differ, of `numbers`.
    """

    name: str
    status: str
    dtype: str
    shape: tuple[int, ...]
    numbers: int
    changed: int | None = None
    l2: float | None = None
    relative: float | None = None
    cosine: float | None = None
    largest: float | None = None

    @property
    def layer(self) -> str:
        """The module that the tensor belongs to."""
        return layer_of(self.name)


def layer_of(name: str) -> str:
    """The module that the tensor `name` belongs to: the name without its last part."""
    return name.rpartition(".")[0] or name


def diff(repository: Repository, old: Manifest, new: Manifest, progress: Progress = SILENT) -> list[Change]:
    """Every tensor that differs between `old` and `new`, sorted by name. Reads changed tensors only, in chunks."""
    progress.start("comparing", sum(size_of(t.dtype, t.shape) for t in new.tensors), "B")
    changes = []
    for name in sorted(old.by_name.keys() | new.by_name.keys()):
        before, after = old.by_name.get(name), new.by_name.get(name)
        change = _compare(repository, before, after)
        if change is not None:
            changes.append(change)
        if after is not None:
            progress.advance(size_of(after.dtype, after.shape))
    progress.stop()
    return changes


def _compare(repository: Repository, before: Tensor | None, after: Tensor | None) -> Change | None:
    if before == after:
        return None
    present = after or before
    assert present is not None
    numbers = math.prod(present.shape)
    if before is None or after is None:
        status = "added" if before is None else "removed"
    elif (before.dtype, before.shape) != (after.dtype, after.shape):
        status = "reshaped"
    else:
        return _measure(repository, before, after)
    return Change(present.name, status, present.dtype, present.shape, numbers)


@np.errstate(over="ignore", invalid="ignore")  # infinity and NaN are fair answers
def _measure(repository: Repository, before: Tensor, after: Tensor) -> Change:
    numbers = math.prod(after.shape)
    if decode(memoryview(b""), after.dtype) is None:
        return Change(after.name, "changed", after.dtype, after.shape, numbers)
    sums = np.zeros(4)  # |d|^2, |a|^2, |b|^2, a.b
    largest, changed = 0.0, 0
    for a, b in zip(repository.chunks(before), repository.chunks(after), strict=True):
        x, y = decode(a, after.dtype), decode(b, after.dtype)
        assert x is not None and y is not None
        d = y - x
        sums += np.array([d @ d, x @ x, y @ y, x @ y])
        largest = float(np.maximum(largest, np.max(np.abs(d), initial=0.0)))  # NaN stays NaN
        changed += int(np.count_nonzero(~((x == y) | (np.isnan(x) & np.isnan(y)))))
    l2, norm, other, dot = math.sqrt(sums[0]), math.sqrt(sums[1]), math.sqrt(sums[2]), float(sums[3])
    relative = l2 / norm if norm else math.inf if l2 else 0.0
    cosine = dot / (norm * other) if norm and other else math.nan
    return Change(after.name, "changed", after.dtype, after.shape, numbers, changed, l2, relative, cosine, largest)
