"""Exact ranks of magnitudes, against sorting all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.strategies._models import Models, Stack
from wvc.strategies._trim import ranked, ranked_together
from wvc.weights import Held, Weights

from .tensors import FLOATS

Tensors = Mapping[str, torch.Tensor]


def stacks(models: Sequence[Tensors], base: Tensors) -> list[Stack]:
    return list(Models.of(models).stacks(Weights.holding(base)).values())


def normal(seed: int, n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=n)).to(dtype)


def magnitudes(value: torch.Tensor, base: torch.Tensor) -> np.ndarray:
    """From the largest, as patterns of fp32."""
    changes = value.to(torch.float64).numpy() - base.to(torch.float64).numpy()
    return np.sort(np.abs(changes).astype(np.float32).view(np.int32).reshape(-1))[::-1]


def expected(stack: Stack, ranks: Sequence[int]) -> list[list[int]]:
    assert stack.base is not None
    return [[int(magnitudes(t.load(), stack.base.load())[rank - 1]) for rank in ranks] for t in stack.tensors]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [1, 2, 1000, 600_001])
def test_ranks_are_those_of_all_magnitudes(dtype, n):
    (stack,) = stacks([{"w": normal(1, n, dtype)}, {"w": normal(2, n, dtype) * 3}], {"w": normal(3, n, dtype)})
    ranks = [1, (n + 4) // 5, n]

    assert ranked(stack, ranks) == expected(stack, ranks)


class Counted(Held):
    """A tensor that counts what is read of it."""

    elements = 0

    def read(self, start: int, stop: int) -> np.ndarray:
        self.elements += stop - start
        return super().read(start, stop)


@pytest.mark.parametrize(("growth", "passes"), [(1, 1), (1000, 2)])
def test_one_pass_is_enough_if_the_first_piece_is_like_the_others(growth, passes):
    n, first = 1 << 20, 1 << 18
    value = normal(1, n)
    value[first:] *= growth
    tensor, base = Counted(value), torch.zeros(n)
    assert tensor.id and tensor.elements == n  # whoever merges knows the ids
    tensor.elements = 0

    found = ranked(Stack("w", [tensor], Held(base)), [n // 5])

    assert found == [[magnitudes(value, base)[n // 5 - 1]]]
    assert tensor.elements == first + passes * n


def test_magnitudes_that_are_all_equal_are_counted():
    (stack,) = stacks([{"w": torch.tensor([1.0, -1.0] * 5000)}], {"w": torch.zeros(10_000)})

    assert ranked(stack, [1, 2000, 10_000]) == [[0x3F800000] * 3]


def test_ranks_behind_what_was_changed_are_zeros():
    (stack,) = stacks([{"w": torch.tensor([0.0, 3.0, 0.0])}, {"w": torch.zeros(3)}], {"w": torch.zeros(3)})

    assert sorted(ranked(stack, [1, 2, 3, 4])) == [[0, 0, 0, 0], [0x40400000, 0, 0, 0]]


@given(st.lists(st.sampled_from([0.0, 1e-44, 1e-39, 1e-30, 1.0, 1.0000001, 3e38]), min_size=1, max_size=9), st.data())
def test_odd_magnitudes_are_ranked_too(values, data):
    rank = data.draw(st.integers(1, len(values)))
    value, base = torch.tensor(values), torch.zeros(len(values))

    found = ranked(Stack("w", [Held(value)], Held(base)), [rank])

    pattern = int(magnitudes(value, base)[rank - 1])
    assert found == [[pattern if pattern >= 1 << 16 else 0]]  # below 2^-133 counts as 0


def test_several_tensors_are_ranked_as_one():
    sizes = {"a": 5, "large": 300_000, "b": 70_000}
    base = {name: normal(i, n) for i, (name, n) in enumerate(sizes.items())}
    one = {name: normal(i + 10, n) * (i + 1) for i, (name, n) in enumerate(sizes.items())}
    two = {**one, "large": base["large"]}

    found = ranked_together(stacks([one, two], base), [1, 40_000, 350_000])

    together = [
        np.sort(np.concatenate([magnitudes(model[name], base[name]) for name in sizes]))[::-1] for model in (one, two)
    ]
    assert sorted(found) == sorted([int(all[rank - 1]) for rank in (1, 40_000, 350_000)] for all in together)


def test_nothing_has_no_ranks():
    assert ranked_together([], [1]) == []
