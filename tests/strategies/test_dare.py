"""DARE, against masks that are drawn for whole tensors at once."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.errors import UsageError
from wvc.strategies._models import Models
from wvc.strategies.dare import merge
from wvc.weights import Weights

from .tensors import FLOATS, SHAPES, flat, tensor

WEIGHTS = [Fraction(1), Fraction(1, 2), Fraction(2)]
N = 1 << 18


def dare(models, base, **options):
    return merge(models, Weights.holding({"w": base}), **options)["w"]


def masks(models, n, density, seed):
    """For each model, in the order in which they are merged: True with probability `density`, (k, n)."""
    keys = [
        hashlib.sha256(f"{seed}\n{model.id}\n{occurrence}\nw".encode()).digest()[:16]
        for model, occurrence in zip(models.members, models.occurrences, strict=True)
    ]
    words = [np.random.Philox(key=int.from_bytes(key, "little")).random_raw(n // 2 + 8) for key in keys]
    return np.stack([w.astype("<u8").view("<u4")[:n] / 2**32 < density for w in words])


def expected(models, base, density, rescale, seed=0):
    changes = np.stack([flat(model["w"]) - flat(base) for model in models.members])
    kept = changes * masks(models, base.numel(), density, seed)
    if rescale == "norm":
        before, after = np.abs(changes).sum(1), np.abs(kept).sum(1)
        kept = kept * np.where(after > 0, before / np.where(after > 0, after, 1), 1)[:, None]
    weights = np.array([[float(weight)] for weight in models.coefficients])
    return flat(base) + (weights * kept).sum(0) / (density if rescale == "inverse" else 1)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rescale", ["inverse", "norm", "none"])
def test_what_was_drawn_is_added_up(dtype, shape, rescale):
    models = Models.of([{"w": tensor(dtype, shape, seed)} for seed in range(3)], WEIGHTS)
    base = tensor(dtype, shape, 9)

    found = dare(models, base, density=0.3, rescale=rescale, seed=4)

    exact = expected(models, base, 0.3, rescale, seed=4)
    torch.testing.assert_close(found, torch.from_numpy(exact).to(dtype).reshape(shape))


@pytest.mark.parametrize("density", [0.5, 0.1, 0.99])
def test_the_share_of_what_is_kept_is_the_density(density):
    models = Models.of([{"w": torch.ones(N)}, {"w": torch.full((N,), 4.0)}])

    kept = dare(models, torch.zeros(N), density=density, rescale="none")

    for value in (1, 4):
        share = float((kept.to(torch.int64) & value != 0).double().mean())
        assert abs(share - density) < 5 * math.sqrt(density * (1 - density) / N)
    both = float((kept == 5).double().mean())
    assert abs(both - density**2) < 5 * math.sqrt(density**2 * (1 - density**2) / N)


def test_the_same_model_twice_is_drawn_twice():
    models = Models.of([{"w": torch.ones(N)}] * 2)

    kept = dare(models, torch.zeros(N), rescale="none")

    assert abs(float((kept == 1).double().mean()) - 0.5) < 5 * math.sqrt(0.25 / N)


def test_another_seed_draws_others():
    models = Models.of([{"w": torch.ones(N)}])

    one, two = (dare(models, torch.zeros(N), rescale="none", seed=seed) for seed in (1, 2))

    assert abs(float((one == two).double().mean()) - 0.5) < 5 * math.sqrt(0.25 / N)


@pytest.mark.parametrize("normalize", [False, True])
def test_with_consensus_only_what_agrees_is_added_up(normalize):
    models = Models.of([{"w": torch.full((N,), value)} for value in (1.0, -3.0, 2.5)])

    found = dare(models, torch.zeros(N), rescale="none", consensus="ties", normalize=normalize, density=0.5)

    sums = {-3.0, 0.0, 1.0, 2.5, 1.75 if normalize else 3.5}  # 1 - 3 + 2.5 is positive, and 1 - 3 and 2.5 - 3 are not
    assert set(found.unique().tolist()) == sums


def test_the_sum_of_magnitudes_stays_with_norm():
    change = tensor(torch.float32, (N,), 1)

    found = dare(Models.of([{"w": change}]), torch.zeros(N), rescale="norm", density=0.2)

    assert float(found.abs().double().sum()) == pytest.approx(float(change.abs().double().sum()), rel=1e-6)
    assert torch.count_nonzero(found) < 0.21 * N


def test_where_nothing_is_left_nothing_is_rescaled():
    models = Models.of([{"w": torch.ones(3)}])

    assert dare(models, torch.zeros(3), density=1e-9, rescale="norm").tolist() == [0, 0, 0]


@pytest.mark.parametrize("option", [{"density": 0.0}, {"density": 2.0}, {"rescale": "l2"}, {"consensus": "all"}])
def test_options_out_of_range_are_refused_before_anything_is_read(option):
    with pytest.raises(UsageError, match=next(iter(option))):
        merge(Models.of([{"w": torch.ones(2)}]), Weights({}), **option)
