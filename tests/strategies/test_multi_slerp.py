"""Mean directions, against the published procedure on whole vectors in float64 and against known points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wvc.strategies._models import Models
from wvc.strategies.multi_slerp import merge

from .tensors import NARROW, SHAPES, flat, fractions, tensor, worst


def multi_slerp(tensors, shares=None):
    return merge(Models.of([{"w": tensor} for tensor in tensors], shares))["w"]


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


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parts", [(1, 1), (1, 1, 1), (1, 2, 3, 5)])
def test_it_is_the_published_procedure_rounded_once(dtype, shape, parts):
    tensors = [tensor(dtype, shape, seed, 0.5).abs() for seed in range(len(parts))]

    merged = multi_slerp(tensors, fractions(*parts))

    exact = published([flat(some) for some in tensors], np.array(parts) / sum(parts))
    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    assert worst(merged, exact) <= 0.501


def test_fp64_is_computed_in_fp64():
    tensors = [tensor(torch.float64, (1000,), seed, 0.5) for seed in range(3)]

    merged = multi_slerp(tensors)

    np.testing.assert_allclose(
        merged.numpy(), published(list(map(flat, tensors)), np.ones(3) / 3), rtol=1e-12, atol=1e-14
    )


def test_halfway_between_lengths_two_and_one_at_a_right_angle():
    merged = multi_slerp([torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])])

    assert merged.tolist() == pytest.approx([1.5 * math.sqrt(0.5)] * 2)


def test_coefficients_weigh_the_directions_and_the_lengths():
    merged = multi_slerp([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])], fractions(3, 1))

    assert merged.tolist() == pytest.approx([2 * 3 / math.sqrt(10), 2 / math.sqrt(10)])


@pytest.mark.parametrize("rows", [([1.0, 0.0], [-3.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -4.0])])
def test_directions_that_cancel_out_leave_the_average(rows):
    merged = multi_slerp([torch.tensor(row) for row in rows])

    assert merged.tolist() == pytest.approx(np.mean(rows, axis=0).tolist())


def test_zeros_of_either_sign_are_zero():
    merged = multi_slerp([torch.tensor([0.0, -0.0]), torch.tensor([0.0, 0.0])])

    assert merged.tolist() == [0.0, 0.0]
