"""Cloning: a log of its own, exactly what is reachable, nothing damaged, nothing private."""

from __future__ import annotations

from pathlib import Path

import pytest

from wvc.errors import Damage, UsageError, WvcError
from wvc.repo import names, scores
from wvc.repo.fsck import fsck
from wvc.repo.repository import Repository
from wvc.store.packs import Pack
from wvc.store.records import Move
from wvc.verbs.clone import clone

from .conftest import World


def test_a_clone_has_a_log_of_its_own_and_all_branches_as_remote_ones(world: World, tmp_path: Path):
    made = clone(world.repository.path, tmp_path / "copy")

    first, _ = made.log.read(1)
    assert made.log.head().number == 1
    assert first.repository != world.repository.log.head().repository
    assert made.branch == "refs/heads/main"
    for i in range(3):
        assert made.refs[f"refs/remotes/origin/run/{i}"] == world.repository.refs[f"refs/heads/run/{i}"]
    assert made.refs["refs/tasks/digits"] == world.repository.refs["refs/tasks/digits"]
    assert fsck(made).problems == []


def test_scores_come_along(world: World, tmp_path: Path):
    made = clone(world.repository.path, tmp_path / "copy")

    id = world.repository.refs["refs/heads/run/0"]
    assert scores.of_commit(made, id) == scores.of_commit(world.repository, id)


def test_nothing_that_no_ref_reaches_is_copied(world: World, tmp_path: Path):
    lost = world.train("lost", "main", seed=77).commit
    world.repository.record(None, [Move(names.branch("lost"), lost.id, None)], "branch -d")

    made = clone(world.repository.path, tmp_path / "copy")

    held = {id for name in made.log.head().packs for id in Pack(made.folder / "packs", name).ids()}
    assert lost.id not in held and lost.manifest not in held


def test_the_configuration_stays_at_home(world: World, tmp_path: Path):
    world.repository.config.set("secret place", "tasks", "digits", "path")

    made = clone(world.repository.path, tmp_path / "copy")

    assert made.config.get("tasks", "digits", "path") is None
    world.repository.config.set(None, "tasks", "digits", "path")


def test_a_damaged_source_is_not_cloned_and_leaves_nothing(world: World, tmp_path: Path):
    source = clone(world.repository.path, tmp_path / "source")
    needed = source.manifest(source.head()).by_name["head.weight"].id
    name = source.packs_with(needed)[0]
    path = source.folder / "packs" / f"{name}.safetensors"
    data = bytearray(path.read_bytes())
    data[Pack(path.parent, name).entries[needed].start] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)

    with pytest.raises(Damage):
        clone(source.path, tmp_path / "copy")

    assert not (tmp_path / "copy").exists()


def test_which_branch_to_begin_on(world: World, tmp_path: Path):
    assert clone(world.repository.path, tmp_path / "a", "run/1").branch == "refs/heads/run/1"
    with pytest.raises(UsageError, match="no branch"):
        clone(world.repository.path, tmp_path / "b", "nowhere")


def test_a_folder_that_is_taken_is_left_alone(world: World, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(WvcError, match="not an empty folder"):
        clone(world.repository.path, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_link_where_a_pack_should_be_is_not_followed(world: World, tmp_path: Path):
    source = clone(world.repository.path, tmp_path / "source")
    pack = next((source.folder / "packs").iterdir())
    pack.rename(tmp_path / "elsewhere")
    pack.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(WvcError):
        clone(source.path, tmp_path / "copy")


def test_another_owner_is_no_obstacle_to_reading(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr("os.geteuid", lambda: 12345)

    with pytest.raises(WvcError, match="another user"):
        Repository(world.repository.path)
    assert Repository.source(world.repository.path, tmp_path).refs == world.repository.refs
