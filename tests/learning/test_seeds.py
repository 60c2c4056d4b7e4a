"""Golden values of golden.md 6.1; draws that are functions of what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from wvc.learning.seeds import generator, positions, run_seed, seed_hash, split


@pytest.mark.parametrize(
    ("args", "value"),
    [
        *[
            ((0, env), v)
            for env, v in enumerate((894182419, 1514274641, 1325548499, 1796103049, 1773288162, 1833038383))
        ],
        ((1, 0), 785910682),
        ((1, 1), 1442673865),
        ((2, 0), 472130416),
        ((2, 1), 181139023),
        ((2, 3), 1709828778),
        (("a",), 407376881),
        ((0, "lr"), 1017368932),
        ((1, 0, "x"), 1660505030),
    ],
)
def test_seed_hash_is_domainbeds(args: tuple[object, ...], value: int) -> None:
    assert seed_hash(*args) == value


@pytest.mark.parametrize(
    ("args", "value"),
    [
        (("OfficeHome", [0], 0, 0), 851163946),
        (("OfficeHome", [0], 1, 0), 191826797),
        (("OfficeHome", [0], 19, 2), 840680511),
        (("PACS", [-1], 3, 0), 1658659414),
    ],
)
def test_run_seed(args: tuple[str, list[int], int, int], value: int) -> None:
    assert run_seed(*args) == value


@pytest.mark.parametrize(
    ("trial", "env", "val", "train"),
    [
        (0, 0, [2, 3], [8, 1, 4, 5, 0, 9, 6, 7]),
        (0, 1, [5, 0], [3, 7, 8, 6, 1, 2, 9, 4]),
        (1, 0, [3, 7], [9, 0, 5, 4, 2, 8, 6, 1]),
        (1, 1, [8, 5], [1, 3, 2, 9, 0, 6, 7, 4]),
        (2, 0, [6, 1], [9, 3, 4, 8, 2, 5, 7, 0]),
        (2, 1, [5, 2], [6, 7, 8, 9, 3, 1, 0, 4]),
    ],
)
def test_split(trial: int, env: int, val: list[int], train: list[int]) -> None:
    trained, validated = split(10, trial, env)

    assert validated.tolist() == val
    assert trained.tolist() == train


def test_a_fifth_validates_rounded_down_as_the_reference_computes_it() -> None:
    assert all(n // 5 == int(0.2 * n) for n in range(200_000))
    assert [len(part) for part in split(4, 0, 0)] == [4, 0]


def test_generators_differ_in_every_part_of_their_purpose_and_repeat() -> None:
    keys = [(0, 1, 2, "batch"), (1, 1, 2, "batch"), (0, 2, 2, "batch"), (0, 1, 3, "batch"), (0, 1, 2, "augmentation")]

    draws = [generator(*key).random() for key in keys]

    assert len(set(draws)) == len(keys)
    assert draws == [generator(*key).random() for key in keys]


def test_positions_are_drawn_with_replacement_from_the_whole_domain() -> None:
    drawn = positions(7, 3, 0, 5, 1000)

    assert np.bincount(drawn, minlength=5).min() > 150
    assert drawn.max() == 4


def test_positions_are_the_same_in_every_version() -> None:
    assert positions(0, 0, 0, 1000, 6).tolist() == [358, 523, 336, 965, 259, 319]
