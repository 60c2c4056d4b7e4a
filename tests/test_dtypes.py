"""Numbers in NumPy, against torch: every bit pattern widened, and rounding wherever it may go wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wvc import tensors
from wvc.dtypes import DTYPES, FP32, FP64, is_finite, is_floating, narrow, widened

NARROW = ["F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"]


def every(dtype: str) -> np.ndarray:
    """All numbers of a dtype with 16 or 8 bits."""
    width = DTYPES[dtype].itemsize
    return np.arange(1 << 8 * width, dtype=np.uint32).astype(f"u{width}").view(DTYPES[dtype])


def with_neighbours() -> np.ndarray:
    """For every upper half of an fp32, those lower halves where rounding to fewer bits changes its mind."""
    lower = np.array([0, 1, 0x0FFF, 0x1000, 0x1001, 0x3000, 0x7FFF, 0x8000, 0x8001, 0xF000, 0xFFFF], np.uint32)
    return (np.arange(1 << 16, dtype=np.uint32)[:, None] << 16 | lower).reshape(-1).view(np.float32)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """By torch, as bits, (n, width)."""
    made = torch.from_numpy(values).to(tensors.DTYPES[dtype])
    return made.view(torch.uint8).numpy().reshape(len(values), -1)


def test_numpy_and_torch_have_the_same_dtypes():
    assert {name: dtype.itemsize for name, dtype in DTYPES.items()} == {
        name: dtype.itemsize for name, dtype in tensors.DTYPES.items()
    }
    assert {name for name in DTYPES if is_floating(name)} == {
        name for name, dtype in tensors.DTYPES.items() if dtype.is_floating_point
    }


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("wide", [FP32, FP64])
def test_every_number_is_widened_as_torch_does(dtype, wide):
    numbers = every(dtype)
    expected = tensors.tensor(numbers, dtype, numbers.shape).to(torch.float64 if wide == FP64 else torch.float32)

    found = widened(numbers, wide)
    apart = np.concatenate([widened(numbers[i : i + 1024], wide) for i in range(0, len(numbers), 1024)])

    np.testing.assert_array_equal(found, expected.numpy())
    zeros = found == 0
    np.testing.assert_array_equal(np.signbit(found[zeros]), np.signbit(expected.numpy()[zeros]))
    np.testing.assert_array_equal(apart, expected.numpy())  # most of these hold neither NaN nor infinity


@pytest.mark.parametrize("dtype", [*NARROW, "F32", "F64"])
def test_numbers_that_are_not_finite_are_seen(dtype):
    odd = [1.0, -0.0, 3e38, math.nan, math.inf, -math.inf]
    numbers = every(dtype) if dtype in NARROW else np.array(odd, DTYPES[dtype])
    finite = np.isfinite(widened(numbers, FP64))

    found = [is_finite(numbers[i : i + 1]) for i in range(len(numbers))]

    assert found == finite.tolist()
    assert is_finite(numbers[finite]) and not is_finite(numbers) and is_finite(numbers[:0])
    assert is_finite(np.concatenate([numbers[finite]] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sum_that_overflows_tells_nothing(dtype):
    assert is_finite(np.full(9, np.finfo(dtype).max, dtype))


@pytest.mark.parametrize("dtype", NARROW)
def test_numbers_are_rounded_as_torch_does(dtype):
    numbers = with_neighbours()
    numbers = numbers[np.isfinite(numbers)]
    if dtype == "F8_E4M3":  # what is too large becomes NaN here, and the largest number in some versions of torch
        numbers = numbers[np.abs(numbers) <= 464]
    out = np.empty(len(numbers), DTYPES[dtype])

    for start in range(0, len(numbers), 1 << 12):  # in pieces, most of which hold nothing that is too large
        narrow(numbers[start : start + (1 << 12)], out[start : start + (1 << 12)])

    np.testing.assert_array_equal(out.view(np.uint8).reshape(len(numbers), -1), rounded(numbers, dtype))


@pytest.mark.parametrize("dtype", [*NARROW, "F32"])
def test_fp64_is_rounded_as_torch_does(dtype):
    generator = np.random.default_rng(0)
    numbers = np.clip(generator.normal(size=100_000) * np.exp(5 * generator.normal(size=100_000)), -400, 400)
    middles = 1 + 2.0 ** -np.arange(1, 30)
    numbers = np.concatenate([numbers, middles, middles + 2.0**-40, middles - 2.0**-40, [0.0, -0.0, 1e-320]])
    out = np.empty(len(numbers), DTYPES[dtype])

    narrow(numbers, out)

    np.testing.assert_array_equal(out.view(np.uint8).reshape(len(numbers), -1), rounded(numbers, dtype))


@pytest.mark.parametrize("dtype", [*NARROW, "F32"])
@pytest.mark.parametrize("wide", [FP32, FP64])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3.4e38, 1e300])
def test_what_is_too_large_does_not_become_finite(dtype, wide, value):
    if (value == 1e300 and wide == FP32) or (value == 3.4e38 and dtype == "F32"):
        pytest.skip("there is no such number, or it fits")
    out = np.empty(3, DTYPES[dtype])

    narrow(np.array([1.0, value, -1.0], wide), out)

    assert not is_finite(out)
    assert widened(out, FP64)[[0, 2]].tolist() == [1.0, -1.0]


def test_what_is_wide_already_is_not_copied():
    numbers = np.ones(3)

    assert widened(numbers, FP64) is numbers
