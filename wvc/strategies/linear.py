"""Average the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from wvc.dtypes import FP64, Array, widened
from wvc.strategies._blended import Blend, blended
from wvc.strategies._models import Chunk, Models, Stack
from wvc.weights import Weights


def merge(models: Models) -> Weights:
    r"""Return $\sum_i c_i \theta_i$, by default the mean. The coefficients $c_i$ must sum to 1.

    Floating tensors are summed fp32 and wider in fp64, 16 bits and narrower in fp32 unless the coefficients need more,
    and rounded once. Integer and boolean tensors are the first model's.

    Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482
    """
    shares = models.shares
    return blended(models, None, lambda stack: weighted_sum(shares, stack))


def by_tensor(models: Models, shares: Mapping[str, Sequence[Fraction]]) -> Weights:
    """The sum with coefficients of its own for each tensor: learned soups by layer. shares: by name, sum 1 each."""
    return blended(models, None, lambda stack: weighted_sum(shares[stack.name], stack))


def weighted_sum(shares: Sequence[Fraction], stack: Stack) -> Blend:
    """Sum of the models, and of the base if there is one more coefficient, times exact coefficients."""
    common = math.lcm(*(share.denominator for share in shares))
    # Up to 13 bits of a numerator and 11 of an fp16 make a product that fp32 holds exactly.
    dtype = stack.wide if common <= 2**13 else FP64
    common = common if common <= 2**53 else 1  # larger numerators are rounded as the fractions are, or overflow
    # A sum of numerators divided once is exact where a sum of rounded fractions is not.
    factors = [float(share * common) for share in shares]

    def blend(chunk: Chunk) -> Array:
        values = [widened(value, dtype) for value in (*chunk.values, *([] if chunk.base is None else [chunk.base]))]
        total: Array = values[0] * dtype.type(factors[0])
        part = np.empty_like(total)
        for value, factor in zip(values[1:], factors[1:], strict=True):
            total += value if factor == 1 else np.multiply(value, dtype.type(factor), out=part)
        if common != 1:
            total /= dtype.type(common)
        return total

    return blend
