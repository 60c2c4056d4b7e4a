"""Mean directions, against the published procedure on whole vectors in float64 and against known points."""

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
from wvc.strategies._models import Models
from wvc.strategies.multi_slerp import merge

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NARROW = FLOATS[1:]
SHAPES = [(), (0,), (1,), (7,), (4, 3, 2, 2), (600_001,)]  # the last is more than 1 MiB, even in 16 bits


def tensor(dtype, shape, seed):
    return torch.from_numpy(np.asarray(np.random.default_rng(seed).normal(size=shape) + 0.5)).to(dtype)


def multi_slerp(tensors, shares=None):
    return merge(Models.of([{"w": tensor} for tensor in tensors], shares))["w"]


def fractions(*parts):
    return [Fraction(part, sum(parts)) for part in parts]


def published(vectors, weights):
    """Unit vectors, their normalised mean, a step in its tangent space, the exponential map, the mean length."""
    lengths = np.array([np.linalg.norm(vector) for vector in vectors])
    units = [vector / length if length else vector for vector, length in zip(vectors, lengths, strict=True)]
    mean = sum(w * u for w, u in zip(weights, units, strict=True))
    mean /= np.linalg.norm(mean) or 1
    tangent = sum(w * (u - (u @ mean) * mean) for w, u in zip(weights, units, strict=True))
    size = np.linalg.norm(tangent)
    moved = np.cos(size) * mean + (np.sin(size) / size * tangent if size else 0)
    return (weights @ lengths) * moved


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
def test_it_is_the_published_procedure_rounded_once(dtype, shape, parts):
    tensors = [tensor(dtype, shape, seed).abs() for seed in range(len(parts))]

    merged = multi_slerp(tensors, fractions(*parts))

    exact = published([flat(some) for some in tensors], np.array(parts) / sum(parts))
    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    assert worst(merged, exact) <= 0.501


def test_fp64_is_computed_in_fp64():
    tensors = [tensor(torch.float64, (1000,), seed) for seed in range(3)]

    merged = multi_slerp(tensors)

    np.testing.assert_allclose(
        merged.numpy(), published(list(map(flat, tensors)), np.ones(3) / 3), rtol=1e-12, atol=1e-14
    )


def test_halfway_between_lengths_two_and_one_at_a_right_angle():
    merged = multi_slerp([torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])])

    assert merged.tolist() == pytest.approx([1.5 * math.sqrt(0.5)] * 2)


def test_three_axes_meet_in_the_middle():
    merged = multi_slerp([torch.tensor(row) for row in ([3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0])])

    assert merged.tolist() == pytest.approx([math.sqrt(3)] * 3)


def test_coefficients_weigh_the_directions_and_the_lengths():
    merged = multi_slerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])], fractions(3, 1))

    assert merged.tolist() == pytest.approx([2 * 3 / math.sqrt(10), 2 / math.sqrt(10)])


def test_a_share_of_everything_gives_that_model_back_bit_for_bit():
    tensors = [torch.cat([tensor(torch.float32, (50,), seed), torch.tensor([-0.0])]) for seed in range(3)]

    merged = multi_slerp(tensors, fractions(0, 1, 0))

    assert raw(merged) == raw(tensors[1])


@pytest.mark.parametrize("rows", [([1.0, 0.0], [-3.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -4.0])])
def test_directions_that_cancel_out_leave_the_average(rows):
    merged = multi_slerp([torch.tensor(row) for row in rows])

    assert merged.tolist() == pytest.approx(np.mean(rows, axis=0).tolist())


def test_a_tensor_of_zeros_shortens_and_does_not_turn():
    merged = multi_slerp([torch.tensor([0.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([3.0, 0.0])])

    assert merged.tolist() == pytest.approx([math.sqrt(2)] * 2)


def test_zeros_of_either_sign_are_zero():
    merged = multi_slerp([torch.tensor([0.0, -0.0]), torch.tensor([0.0, 0.0])])

    assert merged.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_model_merged_with_itself_comes_back_bit_for_bit(count):
    odd = np.array([0x7FC00001, 0xFF800001, 0x80000000, 0x7F800000], np.uint32).view(np.float32)

    merged = multi_slerp([torch.from_numpy(odd.copy()) for _ in range(count)])

    assert merged.numpy().tobytes() == odd.tobytes()


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_what_nearly_equal_models_share_comes_back_bit_for_bit(dtype, count):
    tensors = [tensor(dtype, (500,), 1) for _ in range(count)]
    for i, some in enumerate(tensors):
        some[0] *= 1 + 2 * i * torch.finfo(dtype).eps

    merged = multi_slerp(tensors)

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


def test_coefficients_must_sum_to_one():
    models = Models.of([{"w": torch.tensor([0.0])}, {"w": torch.tensor([1.0])}], [Fraction(1), Fraction(1)])

    with pytest.raises(MergeProblem, match="not to 1"):
        merge(models)
