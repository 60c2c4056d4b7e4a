"""Tensors to merge, and how far results are from what they should be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import torch

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NARROW = FLOATS[1:]
SHAPES = [(), (0,), (1,), (7,), (4, 3, 2, 2), (600_001,)]  # the last is more than 1 MiB, even in 16 bits
# NaNs that hold something, a zero with a sign, infinity.
ODD = np.array([0x7FC00001, 0xFF800001, 0x80000000, 0x7F800000], np.uint32).view(np.float32)


def tensor(dtype: torch.dtype, shape: Sequence[int], seed: int, mean: float = 0.0) -> torch.Tensor:
    """Normal numbers."""
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).normal(mean, size=shape))).to(dtype)


def odd() -> torch.Tensor:
    """A tensor of ODD, anew each time."""
    return torch.from_numpy(ODD.copy())


def flat(some: torch.Tensor) -> npt.NDArray[np.float64]:
    """All numbers in fp64, (n,)."""
    return some.to(torch.float64).reshape(-1).numpy()


def raw(some: torch.Tensor) -> bytes:
    """The bytes of a tensor of any dtype."""
    return some.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if some.numel() else b""


def bits(model: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """All that there is to know of a model."""
    return {name: (model[name].dtype, tuple(model[name].shape), raw(model[name])) for name in model}


def fractions(*parts: int) -> list[Fraction]:
    """Shares in this proportion, which sum to 1."""
    return [Fraction(part, sum(parts)) for part in parts]


def worst(found: torch.Tensor, exact: npt.NDArray[np.float64], slack: float = 0.0) -> float:
    """The largest error, less `slack`, in units in the last place of `found`'s dtype."""
    info = torch.finfo(found.dtype)
    exponents = np.maximum(np.frexp(exact)[1] - 1.0, math.log2(info.smallest_normal))
    error = np.maximum(np.abs(flat(found) - exact) - slack, 0)
    return float(np.max(error / (2.0**exponents * info.eps), initial=0.0))
