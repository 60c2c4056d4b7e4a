"""Model Stock, against its geometry on whole vectors in float64 and against known points."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch

from wvc.errors import MergeProblem
from wvc.strategies._models import Models
from wvc.strategies.model_stock import merge
from wvc.weights import Weights

from .tensors import FLOATS, NARROW, SHAPES, flat, raw, tensor, worst


def fine_tuned(dtype, shape, count):
    """A base, and models that changed it in related ways."""
    base, shared = tensor(dtype, shape, 100), tensor(dtype, shape, 101)
    return base, [(base + 0.1 * shared + 0.1 * tensor(dtype, shape, seed)).to(dtype) for seed in range(count)]


def model_stock(tensors, base, **options):
    return merge(Models.of([{"w": tensor} for tensor in tensors]), Weights.holding({"w": base}), **options)["w"]


def published(vectors, base, angle="cosine"):
    """The paper's formula, with the cosine of each pair of changes measured by itself."""
    changes = [vector - base for vector in vectors]
    pairs = [one @ two / np.linalg.norm(one) / np.linalg.norm(two) for one, two in combinations(changes, 2)]
    cosine = np.mean(pairs) if angle == "cosine" else np.cos(np.mean(np.arccos(pairs)))
    ratio = len(vectors) * cosine / (1 + (len(vectors) - 1) * cosine)
    return ratio * np.mean(vectors, axis=0) + (1 - ratio) * base


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("angle", ["cosine", "angle"])
def test_it_is_the_formula_rounded_once(dtype, shape, count, angle):
    base, tensors = fine_tuned(dtype, shape, count)

    merged = model_stock(tensors, base, angle=angle)

    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    exact = published([flat(some) for some in tensors], flat(base), angle) if base.numel() else flat(base)
    assert worst(merged, exact) <= 0.501


def test_fp64_is_computed_in_fp64():
    base, tensors = fine_tuned(torch.float64, (1000,), 3)

    merged = model_stock(tensors, base)

    exact = published([flat(some) for some in tensors], flat(base))
    np.testing.assert_allclose(merged.numpy(), exact, rtol=1e-12, atol=1e-14)


def test_two_changes_at_sixty_degrees_go_two_thirds_of_the_way():
    tensors = [torch.tensor([11.0, 10.0]), torch.tensor([10.5, 10 + math.sqrt(0.75)])]

    merged = model_stock(tensors, torch.tensor([10.0, 10.0]))

    assert merged.tolist() == pytest.approx([10.5, 10 + math.sqrt(0.75) / 3])


@pytest.mark.parametrize(("angle", "ratio"), [("cosine", math.sqrt(2) / (1 + math.sqrt(8) / 3)), ("angle", 0.75)])
def test_three_changes_at_45_45_and_90_degrees(angle, ratio):
    tensors = [torch.tensor(row) for row in ([1.0, 0.0], [0.0, 1.0], [math.sqrt(0.5), math.sqrt(0.5)])]

    merged = model_stock(tensors, torch.zeros(2), angle=angle)

    assert merged.tolist() == pytest.approx([ratio * (1 + math.sqrt(0.5)) / 3] * 2, rel=1e-6)


def test_it_is_the_nearest_to_the_centre_that_the_models_and_the_base_span():
    """The paper's picture: models lie around a centre, at one distance and at right angles, and so does the base."""
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 4)))[0].T
    centre, base = 2 * directions[3], np.arange(9.0)
    changes = centre + 3 * directions[:3]

    merged = model_stock([torch.from_numpy(base + change) for change in changes], torch.from_numpy(base))

    nearest = changes.T @ np.linalg.lstsq(changes.T, centre)[0]
    assert merged.numpy() == pytest.approx(base + nearest)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("angle", ["cosine", "angle"])
def test_equal_models_come_back_bit_for_bit_from_any_base(dtype, count, angle):
    some = torch.cat([tensor(dtype, (500,), 1), torch.tensor([-0.0], dtype=dtype)])

    merged = model_stock([some.clone() for _ in range(count)], tensor(dtype, (501,), 2), angle=angle)

    assert raw(merged) == raw(some)


def test_unrelated_changes_give_the_base_bit_for_bit():
    base = torch.tensor([-0.0, 1.0, 2.0])

    merged = model_stock([base + torch.tensor(row) for row in ([0.0, 1.0, 0.0], [0.0, 0.0, 1.0])], base)

    assert raw(merged) == raw(base)


def test_models_that_changed_nothing_are_unrelated_to_those_that_did():
    base, change = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 6.0])

    merged = model_stock([base, base.clone(), base + change], base)
    shared = model_stock([base, base + change, base + change / 2], base)

    assert raw(merged) == raw(base)  # cosines 0, 0, 0
    assert shared.tolist() == pytest.approx([1.0, 2.0 + 3 * (1 / 3) / (1 + 2 / 3) * 3])  # cosines 1, 0, 0


def test_what_nobody_changed_stays_even_where_it_is_no_number():
    base = torch.tensor([math.nan, 1.0])

    merged = model_stock([base.clone(), base.clone()], base)

    assert raw(merged) == raw(base)


def test_opposed_changes_are_extrapolated_beyond_the_base():
    tensors = [torch.tensor([1.0, 0.0]), torch.tensor([-0.6, 0.8])]

    merged = model_stock(tensors, torch.zeros(2), opposed="extrapolate")

    assert merged.tolist() == pytest.approx([-3 * 0.2, -3 * 0.4])  # t = 2 * -0.6 / 0.4


def test_opposed_changes_leave_the_base():
    base = torch.tensor([-0.0, 5.0])

    merged = model_stock([base + torch.tensor([1.0, 0.0]), base + torch.tensor([-0.6, 0.8])], base)

    assert raw(merged) == raw(base)


@pytest.mark.parametrize("rows", [([2.0], [-1.0]), ([1.0, 0.0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)])])
def test_changes_that_cancel_out_are_refused_by_name(rows):
    base = torch.full((len(rows[0]),), 0.0)

    with pytest.raises(MergeProblem, match="'w' cancels out") as problem:
        model_stock([torch.tensor(row) for row in rows], base, opposed="extrapolate")
    kept = model_stock([torch.tensor(row) for row in rows], base)

    assert "opposed=base" in str(problem.value.hint)
    assert torch.equal(kept, base)


def test_it_takes_two_models():
    with pytest.raises(MergeProblem, match="two models or more"):
        model_stock([torch.ones(2)], torch.zeros(2))


def test_coefficients_are_refused():
    models = Models.of([{"w": torch.ones(2)}, {"w": torch.zeros(2)}], [Fraction(1, 2)] * 2)

    with pytest.raises(MergeProblem, match="no coefficients"):
        merge(models, Weights.holding({"w": torch.zeros(2)}))
