"""One tensor in a few numbers, read in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wvc.repo.dtypes import Reals, decode
from wvc.repo.objects import Tensor
from wvc.store.header import BITS

CHUNK = 1 << 20  # numbers at a time


@dataclass(frozen=True)
class Summary:
    """A tensor and what its numbers are like.

    numbers: how many there are; finite: how many of them are neither infinite nor NaN.
    min, max, mean, std (of the population), l2: of the finite ones; None where there are none, or the dtype has no
    meaning as real numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    id: str
    numbers: int
    finite: int | None = None
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    std: float | None = None
    l2: float | None = None


@np.errstate(over="ignore")  # the square of a huge number is infinite, which is a fair answer
def summary(tensor: Tensor, data: memoryview) -> Summary:
    """The summary of `tensor`, whose bytes are `data`."""
    numbers = math.prod(tensor.shape)
    about = (tensor.name, tensor.dtype, tensor.shape, tensor.id, numbers)
    if decode(data[:0], tensor.dtype) is None:
        return Summary(*about)
    finite = sum(len(x) for x in _finite(tensor, data))
    if not finite:
        return Summary(*about, finite=0)
    mean = sum(float(x.sum()) for x in _finite(tensor, data)) / finite
    # Around the mean, in a second pass: the difference of two large sums would lose the digits of a small spread.
    variance = sum(float(np.square(x - mean).sum()) for x in _finite(tensor, data)) / finite
    return Summary(
        *about,
        finite=finite,
        min=min(float(x.min()) for x in _finite(tensor, data)),
        max=max(float(x.max()) for x in _finite(tensor, data)),
        mean=mean,
        std=math.sqrt(variance),
        l2=math.sqrt(sum(float(np.square(x).sum()) for x in _finite(tensor, data))),
    )


def _finite(tensor: Tensor, data: memoryview) -> Iterator[Reals]:
    """The finite numbers in `data`, chunk by chunk, none of them empty."""
    step = CHUNK * BITS[tensor.dtype] // 8
    for start in range(0, len(data), step):
        values = decode(data[start : start + step], tensor.dtype)
        assert values is not None
        values = values[np.isfinite(values)]
        if len(values):
            yield values
