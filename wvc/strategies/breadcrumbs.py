"""Drop each model's largest and smallest changes, tensor by tensor, and add up the others."""

from __future__ import annotations

from fractions import Fraction

from wvc.errors import UsageError
from wvc.strategies._blended import Blend, blended
from wvc.strategies._consensus import Consensus, fused, moved
from wvc.strategies._magnitudes import below, shrink
from wvc.strategies._models import Models, Stack
from wvc.strategies._ranges import check_choice, check_density
from wvc.strategies._trim import ranked
from wvc.weights import Weights


def merge(
    models: Models,
    base: Weights,
    *,
    density: float = 0.9,
    gamma: float = 0.01,
    consensus: Consensus = "none",
    scale: Fraction = Fraction(1),
    normalize: bool = False,
) -> Weights:
    r"""Return $\theta_0 + \lambda \sum_i w_i m_i (\theta_i - \theta_0)$, where masks $m_i$ drop outliers and noise.

    Of the n elements of a tensor, the `gamma` n largest changes are dropped and the `density` n that come next are
    kept, both rounded down; but at least one is kept, even where fewer of the largest are then dropped.
    Magnitudes are compared in fp32, and all that are equal to one that is kept are kept. $w_i$ are the coefficients,
    1 each by default.

    density: share of the changes to keep, in (0, 1]; 1 keeps all, and needs gamma=0.
    gamma: share of the largest changes to drop, in [0, 1 - density]; what is missing to 1 is dropped of the smallest.
    consensus: add up all that is kept (none), or what has the sign that is elected for its element (ties).
    scale: $\lambda$, any fraction.
    normalize: divide by the sum of the weights; with consensus=ties, of the models that agree.

    Raises UsageError for options out of range.

    Davari and Belilovsky, Model breadcrumbs, 2023, https://arxiv.org/abs/2312.06795
    """
    check_density(density)
    if not 0 <= gamma < 1:
        raise UsageError(f"gamma is {gamma}, not in [0, 1)", "it is the share of outliers: 0.01 is usual, 0 drops none")
    if density + gamma > 1:
        raise UsageError(
            f"density {density} and gamma {gamma} do not fit", "together they are at most 1; gamma=0 drops no outliers"
        )
    check_choice("consensus", consensus, Consensus)
    fuse = fused(models, consensus, normalize=normalize)

    def rule(stack: Stack) -> Blend:
        kept = max(1, int(density * stack.numel))
        dropped = min(int(gamma * stack.numel), stack.numel - kept)
        # The least that is too large is a step above the largest that is kept.
        limits = [
            (below(least, stack.wide), below(largest + 1, stack.wide))
            for largest, least in ranked(stack, [dropped + 1, dropped + kept])
        ]
        return lambda chunk: moved(
            chunk.origin,
            fuse([shrink(change, *pair) for change, pair in zip(chunk.deltas, limits, strict=True)]),
            scale,
        )

    return blended(models, base, rule, drops=True)
