"""Means on the sphere, against steps with whole vectors in float64 and against known points."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem
from wvc.strategies import multi_slerp, slerp
from wvc.strategies._models import Models
from wvc.strategies.karcher import merge

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NARROW = FLOATS[1:]
SHAPES = [(), (0,), (1,), (7,), (4, 3, 2, 2), (600_001,)]  # the last is more than 1 MiB, even in 16 bits


def tensor(dtype, shape, seed):
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).normal(size=shape) + 0.5)).to(dtype)


def karcher(tensors, shares=None, **options):
    return merge(Models.of([{"w": tensor} for tensor in tensors], shares), **options)["w"]


def fractions(*parts):
    return [Fraction(part, sum(parts)) for part in parts]


def log(mean, unit):
    """The tangent at `mean` that leads to `unit`."""
    across = unit - (unit @ mean) * mean
    size = np.linalg.norm(across)
    return np.arctan2(size, unit @ mean) / size * across if size else across


def descended(vectors, weights, steps=100):
    """Whole vectors, moved along geodesics."""
    lengths = np.array([np.linalg.norm(vector) for vector in vectors])
    units = [vector / length for vector, length in zip(vectors, lengths, strict=True) if length]
    shares = weights[lengths > 0] / weights[lengths > 0].sum() if units else []
    mean = sum((w * u for w, u in zip(shares, units, strict=True)), np.zeros_like(vectors[0]))
    for _ in range(steps):
        mean /= np.linalg.norm(mean) or 1
        step = sum((w * log(mean, u) for w, u in zip(shares, units, strict=True)), np.zeros_like(mean))
        size = np.linalg.norm(step)
        mean = np.cos(size) * mean + np.sinc(size / np.pi) * step
        if size < 1e-15:
            break
    return (weights @ lengths) * mean


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
@pytest.mark.parametrize("parts", [(1, 1), (1, 1, 1), (1, 2, 3, 5)])
def test_it_is_the_mean_on_the_sphere_rounded_once(dtype, shape, parts):
    tensors = [tensor(dtype, shape, seed).abs() for seed in range(len(parts))]

    merged = karcher(tensors, fractions(*parts))

    exact = descended([flat(some) for some in tensors], np.array(parts) / sum(parts))
    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    assert worst(merged, exact) <= 0.501


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_the_weighted_directions_to_all_models_cancel_out(spread):
    common = tensor(torch.float64, (300,), 9)
    tensors = [common + spread * tensor(torch.float64, (300,), seed) for seed in range(4)]
    weights = np.array([1, 2, 3, 4]) / 10

    merged = karcher(tensors, fractions(1, 2, 3, 4))

    mean = flat(merged) / np.linalg.norm(flat(merged))
    pulls = [w * log(mean, flat(some) / np.linalg.norm(flat(some))) for w, some in zip(weights, tensors, strict=True)]
    assert np.linalg.norm(sum(pulls)) < 2e-12
    assert np.linalg.norm(flat(merged)) == pytest.approx(weights @ [some.norm().item() for some in tensors])


def test_coefficients_are_parts_of_the_angle():
    merged = karcher([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])], fractions(3, 1))

    assert merged.tolist() == pytest.approx([2 * math.cos(math.pi / 8), 2 * math.sin(math.pi / 8)])


def test_three_axes_meet_in_the_middle():
    merged = karcher([torch.tensor(row) for row in ([3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0])])

    assert merged.tolist() == pytest.approx([math.sqrt(3)] * 3)


def test_on_a_circle_it_is_the_mean_angle_and_not_that_of_the_chords():
    angles = [0.0, 0.1, 1.3]
    tensors = [torch.tensor([math.cos(a), math.sin(a)], dtype=torch.float64) for a in angles]

    merged, first_guess = karcher(tensors), karcher(tensors, iterations=0)

    assert math.atan2(merged[1], merged[0]) == pytest.approx(sum(angles) / 3, abs=1e-9)
    assert math.atan2(first_guess[1], first_guess[0]) != pytest.approx(sum(angles) / 3, abs=1e-3)


@pytest.mark.parametrize("t", [Fraction(1, 2), Fraction(1, 10)])
def test_of_two_models_it_is_slerp_with_interpolated_norms(t):
    models = Models.of([{"w": tensor(torch.float32, (100,), seed)} for seed in range(2)], [1 - t, t])

    merged, expected = merge(models), slerp.merge(models, norms="interpolated")

    torch.testing.assert_close(merged["w"], expected["w"], rtol=1e-6, atol=1e-9)


def test_without_steps_it_is_multi_slerp():
    models = Models.of([{"w": tensor(torch.float32, (100,), seed)} for seed in range(3)], fractions(1, 2, 4))

    merged, expected = merge(models, iterations=0), multi_slerp.merge(models)

    assert raw(merged["w"]) == raw(expected["w"])


def test_a_large_tolerance_ends_the_search_at_once():
    models = Models.of([{"w": tensor(torch.float32, (100,), seed)} for seed in range(3)], fractions(1, 2, 4))

    merged, expected = merge(models, tolerance=3.2), multi_slerp.merge(models)

    assert raw(merged["w"]) == raw(expected["w"])


def test_no_tolerance_takes_all_the_steps():
    tensors = [tensor(torch.float32, (100,), seed) for seed in range(3)]

    merged = karcher(tensors, iterations=30, tolerance=0.0)

    assert worst(merged, descended([flat(some) for some in tensors], np.ones(3) / 3)) <= 0.501


def test_a_share_of_everything_gives_that_model_back_bit_for_bit():
    tensors = [torch.cat([tensor(torch.float32, (50,), seed), torch.tensor([-0.0])]) for seed in range(3)]

    merged = karcher(tensors, fractions(0, 1, 0))

    assert raw(merged) == raw(tensors[1])


@pytest.mark.parametrize(
    "rows",
    [
        ([1.0, 0.0], [-3.0, 0.0]),
        ([1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -4.0]),
        ([1.0], [4.0], [-2.0]),  # the third is opposite to the mean of all
        ([2.0], [5.0], [1.0]),
    ],
)
def test_where_the_sphere_has_no_mean_it_is_the_average(rows):
    merged = karcher([torch.tensor(row) for row in rows])

    assert merged.tolist() == pytest.approx(np.mean(rows, axis=0).tolist())


def test_a_tensor_of_zeros_shortens_and_does_not_turn():
    merged = karcher([torch.tensor([0.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([3.0, 0.0])])

    assert merged.tolist() == pytest.approx([math.sqrt(2)] * 2)


def test_weight_on_zeros_alone_is_weight_on_nothing():
    merged = karcher([torch.tensor([0.0, -0.0]), torch.tensor([0.0, 3.0])], [Fraction(1), Fraction(0)])

    assert merged.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_model_merged_with_itself_comes_back_bit_for_bit(count):
    odd = np.array([0x7FC00001, 0xFF800001, 0x80000000, 0x7F800000], np.uint32).view(np.float32)

    merged = karcher([torch.from_numpy(odd.copy()) for _ in range(count)])

    assert merged.numpy().tobytes() == odd.tobytes()


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_what_nearly_equal_models_share_comes_back_bit_for_bit(dtype, count):
    tensors = [tensor(dtype, (500,), 1) for _ in range(count)]
    for i, some in enumerate(tensors):
        some[0] *= 1 + 2 * i * torch.finfo(dtype).eps

    merged = karcher(tensors)

    assert raw(merged[1:]) == raw(tensors[0][1:])


@given(
    st.lists(st.lists(st.integers(-(2**24), 2**24), min_size=3, max_size=3), min_size=3, max_size=3),
    st.permutations([1, 2, 4]),
    st.booleans(),
)
def test_the_order_of_the_models_does_not_matter_bit_for_bit(rows, parts, equal):
    rows = [rows[0], rows[1], rows[0] if equal else rows[2]]
    pairs = list(zip([{"w": torch.tensor(row, dtype=torch.float32)} for row in rows], fractions(*parts), strict=True))

    merged = {raw(merge(Models.of(*zip(*order, strict=True)))["w"]) for order in permutations(pairs)}

    assert len(merged) == 1


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused_by_name(dtype, bad):
    merged = merge(Models.of([{"good": torch.ones(2), "bad": torch.tensor([x], dtype=dtype)} for x in (1, bad, 2)]))

    assert merged["good"].tolist() == [1.0, 1.0]
    with pytest.raises(MergeProblem, match=r"'bad'.*NaN or infinity"):
        merged["bad"]


@pytest.mark.parametrize(
    "options", [{"iterations": -1}, {"tolerance": -1e-9}, {"tolerance": math.nan}, {"tolerance": math.inf}]
)
def test_options_out_of_range_are_refused_before_anything_is_read(options):
    models = Models.of([{"w": torch.tensor([math.nan])}, {"w": torch.tensor([1.0])}])

    with pytest.raises(MergeProblem, match=next(iter(options))):
        merge(models, **options)


def test_coefficients_must_sum_to_one():
    models = Models.of([{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}], [Fraction(1), Fraction(1)])

    with pytest.raises(MergeProblem, match="not to 1"):
        merge(models)
