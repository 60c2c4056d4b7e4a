"""Evaluation as a verb: which images, and what is remembered."""

from __future__ import annotations

import pytest

from wvc.errors import TaskProblem, UsageError
from wvc.repo import names
from wvc.verbs import scoring
from wvc.verbs.eval import Options, evaluate

from .conftest import World


def test_test_domains_are_measured_whole_and_the_others_on_their_validation_images(world: World):
    found = evaluate(world.repository, "run/0", Options(device="cpu"))

    totals = {s.circumstances.split: {d: total for d, (_, total) in s.domains.items()} for s in found.scores}
    assert totals == {"val": {"30": 59, "60": 59}, "all": {"0": 299}}


def test_training_images_are_refused_unless_they_are_named(world: World):
    with pytest.raises(UsageError, match="trained on images"):
        evaluate(world.repository, "run/0", Options(domains=("30",), split="all", device="cpu"))

    found = evaluate(world.repository, "run/0", Options(domains=("30",), split="in", device="cpu"))
    assert found.scores[0].domains["30"][1] == 240


def test_another_split_would_show_training_images_and_is_refused(world: World):
    with pytest.raises(UsageError, match="split 0"):
        evaluate(world.repository, "run/0", Options(trial=1, device="cpu"))


def test_a_score_is_measured_once_and_recorded(world: World, monkeypatch: pytest.MonkeyPatch):
    repository = world.repository
    first = evaluate(repository, "run/2", Options(domains=("60",), split="in", device="cpu"))
    number = repository.log.head().number
    monkeypatch.setattr(scoring, "count", None)

    again = evaluate(repository, "run/2", Options(domains=("60",), split="in", device="cpu"))

    assert again.scores == first.scores
    assert repository.log.head().number == number


def test_no_record_leaves_no_trace(world: World):
    number = world.repository.log.head().number

    evaluate(world.repository, "run/1", Options(domains=("60",), split="in", device="cpu", record=False))

    assert world.repository.log.head().number == number


def test_a_model_that_never_saw_the_task_is_measured_on_all_of_it(world: World):
    world.train("elsewhere", "main", task="source", test_domains=("none",), steps=2, head="fresh")

    found = evaluate(world.repository, "elsewhere", Options(task="digits", device="cpu"))

    assert [s.circumstances.split for s in found.scores] == ["all"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (Options(domains=("nowhere",)), TaskProblem),
        (Options(task="nothing"), TaskProblem),
    ],
)
def test_what_is_unknown_is_refused(world: World, options: Options, error: type[Exception]):
    with pytest.raises(error):
        evaluate(world.repository, "run/0", options)


def test_without_a_task_to_fall_back_on_one_must_be_named(world: World):
    root = world.repository.commit(world.repository.refs[names.branch("main")]).parents[0].commit

    with pytest.raises(UsageError, match="which task"):
        evaluate(world.repository, root, Options())
