"""Keep each model's largest changes, elect a sign for each element, average those that agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Literal

import numpy as np

from wvc.dtypes import Array
from wvc.store import threads
from wvc.strategies._blended import Blend, blended
from wvc.strategies._consensus import Divisor, Elect, Signs, agreed, moved, stated, votes
from wvc.strategies._magnitudes import below, shrink
from wvc.strategies._models import Chunk, Models, Stack
from wvc.strategies._ranges import check_choice, check_density
from wvc.strategies._trim import ranked, ranked_together
from wvc.weights import Weights

Trim = Literal["model", "tensor"]
Undecided = Literal["drop", "majority", "positive"]
# Of a tensor, for each model: up to which magnitude its changes are dropped.
Limits = Callable[[Stack], Sequence[float]]

PIECE = 1 << 18  # bytes of a tensor whose votes are counted at a time


def merge(
    models: Models,
    base: Weights,
    *,
    density: float = 0.2,
    scale: Fraction = Fraction(1),
    trim: Trim = "model",
    one_more: bool = False,
    elect: Elect = "sum",
    divisor: Divisor = "count",
    undecided: Undecided = "drop",
) -> Weights:
    r"""Return $\theta_0 + \lambda \tau$: $\tau$ is the mean of those trimmed changes that have the elected sign.

    Of what a model changed, $\theta_i - \theta_0$, the largest magnitudes are kept: `density` of all elements, rounded
    down, but one at least. Magnitudes are compared in fp32, and all that are equal to the least that is kept are kept.
    What is kept is weighted by the coefficients, 1 each by default, and elects a sign for each element.

    density: share of the changes to keep, in (0, 1]; 1 keeps all.
    scale: $\lambda$, any fraction; the paper tries 0.8 to 2.5.
    trim: keep the largest of the whole model (paper) or of each tensor (mergekit, peft).
    one_more: keep one element more, as the paper's code does.
    elect: the sign of the sum of the changes, or that of more models (count).
    divisor: divide by how many models agree (count), by their absolute weights (weight, mergekit) or not (none).
    undecided: where the votes cancel, drop (paper), or take the sign that won most elements (majority) or positive.
        The paper's code takes the majority, for which everything is read once more; mergekit and peft, the positive.

    Yadav et al., TIES-Merging: resolving interference when merging models, 2023, https://arxiv.org/abs/2306.01708
    """
    check_density(density)
    check_choice("trim", trim, Trim)
    check_choice("elect", elect, Elect)
    check_choice("divisor", divisor, Divisor)
    check_choice("undecided", undecided, Undecided)
    weights = stated(models)
    stacks = [stack for stack in dict.fromkeys(models.stacks(base).values()) if stack.is_floating]
    limits = _limits(stacks, trim, density, one_more)
    sign = int(undecided == "positive")
    if undecided == "majority":
        limits = _remembered(limits)
        sign = _majority(stacks, limits, votes(weights, elect))
    fuse = agreed(weights, elect=elect, divisor=divisor, undecided=sign)

    def rule(stack: Stack) -> Blend:
        up_to = limits(stack)
        return lambda chunk: moved(chunk.origin, fuse(_kept(chunk, up_to)), scale)

    return blended(models, base, rule, drops=True)


def _limits(stacks: Sequence[Stack], trim: Trim, density: float, one_more: bool) -> Limits:
    def rank(n: int) -> int:
        return min(n, max(1, int(density * n)) + one_more)

    if density == 1:
        return lambda stack: [-1.0] * len(stack.tensors)
    if trim == "tensor":
        return lambda stack: [below(pattern, stack.wide) for (pattern,) in ranked(stack, [rank(stack.numel)])]
    mixed = [stack for stack in stacks if stack.is_mixed]
    together = ranked_together(mixed, [rank(sum(stack.numel for stack in stacks))])
    return lambda stack: [below(pattern, stack.wide) for (pattern,) in together]


def _remembered(limits: Limits) -> Limits:
    known: dict[str, Sequence[float]] = {}

    def recall(stack: Stack) -> Sequence[float]:
        if stack.name not in known:
            known[stack.name] = limits(stack)
        return known[stack.name]

    return recall


def _majority(stacks: Sequence[Stack], limits: Limits, vote: Callable[[Sequence[Array]], Signs]) -> int:
    """The sign that more elements have elected than the other: -1 or 1; 0 if none."""

    def balance(stack: Stack) -> int:
        with np.errstate(over="ignore", invalid="ignore"):
            return sum(int(vote(_kept(chunk, limits(stack))).sum()) for chunk in stack.chunks(PIECE))

    total = sum(threads.spread(balance, [stack for stack in stacks if stack.is_mixed]))
    return (total > 0) - (total < 0)


def _kept(chunk: Chunk, limits: Sequence[float]) -> list[Array]:
    return [shrink(change, limit) for change, limit in zip(chunk.deltas, limits, strict=True)]
