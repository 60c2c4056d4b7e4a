"""Make one change of the base out of those of several models: their weighted sum, or what most of them agree on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import numpy.typing as npt

from wvc.dtypes import Array
from wvc.errors import MergeProblem
from wvc.strategies._models import Models

Consensus = Literal["none", "ties"]
Elect = Literal["sum", "count"]
Divisor = Literal["count", "weight", "none"]

# (what each model changed, not weighted; it is overwritten) -> what to change.
Fuse = Callable[[Sequence[Array]], Array]
Signs = npt.NDArray[np.int8]


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
    return lambda changes: _sum(weighted(changes, factors))


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
    shares = [abs(factor) for factor in factors]

    def fuse(changes: Sequence[Array]) -> Array:
        changes = weighted(changes, factors)
        sign = ballot(changes, elect)
        if undecided:
            sign = _sign(2 * sign + np.int8(undecided))
        up, down = sign > 0, sign < 0
        agree = [((change > 0) & up) | ((change < 0) & down) for change in changes]
        total = np.multiply(changes[0], agree[0], out=changes[0])
        for change, agrees in zip(changes[1:], agree[1:], strict=True):
            total += np.multiply(change, agrees, out=change)
        if divisor != "none":
            total /= _counted(agree) if divisor == "count" else _shared(agree, shares, total)
        return total

    return fuse


def votes(weights: Sequence[Fraction], elect: Elect) -> Callable[[Sequence[Array]], Signs]:
    """The sign that is elected for each element: -1, 0 or 1."""
    factors = [float(weight) for weight in weights]
    return lambda changes: ballot(weighted(changes, factors), elect)


def ballot(changes: Sequence[Array], elect: Elect) -> Signs:
    """The sign that `changes` elect, for each element; they stay as they are."""
    if elect == "sum":
        return _sign(_sum(changes))
    counts: Array = np.zeros(len(changes[0]), np.int8 if len(changes) < 128 else np.int64)
    for change in changes:
        counts += _sign(change)
    return _sign(counts)


def moved(base: Array, change: Array, scale: Fraction) -> Array:
    """base + scale * change; `change` is overwritten."""
    change *= change.dtype.type(-float(scale))
    change += 0.0  # subtracting a zero that is positive leaves even a -0 of the base as it is
    return np.subtract(base, change, out=change)


def weighted(changes: Sequence[Array], factors: Sequence[float]) -> Sequence[Array]:
    """`changes`, which are overwritten, times factors."""
    for change, factor in zip(changes, factors, strict=True):
        if factor != 1:
            np.multiply(change, change.dtype.type(factor), out=change)
    return changes


def _sum(changes: Sequence[Array]) -> Array:
    total = changes[0].copy()
    for change in changes[1:]:
        total += change
    return total


def _sign(values: Array) -> Signs:
    # Several times faster than NumPy's, and 0 for NaN.
    return np.subtract((values > 0).view(np.int8), (values < 0).view(np.int8))


def _counted(agree: Sequence[npt.NDArray[np.bool_]]) -> Array:
    """How many models agree; 1 where nobody does."""
    counts: Array = np.zeros(len(agree[0]), np.uint8 if len(agree) < 256 else np.int64)
    for agrees in agree:
        counts += agrees.view(np.uint8)
    np.maximum(counts, 1, out=counts)
    return counts


def _shared(agree: Sequence[npt.NDArray[np.bool_]], shares: Sequence[float], like: Array) -> Array:
    """The sum of the shares of the models that agree; the least share where nobody does."""
    total, part = np.zeros_like(like), np.empty_like(like)
    for agrees, share in zip(agree, shares, strict=True):
        total += np.multiply(agrees, like.dtype.type(share), out=part)
    least = min((share for share in shares if share), default=1.0)
    np.maximum(total, like.dtype.type(least), out=total)
    return total
