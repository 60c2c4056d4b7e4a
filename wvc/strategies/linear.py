"""Average the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from wvc.strategies._blended import Blend, blended
from wvc.strategies._models import Chunk, Models, Stack
from wvc.weights import Weights

Model = Mapping[str, Tensor]


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
    dtype = stack.wide if common <= 2**13 else torch.float64
    common = common if common <= 2**53 else 1  # larger numerators are rounded as the fractions are, or overflow
    # A sum of numerators divided once is exact where a sum of rounded fractions is not.
    factors = [float(share * common) for share in shares]

    def blend(chunk: Chunk) -> Tensor:
        values = [*chunk.values, *([] if chunk.base is None else [chunk.base])]
        total = values[0].to(dtype) * factors[0]
        for value, factor in zip(values[1:], factors[1:], strict=True):
            total.add_(value.to(dtype), alpha=factor)
        return total if common == 1 else total.div_(float(common))

    return blend


class Mean:
    """A running mean: each model costs one addition, not one per model so far."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._first: Model = {}
        self.count = 0

    def plus(self, model: Model) -> Mean:
        """The mean with `model` added; this one stays as it is."""
        result = Mean()
        result._first = self._first or model
        result.count = self.count + 1
        for name, tensor in model.items():
            if tensor.is_floating_point():
                wide = tensor.to(torch.float64 if tensor.dtype.itemsize >= 4 else torch.float32)
                result._sums[name] = self._sums[name] + wide if self.count else wide.clone()
        return result

    def weights(self) -> dict[str, Tensor]:
        """The mean, in the dtypes of the models."""
        return {
            name: (self._sums[name] / self.count).to(tensor.dtype) if name in self._sums else tensor
            for name, tensor in self._first.items()
        }
