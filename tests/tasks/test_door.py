"""What every kind of task keeps to, found by looking through the door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wvc import plugins, tasks
from wvc.errors import TaskProblem
from wvc.repo.objects import parse
from wvc.tasks import Task

Given = tuple[str, dict[str, str], Path | None]
BUNDLED = ("digits",)
DATASETS = ("domainbed:PACS", "domainbed:RotatedMNIST", "domainbed:ColoredMNIST")

pytestmark = pytest.mark.filterwarnings("ignore:.* expected:wvc.errors.WvcWarning")  # tiny copies of known datasets


@pytest.fixture(params=[*(kind for kind in tasks.kinds() if kind != "domainbed"), *DATASETS])
def given(request: pytest.FixtureRequest) -> Given:
    """Kind, parameters, and where the data are."""
    kind, parameters = tasks.parse_kind(request.param)
    dataset = parameters.get("dataset", "")
    if dataset.endswith("MNIST"):
        return kind, parameters, request.getfixturevalue("mnist")
    if dataset:
        return kind, parameters, request.getfixturevalue("tiny")(dataset)
    return kind, parameters, None if kind in BUNDLED else request.getfixturevalue("folder")


@pytest.fixture
def task(given: Given, tmp_path: Path) -> Task:
    kind, parameters, path = given
    return tasks.load(kind, "mine", path, parameters, tmp_path / "cache")


def test_every_kind_has_a_line_of_help():
    for kind in tasks.kinds():
        assert plugins.first_line("wvc.tasks", kind).endswith(".")


def test_a_task_is_consistent(task: Task):
    assert len(task.domains) == len(task.labels) == len(set(task.domains)) > 0
    assert all(set(labels) == set(range(len(task.classes))) for labels in task.labels)
    assert all(labels.dtype == np.int64 for labels in task.labels)
    assert len(task.fingerprint) == 64
    assert task.augmentation in ("domainbed", "none")


def test_its_description_can_be_stored_and_read_back(task: Task):
    description = task.description()

    assert parse(description.data) == description
    assert [n for _, n in description.domains] == [len(labels) for labels in task.labels]


@pytest.mark.parametrize("size", [16, 9])
def test_images_are_bytes_of_the_size_asked_for(task: Task, size: int):
    images = task.images(1, size)

    assert images.dtype == np.uint8
    assert images.shape == (len(task.labels[1]), task.channels, size, size)
    assert images.std() > 0


def test_images_are_the_same_with_and_without_a_cache(task: Task):
    assert (replace(task, cache=None).images(0, 16) == task.images(0, 16)).all()
    assert (replace(task).images(0, 16) == task.images(0, 16)).all()


def test_a_limited_task_has_the_first_images_of_each_class_in_turn(task: Task):
    n = len(task.classes)

    few = task.limit(n)

    assert few.fingerprint == task.fingerprint
    assert all(sorted(labels) == list(range(n)) for labels in few.labels)
    row = int(np.flatnonzero(task.labels[0] == few.labels[0][0])[0])
    assert (few.images(0, 16)[0] == task.images(0, 16)[row]).all()


def test_an_option_that_a_kind_has_not_is_refused(given: Given):
    kind, parameters, path = given

    with pytest.raises(TaskProblem, match="no option 'colour'"):
        tasks.load(kind, "mine", path, {**parameters, "colour": "red"})


def test_a_kind_that_needs_data_says_so_without(given: Given):
    kind, parameters, path = given

    assert tasks.needs_data(kind) == (path is not None)
    if path is not None:
        with pytest.raises(TaskProblem, match=r"task 'mine' needs .*"):
            tasks.load(kind, "mine", None, parameters)


def test_a_kind_may_come_with_a_dataset():
    assert tasks.parse_kind("digits") == ("digits", {})
    assert tasks.parse_kind("domainbed:PACS") == ("domainbed", {"dataset": "PACS"})


def test_an_unknown_kind_is_answered_with_those_there_are():
    with pytest.raises(TaskProblem) as caught:
        tasks.load("video", "mine", None, {})

    assert "digits" in str(caught.value.hint)
    for ask in (tasks.needs_data, tasks.local_parameters):
        with pytest.raises(TaskProblem, match="unknown kind"):
            ask("video")
