"""Pull the average of a few models towards their base, as the angles between their changes say."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations
from typing import Literal

from wvc.errors import MergeProblem
from wvc.strategies._blended import Blend, blended
from wvc.strategies._gram import combination, cosines, gram
from wvc.strategies._models import Models, Stack
from wvc.strategies._ranges import check_choice
from wvc.weights import Weights

Angle = Literal["cosine", "angle"]
Opposed = Literal["extrapolate", "base"]

SINGULAR = 1e-6  # denominator below which the ratio is refused


def merge(models: Models, base: Weights, *, angle: Angle = "cosine", opposed: Opposed = "base") -> Weights:
    r"""Return $t \bar\theta + (1 - t) \theta_0$ with $t = \frac{k \cos\Omega}{1 + (k - 1) \cos\Omega}$.

    $\Omega$ is the angle between the changes $\theta_i - \theta_0$ of the k models, of each flattened tensor; a change
    of length 0 has cosine 0 to all others. Changes that agree give the average, unrelated ones the base. The method
    weighs the models evenly: coefficients have no meaning for it and are refused.

    angle: what is averaged where k > 2 give several angles, which the paper leaves open: their cosine, or the angle.
    opposed: where that cosine is below 0: take the base, or extrapolate beyond it (t < 0), as the formula says.

    Sums are fp64 and rounded once. Raises UsageError for unknown options, MergeProblem for fewer than two models, for
    NaN and infinity, and, when it extrapolates, for a tensor whose changes cancel out, where t has no value.

    Jang et al., Model Stock, 2024, https://arxiv.org/abs/2403.19522
    """
    if len(models) < 2:
        raise MergeProblem("model-stock needs two models or more, and their base", "one model has no angle to others")
    if models.coefficients is not None:
        raise MergeProblem("model-stock takes no coefficients", "leave them out: it finds its own from the angles")
    check_choice("angle", angle, Angle)
    check_choice("opposed", opposed, Opposed)
    return blended(models, base, lambda stack: _stock(stack, angle, opposed))


def _stock(stack: Stack, angle: Angle, opposed: Opposed) -> Blend:
    count = len(stack.tensors)
    cosine = _agreement(cosines(gram(stack, "deltas")), angle)
    if cosine < 0 and opposed == "base":
        return combination([0.0] * count + [1.0], stack)
    denominator = 1 + (count - 1) * cosine
    if denominator < SINGULAR:
        raise MergeProblem(
            f"what the models changed of tensor {stack.name!r} cancels out, so that model-stock has no ratio for it",
            "keep the base there with -o opposed=base",
        )
    ratio = Fraction(count * cosine / denominator)
    return combination([ratio / count] * count + [1 - ratio], stack)


def _agreement(cosines: list[list[float]], angle: Angle) -> float:
    """Cosine of all changes, of each pair or of their mean angle."""
    pairs = [cosines[i][j] for i, j in combinations(range(len(cosines)), 2)]
    if angle == "cosine":
        return math.fsum(pairs) / len(pairs)
    return math.cos(math.fsum(map(math.acos, pairs)) / len(pairs))
