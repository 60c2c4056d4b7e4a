"""What a cook says of itself while it goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wvc.errors import RecipeProblem
from wvc.repo import kitchen
from wvc.repo.kitchen import Cooking, Dish, Kitchen, Report, duration, look
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path / "zoo", Draft("init", "ada", 0, default_branch="main"))


def test_nothing_is_cooked_until_somebody_cooks(repository: Repository):
    assert look(repository) is None

    with Kitchen(repository).locked():
        assert look(repository) == Cooking("?", 0, 0, None, ())

    assert look(repository) is None


def test_who_looks_sees_how_far_it_is(repository: Repository):
    folder = kitchen.folder_of(repository)
    now = [0.0]

    with Kitchen(repository).locked():
        Kitchen(repository).say("digits", 3, 8, 90.0)
        report = Report(folder, "run/0", lambda: now[0])
        report.start("training", 300, "steps")
        report.advance(20)
        now[0] = 10.0
        report.advance(100, "loss 0.5")
        seen = look(repository)

    assert seen is not None
    (dish,) = seen.dishes
    assert dish.memory > 1e6
    assert dish == Dish("run/0", "training", 120, 300, "steps", "loss 0.5", 10.0, dish.memory)
    assert dish.line().startswith("run/0: training 120/300 steps, 12.0/s, loss 0.5, ")
    assert seen.line() == "cooking digits: 3 of 8 steps, about 90 s left"


def test_a_step_that_is_over_is_gone(repository: Repository):
    with Kitchen(repository).locked():
        report = Report(kitchen.folder_of(repository), "run/0")
        assert len(Kitchen(repository).dishes()) == 1

        report.end()

        assert Kitchen(repository).dishes() == ()


def test_what_a_killed_cook_left_is_swept(repository: Repository):
    with Kitchen(repository).locked():
        Report(kitchen.folder_of(repository), "run/0").start("training", 3)

    with Kitchen(repository).locked():
        assert Kitchen(repository).dishes() == ()


def test_one_cook_at_a_time(repository: Repository):
    with Kitchen(repository).locked(), pytest.raises(RecipeProblem, match="another cook"), Kitchen(repository).locked():
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recipe": 1}', '{"step": "x", "odd": 1}'])
def test_half_a_file_is_no_news(repository: Repository, text: str):
    folder = kitchen.folder_of(repository)

    with Kitchen(repository).locked():
        (folder / "cook.json").write_text(text)
        (folder / f"step-{os.getpid()}.json").write_text(text)

        assert look(repository) == Cooking("?", 0, 0, None, ())


def test_a_person_reads_durations():
    assert [duration(seconds) for seconds in (0.4, 99, 100, 5000, 36_000)] == [
        "0 s",
        "99 s",
        "2 min",
        "83 min",
        "10 h 0 min",
    ]
