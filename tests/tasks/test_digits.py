from __future__ import annotations

import numpy as np
import pytest

from wvc import tasks
from wvc.errors import TaskProblem
from wvc.tasks import Task


def load(**parameters: object) -> Task:
    return tasks.load("digits", "digits", None, parameters)


def rows(task: Task) -> list[list[int]]:
    return [block.tolist() for block in task.pixels.blocks]


def test_the_default_is_six_rotations_of_149():
    task = load()

    order = np.random.RandomState(0).permutation(1797)
    assert task.domains == ("0", "15", "30", "45", "60", "75")
    assert rows(task) == [order[900 + 149 * k : 900 + 149 * (k + 1)].tolist() for k in range(6)]
    assert (task.own_size, task.channels, task.augmentation) == (16, 1, "none")


def test_no_digit_is_in_two_domains_or_in_both_pools():
    blocks = rows(load(rotations="0,10,20,30")) + rows(load(rotations="0,10,20", pool="source"))

    used = [digit for block in blocks for digit in block]

    assert len(used) == len(set(used)) == 4 * 224 + 3 * 300


@pytest.mark.parametrize("rotations", ["0, 15,-30", [0, 15, -30], ["0", "15", "-30"]])
def test_rotations_come_as_text_or_list(rotations: object):
    task = load(rotations=rotations)

    assert task.domains == ("0", "15", "-30")
    assert task.parameters == {"rotations": [0, 15, -30], "pool": "target"}


def test_a_quarter_turn_is_counter_clockwise():
    turned, upright = load(rotations="90", pool="source"), load(rotations="0", pool="source")

    assert (turned.images(0, 16) == np.rot90(upright.images(0, 16), axes=(2, 3))).all()


def test_the_fingerprint_knows_angle_and_pool():
    prints = {load(**p).fingerprint for p in ({}, {"rotations": "0"}, {"rotations": "15"}, {"pool": "source"})}

    assert len(prints) == 4
    assert load().fingerprint == "1f2cc78d0155bbc6263580cb3c4225757449d4401f97a84fd884c7962829c458"


@pytest.mark.parametrize(
    "parameters",
    [{"rotations": "0,0"}, {"rotations": ""}, {"rotations": "0.5"}, {"rotations": "360"}, {"pool": "all"},
     {"rotations": list(range(100))}],
)  # fmt: skip
def test_parameters_that_make_no_sense_are_refused(parameters: dict[str, object]):
    with pytest.raises(TaskProblem) as caught:
        load(**parameters)

    assert caught.value.hint
