"""Golden values of golden.md 6.4; shares are exact."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from wvc.errors import TrainingProblem
from wvc.learning.fusing import shares, softmax_shares
from wvc.learning.seeds import run_seed


@pytest.mark.parametrize(
    ("kappas", "golden"),
    [
        ((0, 1, 2, 3, 4), (0.011656, 0.031685, 0.086129, 0.234122, 0.636409)),
        ((0, 0, 0, 0, 0), (0.2, 0.2, 0.2, 0.2, 0.2)),
        ((4, 0, 0, 0, 0), (0.931738, 0.017065, 0.017065, 0.017065, 0.017065)),
    ],
)
def test_softmax_of_given_kappas(kappas: tuple[float, ...], golden: tuple[float, ...]) -> None:
    assert [round(float(share), 6) for share in softmax_shares(kappas)] == pytest.approx(golden, abs=1e-9)


@pytest.mark.parametrize(
    ("seed", "golden"),
    [
        (0, (0.444236, 0.314343, 0.081529, 0.042706, 0.117187)),
        (191826797, (0.1434, 0.062568, 0.466444, 0.120957, 0.206631)),
    ],
)
def test_shares_that_a_run_draws(seed: int, golden: tuple[float, ...]) -> None:
    assert [round(float(share), 6) for share in shares(seed, 5)] == pytest.approx(golden, abs=1e-9)


def test_the_seed_is_that_of_the_run() -> None:
    assert run_seed("OfficeHome", [0], 1, 0) == 191826797


@pytest.mark.parametrize("n", [1, 2, 5, 7, 50])
@pytest.mark.parametrize("kappa", [0.5, 4.0, 800.0])
def test_shares_are_a_softmax_of_twelve_digits_that_sums_to_one(n: int, kappa: float) -> None:
    generator = random.Random(3)
    draws = [kappa * generator.random() for _ in range(n)]
    top = max(draws)
    powers = [math.exp(draw - top) for draw in draws]

    found = shares(3, n, kappa)

    assert sum(found) == 1
    assert all(share >= 0 and 10**12 % share.denominator == 0 for share in found)
    assert [float(share) for share in found] == pytest.approx([power / sum(powers) for power in powers], abs=n * 1e-12)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_range_of_zero_is_the_plain_mean(n: int) -> None:
    assert shares(5, n, 0) == (Fraction(1, n),) * n


@pytest.mark.parametrize("kappa", [0.3, 2.0])
def test_what_rounding_leaves_goes_to_the_first_of_the_largest(kappa: float) -> None:
    low = 1 / (2 * math.exp(kappa) + 1)

    first, second, third = softmax_shares([kappa, kappa, 0.0])

    assert third == Fraction(round(10**12 * low), 10**12)
    assert second == Fraction(round(10**12 * (1 - low) / 2), 10**12)
    assert first == 1 - second - third


@pytest.mark.parametrize("kappa", [-0.1, math.inf, math.nan])
def test_a_range_that_is_none_is_an_error(kappa: float) -> None:
    with pytest.raises(TrainingProblem, match="a range of"):
        shares(0, 5, kappa)


def test_no_featurizer_is_an_error() -> None:
    with pytest.raises(TrainingProblem, match="nothing to fuse"):
        shares(0, 0)
