"""Means on the sphere, against steps with whole vectors in float64 and against known points."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from wvc.strategies import multi_slerp, slerp
from wvc.strategies._models import Models
from wvc.strategies.karcher import merge

from .tensors import NARROW, SHAPES, flat, fractions, raw, tensor, worst


def karcher(tensors, shares=None, **options):
    return merge(Models.of([{"w": tensor} for tensor in tensors], shares), **options)["w"]


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


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("parts", [(1, 1), (1, 1, 1), (1, 2, 3, 5)])
def test_it_is_the_mean_on_the_sphere_rounded_once(dtype, shape, parts):
    tensors = [tensor(dtype, shape, seed, 0.5).abs() for seed in range(len(parts))]

    merged = karcher(tensors, fractions(*parts))

    exact = descended([flat(some) for some in tensors], np.array(parts) / sum(parts))
    assert (merged.shape, merged.dtype) == (torch.Size(shape), dtype)
    assert worst(merged, exact) <= 0.501


@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_the_weighted_directions_to_all_models_cancel_out(spread):
    common = tensor(torch.float64, (300,), 9, 0.5)
    tensors = [common + spread * tensor(torch.float64, (300,), seed, 0.5) for seed in range(4)]
    weights = np.array([1, 2, 3, 4]) / 10

    merged = karcher(tensors, fractions(1, 2, 3, 4))

    mean = flat(merged) / np.linalg.norm(flat(merged))
    pulls = [w * log(mean, flat(some) / np.linalg.norm(flat(some))) for w, some in zip(weights, tensors, strict=True)]
    assert np.linalg.norm(sum(pulls)) < 2e-12
    assert np.linalg.norm(flat(merged)) == pytest.approx(weights @ [some.norm().item() for some in tensors])


def test_coefficients_are_parts_of_the_angle():
    merged = karcher([torch.tensor([1.0, 0.0]), torch.tensor([0.0, 5.0])], fractions(3, 1))

    assert merged.tolist() == pytest.approx([2 * math.cos(math.pi / 8), 2 * math.sin(math.pi / 8)])


def test_on_a_circle_it_is_the_mean_angle_and_not_that_of_the_chords():
    angles = [0.0, 0.1, 1.3]
    tensors = [torch.tensor([math.cos(a), math.sin(a)], dtype=torch.float64) for a in angles]

    merged, first_guess = karcher(tensors), karcher(tensors, iterations=0)

    assert math.atan2(merged[1], merged[0]) == pytest.approx(sum(angles) / 3, abs=1e-9)
    assert math.atan2(first_guess[1], first_guess[0]) != pytest.approx(sum(angles) / 3, abs=1e-3)


@pytest.mark.parametrize("t", [Fraction(1, 2), Fraction(1, 10)])
def test_of_two_models_it_is_slerp_with_interpolated_norms(t):
    models = Models.of([{"w": tensor(torch.float32, (100,), seed, 0.5)} for seed in range(2)], [1 - t, t])

    merged, expected = merge(models), slerp.merge(models, norms="interpolated")

    torch.testing.assert_close(merged["w"], expected["w"], rtol=1e-6, atol=1e-9)


def test_without_steps_it_is_multi_slerp():
    models = Models.of([{"w": tensor(torch.float32, (100,), seed, 0.5)} for seed in range(3)], fractions(1, 2, 4))

    merged, expected = merge(models, iterations=0), multi_slerp.merge(models)

    assert raw(merged["w"]) == raw(expected["w"])


def test_a_large_tolerance_ends_the_search_at_once():
    models = Models.of([{"w": tensor(torch.float32, (100,), seed, 0.5)} for seed in range(3)], fractions(1, 2, 4))

    merged, expected = merge(models, tolerance=3.2), multi_slerp.merge(models)

    assert raw(merged["w"]) == raw(expected["w"])


def test_no_tolerance_takes_all_the_steps():
    tensors = [tensor(torch.float32, (100,), seed, 0.5) for seed in range(3)]

    merged = karcher(tensors, iterations=30, tolerance=0.0)

    assert worst(merged, descended([flat(some) for some in tensors], np.ones(3) / 3)) <= 0.501


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


def test_weight_on_zeros_alone_is_weight_on_nothing():
    merged = karcher([torch.tensor([0.0, -0.0]), torch.tensor([0.0, 3.0])], [Fraction(1), Fraction(0)])

    assert merged.tolist() == [0.0, 0.0]
