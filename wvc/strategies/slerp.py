"""Go from one model to another along the great circle, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from wvc.errors import MergeProblem, UsageError
from wvc.strategies._blended import Blend, blended
from wvc.strategies._gram import STRAIGHT, combination, cosines, gram, lengths, stretched
from wvc.strategies._models import Models, Stack
from wvc.strategies._ranges import check_choice
from wvc.weights import Weights

Norms = Literal["mixed", "interpolated"]


def merge(models: Models, *, parallel: float = 0.9995, norms: Norms = "mixed") -> Weights:
    r"""Return $\frac{\sin((1-t)\Omega)}{\sin\Omega} \theta_1 + \frac{\sin(t\Omega)}{\sin\Omega} \theta_2$.

    $\Omega$ is the angle between the two flattened tensors, $1-t$ and $t$ are the coefficients, by default 1/2; with
    0 and 1 a model comes back bit for bit. Tensors on (nearly) one line through the origin, parallel or opposite, and
    those of length 0 have no great circle of their own: they are averaged.

    parallel: absolute cosine above which tensors are averaged, in [0, 1]; 1 averages only where it must.
    norms: mixed, the tensors as they are; interpolated, unit vectors, stretched to the average of the two lengths.

    Sums are fp64 and rounded once. Raises UsageError for options out of range, MergeProblem unless there are two
    models, and for NaN and infinity.

    Shoemake, Animating rotation with quaternion curves, 1985, https://doi.org/10.1145/325334.325242
    """
    if len(models) == 1:
        raise MergeProblem(
            "slerp goes between two models of different weights, and here is one",
            "name two; karcher takes any number",
        )
    if len(models) != 2:
        raise MergeProblem(f"slerp is for two models, not for {len(models)}", "use karcher for any number of them")
    if not 0 <= parallel <= 1:
        raise UsageError(f"parallel is {parallel}, not in [0, 1]", "0.9995 is usual, 1 never averages needlessly")
    check_choice("norms", norms, Norms)
    shares = models.shares
    return blended(models, None, lambda stack: _arc(stack, shares, min(parallel, STRAIGHT), norms))


def _arc(stack: Stack, shares: Sequence[Fraction], parallel: float, norms: Norms) -> Blend:
    products = gram(stack)
    sizes, cosine = lengths(products), cosines(products)[0][1]
    if not all(sizes) or abs(cosine) > parallel:
        return combination(shares, stack)
    angle = math.acos(cosine)
    arc = [math.sin(share * angle) / math.sin(angle) for share in shares]
    return combination(arc if norms == "mixed" else stretched(arc, shares, sizes), stack)
