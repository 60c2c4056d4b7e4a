"""What all strategies that measure lengths and angles have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.errors import MergeProblem, UsageError
from wvc.strategies import karcher, model_stock, multi_slerp, slerp
from wvc.strategies._models import Models
from wvc.weights import Weights

from .tensors import FLOATS, NARROW, fractions, odd, raw, tensor

MEANS = {"karcher": karcher.merge, "multi-slerp": multi_slerp.merge}
SHARING = {**MEANS, "slerp": slerp.merge}
ROWS = st.lists(st.lists(st.integers(-(2**24), 2**24), min_size=3, max_size=3), min_size=3, max_size=3)
BAD_OPTIONS = [
    (karcher, {"iterations": -1}), (karcher, {"tolerance": -1e-9}), (karcher, {"tolerance": math.nan}),
    (karcher, {"tolerance": math.inf}), (slerp, {"parallel": -0.1}), (slerp, {"parallel": 1.1}),
    (slerp, {"parallel": math.nan}), (slerp, {"norms": "longest"}), (model_stock, {"angle": "chord"}),
    (model_stock, {"opposed": "refuse"}),
]  # fmt: skip


def merged(
    name: str, tensors: Sequence[torch.Tensor], shares: Sequence[Fraction] | None = None, **options
) -> torch.Tensor:
    models = Models.of([{"w": some} for some in tensors], shares)
    if name == "model-stock":
        return model_stock.merge(models, Weights.holding({"w": torch.ones_like(tensors[0])}), **options)["w"]
    return SHARING[name](models, **options)["w"]


def number_of(name: str, wanted: int) -> int:
    return 2 if name == "slerp" else wanted


@pytest.mark.parametrize("name", [*SHARING, "model-stock"])
@given(ROWS, st.permutations([1, 2, 4]), st.booleans())
def test_the_order_of_the_models_changes_no_bit(name, rows, parts, equal):
    rows = [rows[0], rows[0] if equal else rows[1], rows[2]][: number_of(name, 3)]
    shares = [None] * 3 if name == "model-stock" else fractions(*parts[: len(rows)])
    pairs = list(zip([torch.tensor(row, dtype=torch.float32) for row in rows], shares, strict=False))

    orders = [tuple(zip(*order, strict=True)) for order in permutations(pairs)]
    found = {raw(merged(name, order[0], None if name == "model-stock" else order[1])) for order in orders}

    assert len(found) == 1


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_model_merged_with_itself_comes_back_bit_for_bit(name, count):
    found = merged(name, [odd() for _ in range(number_of(name, count))])

    assert raw(found) == raw(odd())


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_share_of_everything_gives_that_model_back_bit_for_bit(name, dtype):
    minus = torch.tensor([-0.0], dtype=dtype)
    tensors = [torch.cat([tensor(dtype, (50,), seed), minus]) for seed in range(number_of(name, 3))]

    found = merged(name, tensors, [Fraction(int(i == 1)) for i in range(len(tensors))])

    assert raw(found) == raw(tensors[1])


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("count", [2, 3, 7])
def test_what_nearly_equal_models_share_comes_back_bit_for_bit(name, dtype, count):
    tensors = [tensor(dtype, (500,), 1) for _ in range(number_of(name, count))]
    for i, some in enumerate(tensors):
        some[0] *= 1 + 2 * i * torch.finfo(dtype).eps

    found = merged(name, tensors)

    assert raw(found[1:]) == raw(tensors[0][1:])


@pytest.mark.parametrize("name", MEANS)
def test_three_axes_meet_in_the_middle(name):
    found = merged(name, [torch.tensor(row) for row in ([3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0])])

    assert found.tolist() == pytest.approx([math.sqrt(3)] * 3)


@pytest.mark.parametrize("name", MEANS)
def test_a_tensor_of_zeros_shortens_and_does_not_turn(name):
    found = merged(name, [torch.tensor([0.0, 0.0]), torch.tensor([0.0, 3.0]), torch.tensor([3.0, 0.0])])

    assert found.tolist() == pytest.approx([math.sqrt(2)] * 2)


@pytest.mark.parametrize("name", [*SHARING, "model-stock"])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_not_finite_is_refused_by_name(name, dtype, bad, place):
    tensors = [torch.tensor([1.0, bad if i == place else i], dtype=dtype) for i in range(number_of(name, 3))]

    with pytest.raises(MergeProblem, match=r"'w'.*NaN or infinity"):
        merged(name, tensors)


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_not_finite_is_refused_even_if_nothing_of_it_is_taken(name, bad, place):
    tensors = [torch.tensor([1.0, value]) for value in (0.5, bad)]

    with pytest.raises(MergeProblem, match=r"'w'.*NaN or infinity"):
        merged(name, tensors, [Fraction(int(i == place)) for i in range(2)])


def test_what_is_not_finite_in_the_base_is_refused_by_name():
    models, base = Models.of([{"w": torch.ones(2) * i} for i in (1, 2)]), {"w": torch.tensor([math.nan, 1.0])}

    with pytest.raises(MergeProblem, match=r"'w'.*NaN or infinity"):
        model_stock.merge(models, Weights.holding(base))["w"]


@pytest.mark.parametrize(("strategy", "options"), BAD_OPTIONS)
def test_options_out_of_range_are_refused_before_anything_is_read(strategy, options):
    models = Models.of([{"w": torch.tensor([value])} for value in (math.nan, 1.0)])
    base = [Weights({})] if strategy is model_stock else []

    with pytest.raises(UsageError, match=next(iter(options))):
        strategy.merge(models, *base, **options)


@pytest.mark.parametrize("name", SHARING)
def test_coefficients_must_sum_to_one(name):
    with pytest.raises(MergeProblem, match="not to 1"):
        merged(name, [torch.tensor([0.0]), torch.tensor([1.0])], [Fraction(1), Fraction(1, 3)])


@pytest.mark.parametrize("name", [*SHARING, "model-stock"])
def test_pieces_of_any_size_give_the_same_bits(name):
    models = Models.of([{"w": tensor(torch.float32, (600_001,), seed)} for seed in range(2)])
    base = [Weights.holding({"w": tensor(torch.float32, (600_001,), 9)})] if name == "model-stock" else []
    made = {**SHARING, "model-stock": model_stock.merge}[name](models, *base)

    pieces = [made.lazy["w"].read(start, min(start + 77_777, 600_001)) for start in range(0, 600_001, 77_777)]

    assert np.concatenate(pieces).tobytes() == raw(made["w"])
