"""Model breadcrumbs, against sorting each tensor in float64."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import UsageError
from wvc.strategies._models import Models
from wvc.strategies.breadcrumbs import merge
from wvc.weights import Weights

from .tensors import FLOATS, SHAPES, flat, tensor

WEIGHTS = [Fraction(1), Fraction(1, 2), Fraction(2)]


def breadcrumbs(tensors, base, weights=None, **options):
    models = Models.of([{"w": tensor} for tensor in tensors], weights)
    return merge(models, Weights.holding({"w": base}), **options)["w"]


def crumbs(change, density, gamma):
    """The magnitudes in the middle; of equal ones all."""
    if not len(change):
        return change
    magnitudes = np.abs(change).astype(np.float32)
    kept = max(1, int(density * len(change)))
    dropped = min(int(gamma * len(change)), len(change) - kept)
    middle = np.sort(magnitudes)[::-1][dropped : dropped + kept]
    return np.where((magnitudes >= middle[-1]) & (magnitudes <= middle[0]), change, 0)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.01), (0.3, 0.2), (0.8, 0.2)])
def test_the_middle_is_added_up(dtype, shape, density, gamma):
    tensors, base = [tensor(dtype, shape, seed) for seed in range(3)], tensor(dtype, shape, 9)

    found = breadcrumbs(tensors, base, WEIGHTS, density=density, gamma=gamma, scale=Fraction(1, 2))

    changes = [float(w) * crumbs(flat(t) - flat(base), density, gamma) for t, w in zip(tensors, WEIGHTS, strict=True)]
    exact = torch.from_numpy(flat(base) + 0.5 * np.sum(changes, axis=0)).to(dtype).reshape(shape)
    torch.testing.assert_close(found, exact)


@pytest.mark.parametrize(("options", "expected"), [
    ({}, [1.0, 2.0, 1.0]), ({"normalize": True}, [1 / 3, 2 / 3, 1 / 3]),
    ({"consensus": "ties"}, [3.0, 2.0, 3.0]), ({"consensus": "ties", "normalize": True}, [3.0, 2 / 3, 1.5]),
])  # fmt: skip
def test_consensus_and_normalization(options, expected):
    """Weights 1 and 2; of each model the fourth, largest change and the fifth, smallest, are dropped."""
    models = [torch.tensor([3.0, 1.0, -2.0, 90.0, 0.1]), torch.tensor([-1.0, 0.5, 1.5, -80.0, 0.01])]

    found = breadcrumbs(models, torch.zeros(5), [Fraction(1), Fraction(2)], density=0.6, gamma=0.2, **options)

    assert found.tolist() == pytest.approx([*expected, 0.0, 0.0])


@given(st.integers(1, 30), st.floats(0.01, 1), st.floats(0, 0.99))
def test_no_tensor_is_emptied_however_small(n, density, gamma):
    change, gamma = torch.arange(1.0, n + 1), min(gamma, 1 - density)

    found = breadcrumbs([change], torch.zeros(n), density=density, gamma=gamma)

    assert torch.count_nonzero(found) == max(1, int(density * n))


@pytest.mark.parametrize("value", [0.0, 2.0])
def test_equal_magnitudes_are_kept_together(value):
    change = torch.tensor([value, -value] * 50)

    assert torch.equal(breadcrumbs([change], torch.zeros(100), density=0.1, gamma=0.5), change)


def test_changes_beyond_fp32_are_changes_too():
    change = torch.tensor([1e300, -1e200, 1.0, 0.5], dtype=torch.float64)

    found = breadcrumbs([change], torch.zeros(4, dtype=torch.float64), density=0.75, gamma=0.0)

    assert found.tolist() == [1e300, -1e200, 1.0, 0.0]


@pytest.mark.parametrize(
    "option", [{"density": 0.0}, {"gamma": 1.0}, {"gamma": -0.1}, {"gamma": float("nan")}, {"consensus": "all"}]
)
def test_options_out_of_range_are_refused_before_anything_is_read(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        merge(Models.of([{"w": torch.ones(2)}]), Weights({}), **option)


@pytest.mark.parametrize(("density", "gamma"), [(0.9, 0.3), (1.0, 0.01), (0.5, 0.500001)])
def test_more_than_all_is_refused(density, gamma):
    with pytest.raises(UsageError, match=f"density {density} and gamma {gamma} do not fit") as problem:
        merge(Models.of([{"w": torch.ones(2)}]), Weights({}), density=density, gamma=gamma)

    assert problem.value.hint == "together they are at most 1; gamma=0 drops no outliers"
