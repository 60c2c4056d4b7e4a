"""Sums of task vectors, against exact arithmetic in fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.errors import MergeProblem
from wvc.strategies._models import Models
from wvc.strategies.task_arithmetic import merge
from wvc.weights import Weights

from .tensors import FLOATS, SHAPES, tensor

WEIGHTS = [Fraction(1, 3), Fraction(-2), Fraction(5, 4)]


def arithmetic(tensors, base, weights=None, **options):
    models = Models.of([{"w": tensor} for tensor in tensors], weights)
    return merge(models, Weights.holding({"w": base}), **options)["w"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("normalize", [False, True])
def test_it_is_the_base_and_the_weighted_changes(dtype, shape, normalize):
    tensors, base = [tensor(dtype, shape, seed) for seed in range(3)], tensor(dtype, shape, 9)

    found = arithmetic(tensors, base, WEIGHTS, scale=Fraction(3, 10), normalize=normalize)

    origin, divisor = base.to(torch.float64), sum(WEIGHTS) if normalize else 1
    changes = sum((t.to(torch.float64) - origin) * float(w / divisor) for t, w in zip(tensors, WEIGHTS, strict=True))
    torch.testing.assert_close(found, (origin + 0.3 * changes).to(dtype))


def test_the_sum_is_rounded_once():
    tensors, base = [tensor(torch.float32, (200,), seed) for seed in range(3)], tensor(torch.float32, (200,), 9)

    found = arithmetic(tensors, base, WEIGHTS, scale=Fraction(3, 10))

    def exact(i):
        origin = Fraction(base[i].item())
        changes = [w * (Fraction(t[i].item()) - origin) for t, w in zip(tensors, WEIGHTS, strict=True)]
        return np.float32(float(origin + Fraction(3, 10) * sum(changes)))

    assert found.tolist() == [exact(i) for i in range(200)]


def test_the_golden_case():
    vectors = [(0.5, -0.1, 0.3, 0.05, -0.8), (-0.4, 0.2, 0.35, -0.06, -0.1), (0.2, -0.3, -0.02, 0.9, 0.3)]
    tensors = [torch.tensor(vector, dtype=torch.float64) for vector in vectors]

    found = arithmetic(tensors, torch.zeros(5, dtype=torch.float64), scale=Fraction(2, 5))

    assert found.tolist() == pytest.approx([0.12, -0.08, 0.252, 0.356, -0.24])


def test_a_negative_weight_takes_away_what_was_learnt():
    found = arithmetic([torch.tensor([3.0, 2.0])], torch.tensor([1.0, 2.0]), [Fraction(-1)])

    assert found.tolist() == [-1.0, 2.0]


def test_one_model_with_scale_one_comes_back_bit_for_bit():
    model, base = tensor(torch.float32, (999,), 1), tensor(torch.float32, (999,), 2)

    assert torch.equal(arithmetic([model], base), model)


def test_weights_that_cancel_cannot_be_normalized():
    with pytest.raises(MergeProblem, match="sum to 0"):
        arithmetic([torch.ones(1)] * 2, torch.zeros(1), [Fraction(1), Fraction(-1)], normalize=True)
