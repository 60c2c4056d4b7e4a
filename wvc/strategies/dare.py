"""Drop changes at random, rescale those that are left, and add them up."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

import numpy as np

from wvc.dtypes import Array
from wvc.strategies._blended import Blend, blended
from wvc.strategies._consensus import Consensus, fused, moved, weighted
from wvc.strategies._draws import ONE, Draws, draws, norm_ratios
from wvc.strategies._models import Chunk, Models, Stack
from wvc.strategies._ranges import check_choice, check_density
from wvc.weights import Weights

Rescale = Literal["inverse", "norm", "none"]


def merge(
    models: Models,
    base: Weights,
    *,
    density: float = 0.5,
    rescale: Rescale = "inverse",
    consensus: Consensus = "none",
    scale: Fraction = Fraction(1),
    seed: int = 0,
    normalize: bool = False,
) -> Weights:
    r"""Return $\theta_0 + \lambda \sum_i w_i m_i (\theta_i - \theta_0) / p$; masks $m_i$ are 1 with probability $p$.

    $w_i$ are the coefficients, 1 each by default. What is drawn depends on the seed, the model, the tensor's name and
    the element's index alone.

    density: $p$, the probability that a change is kept, in (0, 1]; 1 keeps all.
    rescale: divide by p (inverse, paper), or keep the sum of magnitudes of each tensor (norm, mergekit), or none.
    consensus: add up all that is kept (none), or what has the sign that is elected for its element (ties).
    scale: $\lambda$, any fraction.
    seed: of the draws, any integer.
    normalize: divide by the sum of the weights; with consensus=ties, of the models that agree.

    Yu et al., Language models are super Mario, 2024, https://arxiv.org/abs/2311.03099
    """
    check_density(density)
    check_choice("rescale", rescale, Rescale)
    check_choice("consensus", consensus, Consensus)
    fuse = fused(models, consensus, normalize=normalize)

    def rule(stack: Stack) -> Blend:
        drawn = draws(models, stack, seed)
        factors = [1 / density if rescale == "inverse" else 1.0] * len(models)
        if rescale == "norm":
            factors = norm_ratios((chunk.deltas, _kept(chunk, drawn, density)) for chunk in stack.chunks())

        def blend(chunk: Chunk) -> Array:
            return moved(chunk.origin, fuse(weighted(_kept(chunk, drawn, density), factors)), scale)

        return blend

    return blended(models, base, rule, drops=True)


def _kept(chunk: Chunk, drawn: list[Draws], density: float) -> list[Array]:
    """The changes of each model, with 0 for those that are dropped."""
    if density == 1:
        return list(chunk.deltas)
    limit = np.uint32(min(round(density * ONE), ONE - 1))
    kept = list(chunk.deltas)
    for change, numbers in zip(kept, drawn, strict=True):
        np.multiply(change, numbers(chunk.start, chunk.start + len(change)) < limit, out=change)
    return kept
