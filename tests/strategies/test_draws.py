"""Random numbers, against Philox written out."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wvc.strategies._draws import Draws, draws, norm_ratios
from wvc.strategies._models import Models

WORD = (1 << 64) - 1


def philox(key: int, counter: int) -> list[int]:
    """Four 64-bit words of Philox 4x64 with 10 rounds (Salmon et al., Parallel random numbers: as easy as 1, 2, 3)."""
    words = [counter >> (64 * i) & WORD for i in range(4)]
    keys = [key & WORD, key >> 64]
    for _ in range(10):
        one, two = words[0] * 0xD2E7470EE14C6C93, words[2] * 0xCA5A826395121157
        words = [two >> 64 ^ words[1] ^ keys[0], two & WORD, one >> 64 ^ words[3] ^ keys[1], one & WORD]
        keys = [keys[0] + 0x9E3779B97F4A7C15 & WORD, keys[1] + 0xBB67AE8584CAA73B & WORD]
    return words


def number(key: int, index: int) -> int:
    """The number of one element. NumPy counts up before it draws, so the first counter is 1."""
    word = philox(key, index // 8 + 1)[index % 8 // 2]
    return word >> (32 * (index % 2)) & 0xFFFFFFFF


def models(*values: float) -> Models:
    return Models.of([{"w": torch.tensor([value])} for value in values])


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**40), st.integers(0, 20))
def test_numbers_are_those_of_philox(key, start, count):
    found = Draws(key)(start, start + count)

    assert found.tolist() == [number(key, index) for index in range(start, start + count)]


@given(st.lists(st.integers(0, 500), min_size=2, max_size=6))
def test_pieces_make_up_the_whole(cuts):
    whole, cuts = Draws(7)(0, 500), sorted(cuts)

    pieces = [Draws(7)(start, stop) for start, stop in pairwise(cuts)]

    assert np.array_equal(np.concatenate(pieces), whole[cuts[0] : cuts[-1]])


def test_the_key_is_a_hash_of_seed_model_occurrence_and_name():
    some = models(1.0, 2.0, 2.0)
    (stack,) = some.stacks().values()

    keys = [drawn.key for drawn in draws(some, stack, 5)]

    texts = [f"5\n{model.id}\n{n}\nw" for model, n in zip(some.members, some.occurrences, strict=True)]
    assert keys == [int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little") for text in texts]
    assert len(set(keys)) == 3


def test_another_seed_or_name_gives_other_numbers():
    some = Models.of([{"a": torch.ones(1), "b": torch.zeros(1)}])
    a, b = some.stacks().values()

    keys = {drawn.key for stack in (a, b) for seed in (0, 1, -1) for drawn in draws(some, stack, seed)}

    assert len(keys) == 6


def test_numbers_are_uniform():
    n = 1 << 20
    shares = np.bincount(Draws(3)(0, n) >> 28, minlength=16) / n

    assert np.abs(shares - 1 / 16).max() < 5 * math.sqrt(1 / 16 / n)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_norms_are_those_of_all_pieces(dtype):
    pieces = [
        ([np.array([1.0, -2.0], dtype=dtype), np.array([0.0, 1.0], dtype=dtype)],
         [np.array([1.0, 0.0], dtype=dtype), np.array([0.0, 0.0], dtype=dtype)]),
        ([np.array([3.0], dtype=dtype), np.array([1.0], dtype=dtype)],
         [np.array([3.0], dtype=dtype), np.array([0.0], dtype=dtype)]),
    ]  # fmt: skip

    assert norm_ratios(pieces) == [6 / 4, 1.0]
