"""Coefficients of the featurizers that a fused start averages."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from fractions import Fraction

from wvc.errors import TrainingProblem

PARTS = 10**12


def shares(seed: int, n: int, kappa: float = 4.0) -> tuple[Fraction, ...]:
    r"""Draw $\lambda = \mathrm{softmax}(\kappa u)$ with $u_i$ uniform in [0, 1): one share per featurizer, sum 1.

    u comes from Python's `random`, seeded with `seed`, the seed of the run (seeds.run_seed), in the order of the
    featurizers: the foundation's, then one per auxiliary dataset, sorted by name, as in the reference code.
    kappa: the range of the draws; 0 gives exactly 1/n each.
    Raises TrainingProblem where kappa is negative or no number, or n is below 1.

    Rame et al., Model ratatouille, 2023, the fusing baseline, https://arxiv.org/abs/2212.10445
    """
    if not 0 <= kappa < math.inf:
        raise TrainingProblem(f"a range of {kappa} for fusing coefficients", "give 0 or more; the paper has 4")
    draws = random.Random(seed)
    return softmax_shares([kappa * draws.random() for _ in range(n)])


def softmax_shares(kappas: Sequence[float]) -> tuple[Fraction, ...]:
    """The softmax of finite `kappas`, in fractions of 10^-12 that sum to 1; exactly 1/n each where all are equal.

    What rounding leaves over goes to the largest, the first of equals. Raises TrainingProblem where there are none.
    """
    if not kappas:
        raise TrainingProblem("nothing to fuse", "name at least one featurizer")
    largest = max(kappas)
    if min(kappas) == largest:
        return (Fraction(1, len(kappas)),) * len(kappas)
    powers = [math.exp(kappa - largest) for kappa in kappas]
    parts = [round(PARTS * power / math.fsum(powers)) for power in powers]
    parts[kappas.index(largest)] += PARTS - sum(parts)
    return tuple(Fraction(part, PARTS) for part in parts)
