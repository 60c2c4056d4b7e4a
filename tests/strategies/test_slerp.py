"""Great circles, against the formula on whole vectors in float64 and against known points."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem
from wvc.strategies._models import Models
from wvc.strategies.slerp import merge

from .tensors import FLOATS, NARROW, SHAPES, flat, raw, tensor, worst

HALF = Fraction(1, 2)


def slerp(tensors, t=HALF, **options):
    return merge(Models.of([{"w": tensor} for tensor in tensors], [1 - t, t]), **options)["w"]


def great_circle(one, other, t, norms="mixed"):
    """The textbook's formula on two vectors; a straight line where they have no angle."""
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    if not all(lengths):
        return (1 - t) * one + t * other
    cosine = one @ other / lengths[0] / lengths[1]
    if abs(cosine) > 0.9995:
        return (1 - t) * one + t * other
    angle = np.arccos(cosine)
    if norms == "mixed":
        return (np.sin((1 - t) * angle) * one + np.sin(t * angle) * other) / np.sin(angle)
    unit = (np.sin((1 - t) * angle) * one / lengths[0] + np.sin(t * angle) * other / lengths[1]) / np.sin(angle)
    return ((1 - t) * lengths[0] + t * lengths[1]) * unit


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("norms", ["mixed", "interpolated"])
@pytest.mark.parametrize("t", [Fraction(1, 2), Fraction(1, 10), Fraction(2, 3)])
def test_it_is_the_formula_rounded_once(dtype, shape, norms, t):
    tensors = [tensor(dtype, shape, seed) for seed in range(2)]

    merged = slerp(tensors, t, norms=norms)

    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    assert worst(merged, great_circle(*map(flat, tensors), float(t), norms)) <= 0.501


def test_fp64_is_computed_in_fp64():
    tensors = [tensor(torch.float64, (1000,), seed) for seed in range(2)]

    merged = slerp(tensors, Fraction(1, 3))

    np.testing.assert_allclose(merged.numpy(), great_circle(*map(flat, tensors), 1 / 3), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("norms", "t", "expected"),
    [
        ("mixed", Fraction(1, 2), [math.sqrt(2), math.sqrt(0.5)]),
        ("mixed", Fraction(1, 3), [2 * math.sqrt(0.75), 0.5]),
        ("interpolated", Fraction(1, 2), [1.5 * math.sqrt(0.5), 1.5 * math.sqrt(0.5)]),
        ("interpolated", Fraction(1, 3), [5 / 3 * math.sqrt(0.75), 5 / 6]),
    ],
)
def test_points_between_two_and_one_at_a_right_angle(norms, t, expected):
    merged = slerp([torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])], t, norms=norms)

    assert merged.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("norms", ["mixed", "interpolated"])
@pytest.mark.parametrize("end", [0, 1])
@pytest.mark.parametrize("near", [False, True])
def test_both_ends_come_back_bit_for_bit(dtype, norms, end, near):
    one = torch.cat([tensor(dtype, (500,), 1), torch.tensor([-0.0, 0.0], dtype=dtype)])
    other = one.clone() if near else tensor(dtype, (502,), 2)
    other[0] = 1

    merged = slerp([one, other], Fraction(end), norms=norms)

    assert raw(merged) == raw((one, other)[end])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("norms", ["mixed", "interpolated"])
@pytest.mark.parametrize("parallel", [0.9995, 1.0])
def test_what_two_models_share_stays_where_the_rest_is_nearly_equal(dtype, norms, parallel):
    one = tensor(dtype, (500,), 1)
    other = one.clone()
    other[0] *= 1 + 2 * torch.finfo(dtype).eps

    merged = slerp([one, other], Fraction(1, 4), norms=norms, parallel=parallel)

    exact_to = 1 if dtype == torch.float64 else 0  # whose products have no digits to spare
    torch.testing.assert_close(merged[1:], one[1:], rtol=exact_to * 4e-16, atol=0)
    assert min(one[0], other[0]) <= merged[0] <= max(one[0], other[0])


@pytest.mark.parametrize("norms", ["mixed", "interpolated"])
@pytest.mark.parametrize("parallel", [0.5, 0.9995, 1.0])
@pytest.mark.parametrize("factor", [3.0, -3.0, 0.0])
def test_on_a_line_through_the_origin_there_is_only_the_average(norms, parallel, factor):
    one = tensor(torch.float32, (100,), 1)

    merged = slerp([one, one * factor], Fraction(1, 4), norms=norms, parallel=parallel)

    expected = 0.75 * flat(one) + 0.25 * flat(one * factor)
    np.testing.assert_allclose(flat(merged), expected, rtol=1e-6)


def test_above_the_limit_tensors_are_averaged():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.8, 0.6])

    below, above = (slerp([one, other], parallel=limit).tolist() for limit in (0.81, 0.79))

    assert below == pytest.approx([0.9 / math.sqrt(0.9), 0.3 / math.sqrt(0.9)])
    assert above == pytest.approx([0.9, 0.3])


def test_beyond_an_end_the_circle_goes_on():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(1), math.sin(1)])

    merged = slerp([one, other], Fraction(2))

    assert merged.tolist() == pytest.approx([math.cos(2), math.sin(2)])


@given(st.integers(0, 2**30), st.integers(0, 100))
def test_between_vectors_of_one_length_the_length_stays(seed, percent):
    one, other = (tensor(torch.float64, (20,), seed + i) for i in range(2))
    other *= one.norm() / other.norm()

    merged = slerp([one, other], Fraction(percent, 100), parallel=1.0)

    assert merged.norm().item() == pytest.approx(one.norm().item(), rel=1e-12)


def test_one_model_goes_nowhere():
    with pytest.raises(MergeProblem, match="two models of different weights, and here is one") as problem:
        merge(Models.of([{"w": torch.ones(2)}]))

    assert problem.value.hint == "name two; karcher takes any number"


def test_three_models_are_too_many():
    with pytest.raises(MergeProblem, match="not for 3"):
        merge(Models.of([{"w": torch.ones(2) * i} for i in range(3)]))
