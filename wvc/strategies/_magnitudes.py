"""Magnitudes of changes: rounded to fp32, whose bit patterns are ordered as the numbers are."""

from __future__ import annotations

import math
import struct

import torch
from torch import Tensor

INFINITY = 0x7F800000


def patterns(values: Tensor, base: Tensor | None = None) -> Tensor:
    """|values - base| rounded to fp32, as bits: (n,) int32, 0 or more; NaN comes after everything."""
    if base is None:
        difference = values.to(torch.float32, copy=True)
    elif values.dtype.itemsize < 4:
        difference = values.float() - base.float()
    else:  # in fp32 at once or by way of fp64: a difference is the same, fp64 has more than twice the bits
        difference = (values - base).float()
    return difference.view(torch.int32).bitwise_and_(0x7FFFFFFF)


def below(pattern: int, dtype: torch.dtype) -> float:
    """The largest magnitude in `dtype`, fp32 or fp64, that rounds to less than `pattern`; -1 where there is none."""
    if pattern == 0:
        return -1.0
    if pattern > INFINITY:
        return math.inf
    if dtype == torch.float32:
        return _number(pattern - 1)
    middle = (_number(pattern - 1) + _number(pattern)) / 2
    return math.nextafter(middle, 0) if pattern % 2 == 0 else middle  # what lies between two goes to the even one


def shrunk(change: Tensor, limit: float) -> Tensor:
    """`change` with 0 for magnitudes up to `limit`; none if that is negative."""
    return change if limit < 0 else torch.nn.functional.hardshrink(change, limit)


def _number(pattern: int) -> float:
    if pattern == INFINITY:
        return 2.0**128  # numbers that are closer to it than to the largest of fp32 are rounded to infinity
    number: float = struct.unpack("<f", struct.pack("<I", pattern))[0]
    return number
