"""Tasks: described to everybody, kept at home, noticed when they change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wvc.errors import TaskProblem, WvcWarning
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft
from wvc.verbs import task


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create(tmp_path / "zoo", Draft("init", "ada", 0, default_branch="main"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for d, domain in enumerate(("art", "photo")):
        for c, name in enumerate(("cat", "dog")):
            (folder / domain / name).mkdir(parents=True)
            for i in range(5):
                Image.fromarray(np.full((8, 8, 3), 40 * d + 20 * c + i, np.uint8)).save(
                    folder / domain / name / f"{i}.png"
                )
    return folder


def test_the_place_of_the_data_is_in_no_byte_of_packs_or_log(repository: Repository, images: Path):
    task.add(repository, "pets", images)

    stored = [path.read_bytes() for place in ("packs", "log") for path in (repository.folder / place).iterdir()]
    assert not any(str(images).encode() in data or b"0.png" in data for data in stored)
    assert task.load(repository, "pets").task.classes == ("cat", "dog")


def test_adding_the_same_again_changes_nothing(repository: Repository, images: Path):
    task.add(repository, "pets", images)
    number = repository.log.head().number

    task.add(repository, "pets", images)

    assert repository.log.head().number == number


def test_other_data_under_the_same_name_need_force(repository: Repository, images: Path):
    task.add(repository, "pets", images)
    (images / "art" / "cat" / "0.png").unlink()

    with pytest.raises(TaskProblem, match="other data"):
        task.add(repository, "pets", images)
    assert task.add(repository, "pets", images, force=True).labels[0].size == 9


def test_data_that_changed_are_taken_with_a_warning_and_described_anew(repository: Repository, images: Path):
    task.add(repository, "pets", images)
    before = task.load(repository, "pets")
    (images / "art" / "cat" / "0.png").unlink()

    with pytest.warns(WvcWarning, match="have changed"):
        now = task.load(repository, "pets")

    assert now.changed and now.id != before.id
    assert repository.task(now.id).fingerprint == now.task.fingerprint


def test_a_task_without_data_here_says_what_to_do(repository: Repository, images: Path):
    task.add(repository, "pets", images)
    repository.config.set(None, "tasks", "pets", "path")

    with pytest.raises(TaskProblem, match="not on this machine"):
        task.load(repository, "pets")


def test_a_task_can_be_forgotten(repository: Repository, images: Path):
    task.add(repository, "pets", images)

    task.remove(repository, "pets")

    with pytest.raises(TaskProblem, match="unknown task"):
        task.load(repository, "pets")
