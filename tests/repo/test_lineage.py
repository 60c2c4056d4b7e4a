"""Lineage: a projection that can be lost, damaged or left behind, and always says what packs and log say."""

from __future__ import annotations

import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from wvc.errors import WvcWarning
from wvc.repo.fsck import fsck
from wvc.repo.graph import Graph
from wvc.repo.lineage import Lineage
from wvc.repo.repository import Repository, create
from wvc.repo.scores import Circumstances, find
from wvc.store.records import Draft, Move

BODY = {
    "weights": "w", "task": "t", "trial": 0, "split": "val", "image_size": 64, "transform": "resize",
    "precision": "fp32", "device": "cpu", "domains": [["art", 1, 2]],
}  # fmt: skip


@pytest.fixture
def history(repository, save) -> Repository:
    """Two commits, a merge of them with a score, a tag, a deleted branch."""
    first = save(1)
    second = save(2, [first], branch="side")
    save(3, [(first, Fraction(1, 3)), (second, Fraction(2, 3))], said=[("score", BODY)])
    repository.record(None, [Move("refs/tags/v1", None, first.id)], "tag")
    repository.record(None, [Move("refs/heads/side", second.id, None)], "gone")
    return repository


def fresh(repository: Repository, folder: Path) -> Any:
    return Lineage(folder / "fresh.db", repository.folder / "packs", repository.log).dump()


def again(repository: Repository) -> Repository:
    return Repository(repository.path)


def test_it_holds_what_packs_and_log_say(history, tmp_path):
    dump = history.lineage.dump()

    assert dump == fresh(history, tmp_path)
    assert len(dump["commits"]) == 3
    assert sorted(row[3] for row in dump["parents"]) == ["1", "1/3", "2/3"]
    assert {row[0] for row in dump["refs"]} == {"refs/heads/main", "refs/tags/v1"}
    assert [row[1] for row in dump["scores"]] == ["art"]
    assert len(dump["moves"]) == 5


@pytest.mark.parametrize("damage", ["deleted", "garbage", "empty", "other database", "half", "journal"])
def test_a_lost_or_damaged_file_is_made_again(history, tmp_path, damage):
    path = history.folder / "lineage.db"
    expected, good = history.lineage.dump(), path.read_bytes()
    path.unlink()
    if damage == "other database":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE applied (x)")
        connection.close()
    elif damage != "deleted":
        path.write_bytes({"garbage": b"\x13" * 9000, "empty": b"", "half": good[: len(good) // 2]}.get(damage, good))
    if damage == "journal":
        Path(f"{path}-journal").write_bytes(b"\x55" * 600)

    found = again(history)

    assert found.lineage.dump() == expected
    assert fsck(found).problems == []


def test_a_file_that_is_behind_catches_up(history, save):
    old = (history.folder / "lineage.db").read_bytes()
    save(4, [history.head()])
    (history.folder / "lineage.db").write_bytes(old)

    found = again(history)

    assert len(Graph(found).nodes) == 4
    assert fsck(found).problems == []


def test_a_file_that_is_ahead_of_a_log_that_was_set_back_starts_over(history, save):
    newest = history.head()
    (history.folder / "log" / f"{history.log.head().number:012}.json").rename(history.folder / "tmp" / "x")

    found = again(history)
    with pytest.warns(WvcWarning, match="not any more"):
        assert newest.id in Graph(found).nodes

    assert fsck(found).problems == []


def test_the_lineage_of_another_repository_is_not_believed(history, tmp_path):
    other = create(tmp_path / "other", Draft("init", "me", 0))
    shutil.copy(history.folder / "lineage.db", other.folder / "lineage.db")

    found = again(other)

    assert Graph(found).nodes == {}
    assert fsck(found).problems == []


def test_a_log_that_was_replaced_by_another_of_the_same_repository_starts_over(history, save, tmp_path):
    shutil.copytree(history.folder, tmp_path / "copy" / ".wvc")
    save(5, [history.head()])
    copy = Repository(tmp_path / "copy")
    copy.record(None, [Move("refs/tags/other", None, copy.head().id)], "another history")
    shutil.copy(history.folder / "lineage.db", copy.folder / "lineage.db")

    found = again(copy)

    assert "refs/tags/other" in {row[0] for row in found.lineage.dump()["refs"]}
    assert fsck(found).problems == []


def test_an_open_lineage_sees_what_others_record(history):
    other = again(history)
    assert len(Graph(other).nodes) == 3
    head = history.head()

    history.record(None, [Move("refs/heads/new", None, head.id)], "branch")

    assert ("refs/heads/new", head.id) in other.lineage.dump()["refs"]


def test_a_folder_that_cannot_be_written_to_keeps_its_lineage_in_the_users_cache(history, monkeypatch):
    (history.folder / "lineage.db").unlink()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))

    found = again(history)

    assert len(Graph(found).nodes) == 3
    assert not (history.folder / "lineage.db").exists()
    assert len(list(Path(os.environ["XDG_CACHE_HOME"]).rglob("lineage-*.db"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_can_be_read(history):
    (history.folder / "lineage.db").unlink()
    history.folder.chmod(0o555)
    try:
        assert len(Graph(again(history)).nodes) == 3
    finally:
        history.folder.chmod(0o755)


def test_where_no_file_can_be_written_memory_will_do(history, monkeypatch, tmp_path):
    path = history.folder / "lineage.db"
    path.unlink()
    path.mkdir()

    found = again(history)

    assert len(Graph(found).nodes) == 3
    assert len(Graph(found).nodes) == 3


def test_all_threads_read_the_same_memory(history):
    path = history.folder / "lineage.db"
    path.unlink()
    path.mkdir()
    found = again(history)
    ids = found.manifest(found.head()).ids()

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(found.packs_with, ids))


@pytest.mark.parametrize(
    "change",
    [{"domains": 5}, {"domains": [["art", "x", 2]]}, {"domains": [["art"]]}, {"domains": ...}, {"trial": ...},
     {"weights": ...}, {"extra": 1}, {"domains": [["art", 1, 0]]}, {"domains": [["art", 3, 2]]},
     {"domains": [["art", -1, 2]]}, {"domains": []}, {"domains": [[None, 1, 2]]}, {"domains": [["art", 1, 2, 3]]}],
    ids=repr,
)  # fmt: skip
def test_malformed_scores_are_ignored(repository, save, change):
    body = {key: value for key, value in (BODY | change).items() if value is not ...}
    save(1, said=[("score", body), ("score", BODY), ("note", {"anything": [1]})])
    wanted = Circumstances("w", "t", 0, "val", 64)

    score = find(repository, wanted, ["art"])

    assert score is not None and score.domains == {"art": (1, 2)}
    assert fsck(repository).problems == []


def test_changed_rows_are_found_by_fsck(history):
    with sqlite3.connect(history.folder / "lineage.db") as connection:
        connection.execute("UPDATE commits SET message = 'another' WHERE generation = 1")
    connection.close()

    problems = fsck(again(history)).problems

    assert len(problems) == 1 and "lineage.db" in problems[0]


def test_an_object_in_two_packs_is_listed_twice_and_counted_once(repository, save, tmp_path):
    commit = save(1)
    with repository.batch() as batch:
        batch.put(commit.data)
        repository.record(batch, [], "again")

    assert len(repository.packs_with(commit.id)) == 2
    assert list(Graph(repository).nodes) == [commit.id]
    assert fsck(repository).problems == []
