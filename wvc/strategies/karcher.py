"""Take the Karcher mean of several models: the nearest to all on the sphere, tensor by tensor."""

from __future__ import annotations

import math

from wvc.errors import UsageError
from wvc.strategies._blended import blended
from wvc.strategies._gram import STRAIGHT, Matrix, Vector, dot, normalized, on_sphere, times
from wvc.strategies._models import Models
from wvc.weights import Weights


def merge(models: Models, *, iterations: int = 100, tolerance: float = 1e-12) -> Weights:
    r"""Return $\left(\sum_i w_i \|\theta_i\|\right) \arg\min_{\|u\|=1} \sum_i w_i \angle(u, \theta_i)^2$.

    $w_i$ are the coefficients, even by default, which must sum to 1. The mean $u$ of the flattened tensors' directions
    $u_i$ is found by steps along the great circle towards $\sum_i w_i \log_u u_i$, from the normalised
    $\sum_i w_i u_i$ on. It is unique if all angles to it are below 90 degrees. Where the $u_i$ cancel out or one is
    opposite to $u$, the average is taken. Of two models it is slerp with interpolated norms.

    iterations: steps at most, 0 or more; with none it is multi-slerp. They cost no further reading.
    tolerance: radians, 0 or more; a step as short as that is not taken, and ends the search.

    Sums are fp64 and rounded once. Raises UsageError for options out of range, MergeProblem for NaN and infinity.

    Buss and Fillmore, Spherical averages, 2001, https://doi.org/10.1145/502122.502124
    """
    if iterations < 0:
        raise UsageError(f"iterations is {iterations}, below 0", "100 is plenty: they cost next to nothing")
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"tolerance is {tolerance}, not 0 or more", "1e-12 is less than fp32 can tell")
    shares = models.shares
    return blended(
        models, None, lambda stack: on_sphere(stack, shares, lambda c, w: _mean(c, w, iterations, tolerance))
    )


def _mean(cosines: Matrix, weights: Vector, iterations: int, tolerance: float) -> Vector | None:
    """How much of each unit vector makes their Karcher mean; None where it is not determined."""
    mean = normalized(cosines, weights)
    for _ in range(iterations):
        step = None if mean is None else _step(cosines, weights, mean)
        if mean is None or step is None:
            return None
        length = math.sqrt(max(0.0, dot(step, times(cosines, step))))
        if length <= tolerance:
            break
        stretch = math.sin(length) / length
        mean = normalized(cosines, [math.cos(length) * m + stretch * s for m, s in zip(mean, step, strict=True)])
    return mean


def _step(cosines: Matrix, weights: Vector, mean: Vector) -> list[float] | None:
    r"""Tangent $\sum_i w_i \frac{\Omega_i}{\sin\Omega_i} (u_i - \cos\Omega_i\, u)$ at the mean $u$, in parts of $u_i$.

    $\Omega_i$ are the angles to the mean, and the weights count as shares of their sum. None where an angle is 180
    degrees.
    """
    near = [max(-1.0, min(1.0, cosine)) for cosine in times(cosines, mean)]
    total = math.fsum(weights)
    if total <= 0 or any(weight and cosine < -STRAIGHT for weight, cosine in zip(weights, near, strict=True)):
        return None
    pulls = [weight / total * _stretch(cosine) for weight, cosine in zip(weights, near, strict=True)]
    back = dot(pulls, near)
    return [pull - back * part for pull, part in zip(pulls, mean, strict=True)]


def _stretch(cosine: float) -> float:
    r"""$\Omega / \sin\Omega$."""
    angle = math.acos(cosine)
    return angle / math.sin(angle) if angle else 1.0
