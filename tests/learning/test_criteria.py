"""Measures of how two models go together: golden cases of golden.md 6.11, and counting."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from wvc.errors import TrainingProblem
from wvc.learning.criteria import (
    Pair,
    barrier,
    correlation,
    disagreement,
    double_fault,
    kappa,
    pair,
    q_statistic,
    ratio_error,
)

MEASURES = (q_statistic, ratio_error, disagreement, double_fault, correlation, kappa)
GOLDEN = {
    (50, 18, 12, 20): (0.644737, 1.5, 0.3, 0.2, 0.346257, 0.343257),
    (90, 5, 5, 0): (-1, 0.2, 0.1, 0, -0.052632, -0.052632),
    (60, 0, 0, 40): (1, 0, 0, 0.4, 1, 1),
    (100, 0, 0, 0): (math.nan, 0, 0, 0, math.nan, math.nan),
}


@pytest.mark.parametrize("counts", GOLDEN)
def test_measures_of_diversity(counts: tuple[int, int, int, int]) -> None:
    found = [measure(Pair(*counts)) for measure in MEASURES]

    assert found == pytest.approx(GOLDEN[counts], abs=1e-6, nan_ok=True)


def test_counts_are_of_images_that_both_the_one_the_other_or_none_gets_right() -> None:
    one = np.array([1, 1, 1, 0, 0, 1, 0], dtype=bool)
    other = np.array([1, 1, 0, 1, 0, 0, 0], dtype=bool)

    assert pair(one, other) == Pair(both=2, one=2, other=1, neither=2)
    assert pair(other, one) == Pair(both=2, one=1, other=2, neither=2)


@pytest.mark.parametrize("seed", range(5))
def test_correlation_is_numpys(seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.random((2, 50)) < random.random((2, 1))

    found = correlation(pair(one, other))

    assert found == pytest.approx(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 2)])
def test_models_are_compared_on_the_same_images(one: int, other: int) -> None:
    with pytest.raises(TrainingProblem, match=f"{one} and {other} images"):
        pair(np.ones(one, dtype=bool), np.ones(other, dtype=bool))


def test_a_barrier_is_a_midpoint_below_the_mean_of_the_ends() -> None:
    # golden.md 6.12: the averages of VLCS+DN and RxRx on TerraIncognita, at 0, 1/2 and 1
    found = barrier(Fraction(".3984"), Fraction(".6113"), Fraction(".5189"))

    assert found == Fraction("-.1667")
