"""Magnitudes as bit patterns, against NumPy's rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wvc.dtypes import DTYPES, FP32, FP64
from wvc.strategies._magnitudes import below, patterns, shrink

FLOATS = ["F64", "F32", "BF16", "F16"]
MAGNITUDES = st.integers(0, 0x7F800000)


def number(pattern: int) -> np.float32:
    return np.uint32(pattern).view(np.float32)


@pytest.mark.parametrize("dtype", FLOATS)
def test_patterns_are_those_of_the_rounded_difference(dtype):
    one, two = (np.random.default_rng(seed).normal(size=999).astype(DTYPES[dtype]) for seed in (1, 2))

    found = patterns(one, two)

    difference = np.abs(one.astype(np.float64) - two.astype(np.float64)).astype(np.float32)
    assert found.tolist() == difference.view(np.int32).tolist()


@given(st.floats(width=32, allow_nan=False), st.floats(width=32, allow_nan=False))
@example(1.0, 1e-30)
@example(16777216.0, -1.0)
@example(3e38, -3e38)
def test_fp32_and_fp64_give_the_same_pattern(one, two):
    values = [np.array([one], np.float32), np.array([two], np.float32)]

    assert patterns(*values) == patterns(*(value.astype(np.float64) for value in values)) or math.isinf(one)


def test_patterns_leave_what_they_are_made_of_alone():
    values = np.array([-1.0, 2.0], np.float32)

    assert patterns(values).tolist() == [0x3F800000, 0x40000000]
    assert values.tolist() == [-1.0, 2.0]


@given(MAGNITUDES, st.integers(-3, 3))
@example(0x7F800000, 0)
@example(1, 0)
@example(0x00800000, -1)
def test_in_fp64_just_what_rounds_to_less_is_shrink(pattern, steps):
    near = abs(below(pattern, FP64))
    for _ in range(abs(steps)):
        near = math.nextafter(near, math.inf if steps > 0 else 0)
    with np.errstate(over="ignore"):
        is_less = np.float32(near) < number(pattern)

    kept = shrink(np.array([near, -near]), below(pattern, FP64))

    assert kept.tolist() == ([0, 0] if is_less else [near, -near])


@pytest.mark.parametrize("dtype", [FP64, FP32])
def test_all_that_is_finite_is_less_than_what_comes_after_infinity(dtype):
    largest = np.array([np.finfo(dtype).max, -1.0], dtype)

    assert shrink(largest, below(0x7F800001, dtype)).tolist() == [0, 0]


@given(MAGNITUDES, st.integers(-2, 2))
def test_in_fp32_just_what_is_less_is_shrink(pattern, steps):
    near = number(min(max(pattern + steps, 0), 0x7F7FFFFF))

    kept = shrink(np.array([near, -near], np.float32), below(pattern, FP32))

    assert kept.tolist() == ([0, 0] if near < number(pattern) else [near, -near])


@pytest.mark.parametrize("dtype", [FP64, FP32])
def test_what_is_too_large_is_shrunk_too(dtype):
    change = np.array([0.5, -1.0, 2.0, -3.0, 4.0], dtype)

    assert shrink(change, 1.0, 3.0).tolist() == [0.0, 0.0, 2.0, -3.0, 0.0]
