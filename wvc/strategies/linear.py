"""Average the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch

from wvc.errors import MergeProblem
from wvc.weights import Weights

Model = Mapping[str, torch.Tensor]


def merge(models: Sequence[Model], *, coefficients: Sequence[Fraction] | None = None) -> Weights:
    r"""Return $\sum_i c_i \theta_i$, by default the mean.

    coefficients: $c_i$, which must sum to 1.
    Floating tensors are summed in the order given, fp32 and wider in fp64, 16 bits and narrower in fp32 unless the
    coefficients need more, and cast back. Integer and boolean tensors are the first model's.

    Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482
    """
    shares = list(coefficients or [Fraction(1, len(models))] * len(models))
    if sum(shares) != 1:
        raise MergeProblem(f"coefficients sum to {sum(shares)}, not to 1")
    return Weights(list(models[0]), lambda name: _blend(name, [m[name] for m in models], shares))


class Mean:
    """A running mean: each model costs one addition, not one per model so far."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._first: Model = {}
        self.count = 0

    def plus(self, model: Model) -> Mean:
        """The mean with `model` added; this one stays as it is."""
        result = Mean()
        result._first = self._first or model
        result.count = self.count + 1
        for name, tensor in model.items():
            if tensor.is_floating_point():
                wide = tensor.to(_wide(tensor.dtype))
                result._sums[name] = self._sums[name] + wide if self.count else wide.clone()
        return result

    def weights(self) -> dict[str, torch.Tensor]:
        """The mean, in the dtypes of the models."""
        return {
            name: (self._sums[name] / self.count).to(tensor.dtype) if name in self._sums else tensor
            for name, tensor in self._first.items()
        }


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.itemsize >= 4 else torch.float32


def _same_bits(one: torch.Tensor, two: torch.Tensor) -> bool:
    """Of every number, NaN included."""
    return torch.equal(*(tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, two)))


def _blend(name: str, tensors: Sequence[torch.Tensor], shares: Sequence[Fraction]) -> torch.Tensor:
    first = tensors[0]
    if not first.is_floating_point() or all(_same_bits(first, other) for other in tensors[1:]):
        return first.clone()
    common = math.lcm(*(share.denominator for share in shares))
    # Up to 13 bits of a numerator and 11 of an fp16 make a product that fp32 holds exactly.
    wide = _wide(first.dtype) if common <= 2**13 else torch.float64
    common = common if common <= 2**53 else 1  # larger numerators are rounded as the fractions are, or overflow
    total = torch.zeros(first.shape, dtype=wide)
    for tensor, share in zip(tensors, shares, strict=True):
        # A sum of numerators divided once is exact where a sum of rounded fractions is not.
        total.add_(tensor.to(total.dtype), alpha=float(share * common))
    total /= float(common)
    result = total.to(first.dtype)
    if not torch.isfinite(total.copy_(result)).all():  # copied back: casting may have made what is too large infinite
        raise MergeProblem(f"tensor {name!r} holds NaN or infinity", "find the model with `wvc show REV:TENSOR`")
    return result
