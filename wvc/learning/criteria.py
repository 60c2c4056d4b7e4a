"""How two models go together: where both are right, where one is, and what their average gains.

Kuncheva & Whitaker, Measures of diversity in classifier ensembles, 2003; Aksela, Comparison of classifier selection
methods for improving committee performance, 2003 (ratio-error).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wvc.errors import TrainingProblem

Right = NDArray[np.bool_]  # (n,): which images a model gets right


@dataclass(frozen=True)
class Pair:
    """Two models on the same images: how many both, only the one, only the other, and neither get right.

    N11, N10, N01 and N00 in the literature, and N their sum, at least 1.
    """

    both: int
    one: int
    other: int
    neither: int

    @property
    def total(self) -> int:
        return self.both + self.one + self.other + self.neither


def pair(one: Right, other: Right) -> Pair:
    """The counts for two models, given what each gets right of the same images, (n,) each.

    Raises TrainingProblem where there are no images or not the same number of them.
    """
    if one.shape != other.shape or not len(one):
        raise TrainingProblem(
            f"two models were seen on {len(one)} and {len(other)} images", "compare them on the same images"
        )
    both, neither = int((one & other).sum()), int((~one & ~other).sum())
    return Pair(both, int(one.sum()) - both, int(other.sum()) - both, neither)


def q_statistic(counts: Pair) -> float:
    r"""Yule's $Q = (N_{11} N_{00} - N_{01} N_{10}) / (N_{11} N_{00} + N_{01} N_{10})$, in [-1, 1].

    1 - Q is the diversity of Rame et al., 2023. NaN for 0/0: two models of which one is always, or never, right.
    """
    same, different = counts.both * counts.neither, counts.one * counts.other
    return _ratio(same - different, same + different)


def ratio_error(counts: Pair) -> float:
    r"""$(N_{01} + N_{10}) / N_{00}$: errors of one for each error of both, 0 or more.

    Without an error of both it is $2 (N_{01} + N_{10}) / N$, as in the code of Rame et al.: no limit of the other, the
    measure falls where the last common error goes.
    """
    single = counts.one + counts.other
    return single / counts.neither if counts.neither else 2 * single / counts.total


def disagreement(counts: Pair) -> float:
    r"""$(N_{01} + N_{10}) / N$: the share of images that just one gets right, in [0, 1]."""
    return (counts.one + counts.other) / counts.total


def double_fault(counts: Pair) -> float:
    r"""$N_{00} / N$: the share of images that both get wrong, in [0, 1]."""
    return counts.neither / counts.total


def correlation(counts: Pair) -> float:
    r"""Pearson's $\rho$ of being right, in [-1, 1]; NaN where one of the two is always, or never, right."""
    one, other = counts.both + counts.one, counts.both + counts.other
    spread = one * (counts.total - one) * other * (counts.total - other)
    return _ratio(counts.both * counts.neither - counts.one * counts.other, math.sqrt(spread))


def kappa(counts: Pair) -> float:
    r"""Cohen's $\kappa$ of being right: agreement beyond chance, at most 1; NaN where chance explains all of it."""
    one, other, total = counts.both + counts.one, counts.both + counts.other, counts.total
    chance = one * other + (total - one) * (total - other)
    return _ratio((counts.both + counts.neither) * total - chance, total * total - chance)


def barrier(midpoint: Fraction, one: Fraction, other: Fraction) -> Fraction:
    """Accuracy of the average of two models minus the mean of their own, in [-1, 1].

    Negative where a barrier lies between them: they are not linearly connected.
    """
    return midpoint - (one + other) / 2


def _ratio(above: float, below: float) -> float:
    return above / below if below else math.nan
