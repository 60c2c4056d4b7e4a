"""DELLA, against ranks, probabilities and masks of whole tensors."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.errors import UsageError
from wvc.strategies._models import Models
from wvc.strategies.della import merge
from wvc.weights import Weights

from .tensors import FLOATS, flat, tensor

SHAPES = [(), (0,), (1,), (7,), (5, 1), (4, 3, 2, 2), (600, 1001)]  # the last is more than 1 MiB, even in 16 bits
WEIGHTS = [Fraction(1), Fraction(1, 2), Fraction(2)]


def della(models, base, **options):
    return merge(models, Weights.holding({"w": base}), **options)["w"]


def numbers(models, n, seed):
    """For each model, in the order in which they are merged, n numbers in [0, 1)."""
    keys = [
        hashlib.sha256(f"{seed}\n{model.id}\n{occurrence}\nw".encode()).digest()[:16]
        for model, occurrence in zip(models.members, models.occurrences, strict=True)
    ]
    words = [np.random.Philox(key=int.from_bytes(key, "little")).random_raw(n // 2 + 8) for key in keys]
    return [w.astype("<u8").view("<u4")[:n] / 2**32 for w in words]


def probabilities(change, shape, density, epsilon):
    """Rising by rank from density - epsilon to density + epsilon, in each row."""
    rows = np.abs(change).astype(np.float32).reshape(shape[0] if len(shape) > 1 else 1, -1)
    ranks = np.argsort(np.argsort(rows, axis=1, kind="stable"), axis=1)
    return (density + epsilon * (2 * ranks / max(rows.shape[1] - 1, 1) - (rows.shape[1] > 1))).reshape(-1)


def pruned(models, base, density, epsilon, rescale, seed):
    """(k, n)"""
    kept = []
    for model, drawn in zip(models.members, numbers(models, base.numel(), seed), strict=True):
        change = flat(model["w"]) - flat(base)
        chances = probabilities(change, base.shape, density, epsilon)
        left = np.where(drawn < chances, change, 0)
        if rescale == "element":
            left = left / chances
        if rescale == "norm" and np.any(left):
            left = left * np.abs(change).sum() / np.abs(left).sum()
        kept.append(left)
    return np.stack(kept)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("rescale", "consensus"), [("element", "ties"), ("norm", "none"), ("none", "ties")])
def test_what_was_drawn_is_fused(dtype, shape, rescale, consensus):
    models = Models.of([{"w": tensor(dtype, shape, seed)} for seed in range(3)], WEIGHTS)
    base = tensor(dtype, shape, 9)

    found = della(models, base, density=0.4, epsilon=0.25, rescale=rescale, consensus=consensus, seed=4)

    if base.numel():
        weights = np.array([[float(weight)] for weight in models.coefficients])
        changes = weights * pruned(models, base, 0.4, 0.25, rescale, seed=4)
        agrees = np.sign(changes) == np.sign(changes.sum(0))
        agrees = agrees & (changes != 0) if consensus == "ties" else np.ones_like(agrees)
        divisor = (weights * agrees).sum(0)
        exact = flat(base) + (changes * agrees).sum(0) / np.where(divisor == 0, 1, divisor)
        torch.testing.assert_close(found, torch.from_numpy(exact).to(dtype).reshape(shape))


@pytest.mark.parametrize("n", [1 << 18, (1 << 18) + 1])
def test_large_changes_are_kept_more_often_than_small_ones(n):
    change = tensor(torch.float32, (n,), 1)

    kept = della(Models.of([{"w": change}]), torch.zeros(n), density=0.5, epsilon=0.3, rescale="none") != 0

    tenths = np.array_split(kept.numpy()[np.argsort(np.abs(change.numpy()))], 10)
    shares = [tenth.mean() for tenth in tenths]
    expected = [0.2 + 0.6 * (i + 0.5) / 10 for i in range(10)]
    assert np.abs(np.array(shares) - expected).max() < 5 * math.sqrt(0.25 * 10 / n)


def test_rescaled_changes_are_right_on_average():
    n = 1 << 18
    base = torch.zeros(n)

    found = della(Models.of([{"w": torch.full((n,), 1.0)}]), base, density=0.5, epsilon=0.4, consensus="none")

    assert float(found.mean()) == pytest.approx(1, abs=0.02)


def test_a_density_of_one_keeps_all():
    model, base = tensor(torch.float32, (999,), 1), tensor(torch.float32, (999,), 2)

    found = della(Models.of([{"w": model}]), base, density=1.0)

    torch.testing.assert_close(found, model, rtol=1e-7, atol=0)


@pytest.mark.parametrize("option", [
    {"density": 0.0}, {"density": 0.1}, {"density": 0.9}, {"density": 0.5, "epsilon": 0.5},
    {"density": 0.5, "epsilon": -0.1}, {"density": 0.5, "epsilon": math.nan}, {"rescale": "inverse"},
    {"consensus": "all"},
])  # fmt: skip
def test_options_out_of_range_are_refused_before_anything_is_read(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        merge(Models.of([{"w": torch.ones(2)}]), Weights({}), **option)
