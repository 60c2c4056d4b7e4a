"""Tasks: described to everybody, kept at home, noticed when they change."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wvc.errors import TaskProblem, WvcWarning
from wvc.repo.objects import TaskDescription
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move
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


@pytest.fixture
def domainnet(tmp_path: Path) -> Path:
    """Its domains and number of classes, one image each, and a second one in the first class."""
    image = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(image, "png")
    for domain in ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"):
        for c in range(345):
            (tmp_path / "net" / domain / f"{c:03}").mkdir(parents=True)
            (tmp_path / "net" / domain / f"{c:03}" / "0.png").write_bytes(image.getvalue())
    (tmp_path / "net" / "clipart" / "000" / "1.png").write_bytes(image.getvalue())
    return tmp_path / "net"


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


@pytest.mark.filterwarnings("ignore:DomainNet.* expected:wvc.errors.WvcWarning")
def test_a_list_of_duplicates_stays_at_home(repository: Repository, domainnet: Path, tmp_path: Path):
    listed = tmp_path / "duplicates.txt"
    listed.write_text("clipart/000/1.png\n")

    made = task.add(repository, "net", domainnet, "domainbed:domainnet", {"duplicates": str(listed)})
    again = task.load(repository, "net")

    stored = [path.read_bytes() for place in ("packs", "log") for path in (repository.folder / place).iterdir()]
    assert not any(b"duplicates" in data for data in stored)
    assert made.labels[0].size == again.task.labels[0].size == 345
    assert not again.changed
    assert repository.config.get("tasks", "net") == {"path": str(domainnet), "duplicates": str(listed)}


@pytest.mark.filterwarnings("ignore:DomainNet.* expected:wvc.errors.WvcWarning")
def test_what_is_added_anew_forgets_the_old_list(repository: Repository, domainnet: Path, tmp_path: Path):
    (tmp_path / "list.txt").write_text("clipart/000/1.png\n")
    task.add(repository, "net", domainnet, "domainbed:DomainNet", {"duplicates": str(tmp_path / "list.txt")})

    task.add(repository, "net", domainnet, "domainbed:DomainNet", force=True)

    assert repository.config.get("tasks", "net") == {"path": str(domainnet)}
    assert task.load(repository, "net").task.labels[0].size == 346
    task.remove(repository, "net")
    assert repository.config.get("tasks", "net") is None


@pytest.mark.filterwarnings("ignore:DomainNet.* expected:wvc.errors.WvcWarning")
def test_a_description_from_outside_names_no_file_here(repository: Repository, domainnet: Path):
    made = task.add(repository, "net", domainnet, "domainbed:DomainNet")
    planted = replace(made.description(), parameters={"dataset": "DomainNet", "duplicates": "/nowhere/list.txt"})
    with repository.batch(objects=len(planted.data)) as batch:
        batch.put(planted.data)
        repository.record(batch, [Move("refs/tasks/net", made.description().id, planted.id)], "planted")

    assert task.load(repository, "net").task.labels[0].size == 346


def test_the_hint_names_the_kind_that_was_described(repository: Repository):
    for dataset, spelled in {"PACS": "domainbed:PACS", "PACS; ls": "'domainbed:PACS; ls'"}.items():
        described = TaskDescription(
            "known", "domainbed", (("a", 1),), ("x",), "f" * 64, parameters={"dataset": dataset}
        )
        with repository.batch(objects=len(described.data)) as batch:
            batch.put(described.data)
            old = repository.refs.get("refs/tasks/known")
            repository.record(batch, [Move("refs/tasks/known", old, described.id)], "by hand")

        with pytest.raises(TaskProblem, match="not on this machine") as caught:
            task.load(repository, "known")

        assert caught.value.hint == f"run `wvc task add known PATH --kind {spelled}`"
