"""The average, against arithmetic in float64 and in fractions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem
from wvc.strategies import Models, linear
from wvc.weights import Weights

from .tensors import FLOATS, tensor


def merge(models: Sequence[Mapping[str, torch.Tensor]], coefficients: Sequence[Fraction] | None = None) -> Weights:
    return linear.merge(Models.of(models, coefficients))


def rounded(value: Fraction, dtype: torch.dtype) -> float:
    """`value` rounded once to `dtype`."""
    return torch.tensor(float(value), dtype=torch.float64).to(dtype).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_mean_is_the_exact_mean_rounded_once(dtype, count):
    tensors = [tensor(dtype, (300,), seed) for seed in range(count)]

    merged = merge([{"w": t} for t in tensors])["w"]

    exact = [sum(Fraction(t[i].item()) for t in tensors) / count for i in range(300)]
    wrong = [i for i in range(300) if merged[i].item() != rounded(exact[i], dtype)]
    # 16 bits are summed in fp32, which may tip what lies almost exactly between two of them
    assert len(wrong) <= (0 if dtype == torch.float32 else 3)


@pytest.mark.parametrize("dtype", FLOATS)
def test_fractions_weigh_as_they_say(dtype):
    shares = [Fraction(1, 3), Fraction(1, 6), Fraction(1, 2)]
    tensors = [tensor(dtype, (300,), seed) for seed in range(3)]

    merged = merge([{"w": t} for t in tensors], coefficients=shares)["w"]

    expected = sum(t.to(torch.float64) * float(s) for t, s in zip(tensors, shares, strict=True))
    torch.testing.assert_close(merged, expected.to(dtype))


def test_thirds_of_threes_are_exact():
    models = [{"w": torch.tensor([3.0 * i, 1.0])} for i in (1, 2, 6)]

    assert merge(models, coefficients=[Fraction(1, 3)] * 3)["w"].tolist() == [9.0, 1.0]


def test_a_share_of_nothing_leaves_no_trace():
    models = [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([9.0, 9.0])}]

    assert merge(models, coefficients=[Fraction(1), Fraction(0)])["w"].tolist() == [1.0, 2.0]


def test_negative_shares_go_beyond():
    models = [{"w": torch.tensor([3.0])}, {"w": torch.tensor([1.0])}]

    assert merge(models, coefficients=[Fraction(2), Fraction(-1)])["w"].tolist() == [5.0]


@given(st.lists(st.lists(st.integers(-(2**24), 2**24), min_size=3, max_size=3), min_size=2, max_size=4), st.data())
def test_the_order_of_the_models_does_not_matter_bit_for_bit(rows, data):
    scale = 2.0 ** data.draw(st.integers(-20, 20))
    models = [{"w": torch.tensor(row, dtype=torch.float32) * scale} for row in rows]

    merged = {merge(list(order))["w"].numpy().tobytes() for order in permutations(models)}

    assert len(merged) == 1


@pytest.mark.parametrize("shares", [[1, 1], [Fraction(1, 2), Fraction(1, 3)], [0, 0], [Fraction(1, 2)] * 3])
def test_shares_that_do_not_add_up_to_one_are_refused(shares):
    with pytest.raises(MergeProblem, match="not to 1"):
        merge([{"w": torch.ones(1)}] * len(shares), coefficients=[Fraction(s) for s in shares])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_not_finite_is_refused_by_name(bad, dtype):
    models = [{"good": torch.ones(2), "layer.bad": torch.tensor([1.0, value], dtype=dtype)} for value in (0.0, bad)]
    merged = merge(models)

    assert merged["good"].tolist() == [1, 1]
    with pytest.raises(MergeProblem, match=r"layer\.bad"):
        merged["layer.bad"]


def test_equal_models_come_back_bit_for_bit_even_where_they_are_no_numbers():
    odd = np.array([0x7FC00001, 0xFF800001, 0x80000000, 0x7F800000], np.uint32)
    models = [{"w": torch.from_numpy(odd.copy().view(np.float32))} for _ in range(3)]

    assert merge(models)["w"].numpy().tobytes() == odd.tobytes()


def test_a_result_too_large_for_the_dtype_is_refused_by_name():
    models = [{"w": torch.tensor([60000.0], dtype=torch.float16)}, {"w": torch.tensor([0.0], dtype=torch.float16)}]

    with pytest.raises(MergeProblem, match="'w'"):
        merge(models, coefficients=[Fraction(2), Fraction(-1)])["w"]


@pytest.mark.parametrize(("dtype", "large"), [(torch.float16, 60000.0), (torch.float32, 3e38)])
def test_large_numbers_do_not_overflow_on_the_way(dtype, large):
    models = [{"w": torch.tensor([x], dtype=dtype)} for x in (large, large / 2, large)]

    assert merge(models)["w"].item() == pytest.approx(large * 5 / 6, rel=1e-2)


def test_integers_and_booleans_are_one_models_own():
    one = {"steps": torch.tensor(5), "mask": torch.tensor([True, False])}
    two = {"steps": torch.tensor(9), "mask": torch.tensor([False, True])}

    merged = merge([one, two])

    assert (merged["steps"].item(), merged["mask"].tolist()) in [(5, [True, False]), (9, [False, True])]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fine_fractions_of_narrow_numbers_are_summed_wide(dtype):
    """Drawn coefficients have 12 digits: their numerators would be rounded in fp32, and overflow with what is large."""
    shares = [Fraction(123456789012, 10**12), Fraction(10**12 - 123456789012, 10**12)]
    large = torch.finfo(dtype).max * torch.tensor([1.0, 0.5], dtype=torch.float64)
    tensors = [torch.cat([tensor(dtype, (300,), seed), large.to(dtype)]) for seed in range(2)]

    merged = merge([{"w": t} for t in tensors], coefficients=shares)["w"]

    exact = [sum(Fraction(t[i].item()) * s for t, s in zip(tensors, shares, strict=True)) for i in range(302)]
    assert [x.item() for x in merged] == [rounded(value, dtype) for value in exact]


def test_fractions_too_long_for_a_float_are_rounded_once():
    shares = [Fraction(1, 10**400 + 1), Fraction(10**400, 10**400 + 1)]

    assert merge([{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}], coefficients=shares)["w"].tolist() == [3.0]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=5).filter(any), st.integers(0, 2**30))
def test_an_average_lies_between_its_models(parts, seed):
    shares = [Fraction(part, sum(parts)) for part in parts]
    tensors = [tensor(torch.float32, (50,), seed + i) for i in range(len(parts))]

    merged = merge([{"w": t} for t in tensors], coefficients=shares)["w"]

    used = torch.stack([t for t, share in zip(tensors, shares, strict=True) if share])
    assert torch.all(used.amin(0) <= merged) and torch.all(merged <= used.amax(0))
