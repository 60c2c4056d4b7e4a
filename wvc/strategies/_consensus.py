"""Make one change of the base out of those of several models: their weighted sum, or what most of them agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from wvc.errors import MergeProblem
from wvc.strategies._models import Models

Consensus = Literal["none", "ties"]
Elect = Literal["sum", "count"]
Divisor = Literal["count", "weight", "none"]

# (what each model changed, not weighted; it is overwritten) -> what to change.
Fuse = Callable[[Sequence[Tensor]], Tensor]


def stated(models: Models) -> tuple[Fraction, ...]:
    """The weights of the models: 1 for each where nobody stated any."""
    return models.coefficients or (Fraction(1),) * len(models)


def fused(models: Models, consensus: Consensus, *, normalize: bool) -> Fuse:
    """The sum of the weighted changes; with "ties" of those that agree with the elected sign.

    normalize: divide by the sum of the weights; with "ties" by those of the models that agree.
    Raises MergeProblem if that sum is 0.
    """
    weights = stated(models)
    if consensus == "ties":
        return agreed(weights, divisor="weight" if normalize else "none")
    factors = [float(weight) for weight in (normalized(weights) if normalize else weights)]
    return lambda changes: _sum(_weighted(changes, factors))


def normalized(weights: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """`weights` divided by their sum. Raises MergeProblem if that is 0."""
    if not sum(weights):
        raise MergeProblem("coefficients sum to 0", "-o normalize=false leaves them as they are")
    return tuple(weight / sum(weights) for weight in weights)


def agreed(
    weights: Sequence[Fraction], *, elect: Elect = "sum", divisor: Divisor = "count", undecided: int = 0
) -> Fuse:
    """For each element, the sum of the weighted changes that have the sign that is elected.

    elect: by the sign of the sum of the weighted changes, or of how many are positive less how many are negative.
    divisor: how many agree, or the sum of the absolute weights of those; a change of 0 does not agree.
    undecided: the sign that is elected where that sum is 0; with 0, nothing is changed there.
    """
    factors = [float(weight) for weight in weights]
    shares = [1.0] * len(factors) if divisor == "count" else [abs(factor) for factor in factors]
    least = min((share for share in shares if share), default=1.0)

    def fuse(changes: Sequence[Tensor]) -> Tensor:
        changes = _weighted(changes, factors)
        sign = ballot(changes, elect)
        if undecided:
            sign.mul_(2).add_(undecided).sign_()
        total, divided = torch.zeros_like(sign), torch.zeros_like(sign)
        for change, share in zip(changes, shares, strict=True):
            agreeing = change.mul_(sign).relu_()
            total.add_(agreeing)
            if divisor != "none":
                divided.add_(agreeing.sign_(), alpha=share)
        if divisor != "none":
            total.div_(divided.clamp_min_(least))  # where nobody agrees, 0 is divided
        return total.mul_(sign)

    return fuse


def votes(weights: Sequence[Fraction], elect: Elect) -> Fuse:
    """The sign that is elected for each element: -1, 0 or 1."""
    factors = [float(weight) for weight in weights]
    return lambda changes: ballot(_weighted(changes, factors), elect)


def ballot(changes: Sequence[Tensor], elect: Elect) -> Tensor:
    """The sign that `changes` elect, for each element; they stay as they are."""
    return _sum(changes if elect == "sum" else [change.sign() for change in changes]).sign_()


def moved(base: Tensor, change: Tensor, scale: Fraction) -> Tensor:
    """base + scale * change; `change` is overwritten."""
    # Subtracting a zero that is positive leaves even a -0 of the base as it is.
    return base - change.mul_(-float(scale)).add_(0.0)


def _weighted(changes: Sequence[Tensor], factors: Sequence[float]) -> list[Tensor]:
    return [change if factor == 1 else change.mul_(factor) for change, factor in zip(changes, factors, strict=True)]


def _sum(changes: Sequence[Tensor]) -> Tensor:
    total = changes[0].clone()
    for change in changes[1:]:
        total.add_(change)
    return total
