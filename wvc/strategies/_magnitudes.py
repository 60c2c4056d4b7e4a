"""Magnitudes of changes: rounded to fp32, whose bit patterns are ordered as the numbers are."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from wvc.dtypes import FP32, Array, widened

INFINITY = 0x7F800000

Patterns = npt.NDArray[np.int32]


def patterns(values: Array, base: Array | None = None) -> Patterns:
    """|values - base| rounded to fp32, as bits: (n,) int32, 0 or more; NaN comes after everything.

    base: in the dtype of the values, or in fp32 already where they are narrower.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if base is None:
            difference = values.astype(FP32)
        elif values.itemsize < FP32.itemsize:
            difference = widened(values, FP32) - widened(base, FP32)
        else:  # in fp32 at once or by way of fp64: a difference is the same, fp64 has more than twice the bits
            difference = (values - base).astype(FP32, copy=False)
    found: Patterns = difference.view(np.int32)
    found &= np.int32(0x7FFFFFFF)
    return found


def below(pattern: int, dtype: np.dtype[Any]) -> float:
    """The largest magnitude in `dtype`, fp32 or fp64, that rounds to less than `pattern`; -1 where there is none."""
    if pattern == 0:
        return -1.0
    if pattern > INFINITY:
        return math.inf
    if dtype == FP32:
        return _number(pattern - 1)
    middle = (_number(pattern - 1) + _number(pattern)) / 2
    return math.nextafter(middle, 0) if pattern % 2 == 0 else middle  # what lies between two goes to the even one


def shrink(change: Array, limit: float, largest: float = math.inf) -> Array:
    """`change`, which is overwritten, with 0 for magnitudes up to `limit` and for those above `largest`."""
    if limit < 0 and largest == math.inf:
        return change
    least, most = change.dtype.type(limit), change.dtype.type(largest)
    kept = change > least
    kept |= change < -least
    if largest < math.inf:
        kept &= change <= most
        kept &= change >= -most
    # The product keeps a NaN, and makes one of an infinite change that is dropped: neither gives a result.
    change *= kept
    return change


def _number(pattern: int) -> float:
    if pattern == INFINITY:
        return 2.0**128  # numbers that are closer to it than to the largest of fp32 are rounded to infinity
    number: float = struct.unpack("<f", struct.pack("<I", pattern))[0]
    return number
