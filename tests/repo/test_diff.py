"""How two models differ, against float64 arithmetic done another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from wvc.repo.diff import diff
from wvc.repo.dtypes import decode
from wvc.repo.objects import Manifest, Tensor

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


@pytest.fixture
def compare(repository):
    """Function (dtype, old bytes, new bytes, shape) -> the one change, or None."""

    def run(dtype, old, new, shape):
        with repository.batch([shape, shape]) as batch:
            ids = [batch.add(dtype, shape, [data]) for data in (old, new)]
            repository.record(batch, [], "two tensors")
        before, after = (Manifest((Tensor("layer.weight", dtype, shape, id),)) for id in ids)
        changes = diff(repository, before, after)
        return changes[0] if changes else None

    return run


def noise(dtype: torch.dtype, seed: int, n: int = 200) -> torch.Tensor:
    """Values that the dtype can hold, a few of them zero."""
    wide = torch.from_numpy(np.random.default_rng(seed).normal(size=n) * 20)
    wide[::17] = 0
    return (wide > 0) if dtype == torch.bool else (wide.abs() if dtype == torch.uint8 else wide).to(dtype)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("dtype", TORCH)
def test_figures_agree_with_float64_arithmetic(compare, dtype):
    old, new = noise(TORCH[dtype], 1), noise(TORCH[dtype], 2)
    new[:50] = old[:50]
    a, b = old.to(torch.float64), new.to(torch.float64)
    d = b - a

    change = compare(dtype, raw(old), raw(new), (20, 10))

    assert (change.status, change.layer, change.numbers) == ("changed", "layer", 200)
    assert change.changed == int((a != b).sum())
    assert change.l2 == pytest.approx(float(d.norm()), rel=1e-12)
    assert change.relative == pytest.approx(float(d.norm() / a.norm()), rel=1e-12)
    assert change.largest == float(d.abs().max())
    assert change.cosine == pytest.approx(float(a @ b / a.norm() / b.norm()), rel=1e-9)


def test_chunks_add_up_to_the_whole(compare):
    numbers = torch.Generator().manual_seed(0)
    old = torch.randn(700_000, generator=numbers)  # almost three chunks
    new = torch.where(torch.rand(700_000, generator=numbers) < 0.5, old, old + 1e-3)

    change = compare("F32", raw(old), raw(new), (700, 1000))

    assert change.changed == int((old != new).sum())
    assert change.l2 == pytest.approx(float((new.double() - old.double()).norm()), rel=1e-12)


def test_equal_tensors_are_no_change(compare):
    assert compare("F32", bytes(8), bytes(8), (2,)) is None


def test_a_scalar_has_figures_too(compare):
    change = compare("F32", raw(torch.tensor(3.0)), raw(torch.tensor(1.0)), ())

    assert (change.numbers, change.changed, change.l2, change.largest, change.cosine) == (1, 1, 2.0, 2.0, 1.0)
    assert change.relative == 2 / 3


def test_a_tensor_that_was_zero_has_no_direction_and_an_infinite_share(compare):
    change = compare("F32", bytes(8), raw(torch.tensor([3.0, 4.0])), (2,))

    assert (change.l2, change.relative) == (5.0, math.inf)
    assert math.isnan(change.cosine)


def test_another_nan_is_other_bytes_but_no_other_number(compare):
    old = np.array([np.nan, 1.0], np.float32)
    new = old.copy()
    new.view(np.uint32)[0] ^= 1

    change = compare("F32", old.tobytes(), new.tobytes(), (2,))

    assert change.changed == 0


def test_nan_where_a_number_was_counts_as_changed_and_shows(compare):
    change = compare("F32", raw(torch.tensor([1.0, 2.0])), raw(torch.tensor([math.nan, 2.0])), (2,))

    assert change.changed == 1
    assert math.isnan(change.l2)
    assert math.isnan(change.largest)


def test_infinities_and_huge_numbers_are_no_trouble(compare):
    old, new = np.array([np.inf, 1e300]), np.array([np.inf, -1e300])

    change = compare("F64", old.tobytes(), new.tobytes(), (2,))

    assert change.changed == 1
    assert math.isnan(change.largest)


def test_minus_zero_is_other_bytes_but_the_same_number(compare):
    change = compare("F32", raw(torch.tensor([0.0])), raw(torch.tensor([-0.0])), (1,))

    assert (change.changed, change.l2) == (0, 0.0)


def test_what_is_no_real_number_is_only_said_to_differ(compare):
    change = compare("C64", bytes(8), b"\1" * 8, (1,))

    assert (change.status, change.changed, change.l2) == ("changed", None, None)


def test_added_removed_and_reshaped_tensors_are_named(repository, save):
    old = save({"gone": np.ones(2, np.float32), "shape": np.ones(4, np.float32), "type": np.ones(2, np.float32),
                "same": np.zeros(3, np.float32)})  # fmt: skip
    new = save({"new": np.ones((2, 1), np.float32), "shape": np.ones((2, 2), np.float32),
                "type": np.ones(2, np.float64), "same": np.zeros(3, np.float32)}, [old])  # fmt: skip

    changes = diff(repository, repository.manifest(old), repository.manifest(new))

    found = [(c.name, c.status, c.dtype, c.shape, c.numbers, c.l2) for c in changes]
    assert found == [
        ("gone", "removed", "F32", (2,), 2, None),
        ("new", "added", "F32", (2, 1), 2, None),
        ("shape", "reshaped", "F32", (2, 2), 4, None),
        ("type", "reshaped", "F64", (2,), 2, None),
    ]


def test_an_empty_tensor_never_differs(repository, save):
    old = save({"e": np.ones((0, 3), np.float32)})
    new = save({"e": np.ones((0, 3), np.float32)}, [old])

    assert diff(repository, repository.manifest(old), repository.manifest(new)) == []


# decode


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_all_256_codes_of_the_small_floats_are_torchs(dtype):
    codes = torch.arange(256, dtype=torch.uint8)

    values = decode(memoryview(codes.numpy()), dtype)

    np.testing.assert_array_equal(values, codes.view(TORCH[dtype]).to(torch.float64).numpy())


@pytest.mark.parametrize("dtype", ["BF16", "F16"])
def test_all_65536_codes_of_the_half_floats_are_torchs(dtype):
    codes = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)

    values = decode(memoryview(codes.numpy().view(np.uint8)), dtype)

    np.testing.assert_array_equal(values, codes.view(TORCH[dtype]).to(torch.float64).numpy())


@pytest.mark.parametrize("dtype", ["C64", "F4", "F6_E2M3", "F8_E8M0", "unknown"])
def test_dtypes_without_a_meaning_as_numbers_have_none(dtype):
    assert decode(memoryview(b"\0" * 24), dtype) is None
