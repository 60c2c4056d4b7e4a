"""Average directions and lengths of several models, tensor by tensor."""

from __future__ import annotations

from wvc.strategies._blended import blended
from wvc.strategies._gram import normalized, on_sphere
from wvc.strategies._models import Models
from wvc.weights import Weights


def merge(models: Models) -> Weights:
    r"""Return $\left(\sum_i w_i \|\theta_i\|\right) \frac{\sum_i w_i u_i}{\|\sum_i w_i u_i\|}$.

    $u_i = \theta_i / \|\theta_i\|$ are the directions of the flattened tensors, $w_i$ the coefficients, even by
    default, which must sum to 1. Where the directions cancel out (the sum is shorter than 1e-6), the average is taken.
    It is the first guess of karcher, which goes on from there. The method is published with a step in the tangent
    space at the normalised mean, along the mean of the directions projected onto it; that step is always zero.

    Sums are fp64 and rounded once. Raises MergeProblem for NaN and infinity.

    Goddard, Multi-SLERP, https://goddard.blog/posts/multislerp-wow-what-a-cool-idea
    """
    shares = models.shares
    return blended(models, None, lambda stack: on_sphere(stack, shares, normalized))
