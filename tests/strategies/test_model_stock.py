"""Model Stock, against its geometry on whole vectors in float64 and against known points."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem
from wvc.strategies._models import Models
from wvc.strategies.model_stock import merge
from wvc.weights import Weights

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NARROW = FLOATS[1:]
SHAPES = [(0,), (7,), (4, 3, 2, 2), (600_001,)]  # the last is more than 1 MiB, even in 16 bits


def tensor(dtype, shape, seed):
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).normal(size=shape))).to(dtype)


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


def flat(some):
    return some.to(torch.float64).reshape(-1).numpy()


def worst(found, exact):
    """The largest error, in units in the last place of `found`'s dtype."""
    info = torch.finfo(found.dtype)
    exponents = np.maximum(np.frexp(exact)[1] - 1.0, math.log2(info.smallest_normal))
    return np.max(np.abs(flat(found) - exact) / (2.0**exponents * info.eps), initial=0.0)


def raw(some):
    return some.reshape(-1).view(torch.uint8).numpy().tobytes()


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


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_what_nearly_equal_models_share_comes_back_bit_for_bit(dtype, count):
    tensors = [tensor(dtype, (500,), 1) for _ in range(count)]
    for i, some in enumerate(tensors):
        some[0] *= 1 + 2 * i * torch.finfo(dtype).eps
    base = tensors[0].clone()
    base[1] += 100

    merged = model_stock(tensors, base)

    assert raw(merged[2:]) == raw(base[2:])


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


@given(st.lists(st.lists(st.integers(-(2**24), 2**24), min_size=3, max_size=3), min_size=3, max_size=3), st.booleans())
def test_the_order_of_the_models_does_not_matter_bit_for_bit(rows, equal):
    rows = [rows[0], rows[1], rows[0] if equal else rows[2]]
    tensors = [torch.tensor(row, dtype=torch.float32) for row in rows]

    merged = {raw(model_stock(order, torch.ones(3), opposed="base")) for order in permutations(tensors)}

    assert len(merged) == 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_refused_by_name(dtype, bad, place):
    *tensors, base = [torch.tensor([bad if i == place else i, 1.0], dtype=dtype) for i in range(3)]

    with pytest.raises(MergeProblem, match=r"'w'.*NaN or infinity"):
        model_stock(tensors, base)


@pytest.mark.parametrize("options", [{"angle": "chord"}, {"opposed": "refuse"}])
def test_unknown_choices_are_refused_before_anything_is_read(options):
    tensors = [torch.tensor([math.nan]), torch.tensor([1.0])]

    with pytest.raises(MergeProblem, match=next(iter(options))):
        model_stock(tensors, torch.zeros(1), **options)


def test_it_takes_two_models():
    with pytest.raises(MergeProblem, match="two models or more"):
        model_stock([torch.ones(2)], torch.zeros(2))


def test_coefficients_are_refused():
    models = Models.of([{"w": torch.ones(2)}, {"w": torch.zeros(2)}], [Fraction(1, 2)] * 2)

    with pytest.raises(MergeProblem, match="no coefficients"):
        merge(models, Weights.holding({"w": torch.zeros(2)}))
