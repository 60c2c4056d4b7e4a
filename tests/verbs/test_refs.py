"""What branch, switch, tag and reset do besides what their commands' tests show."""

from __future__ import annotations

from pathlib import Path

import pytest

from wvc.errors import NoCommitYet, RefExists, RefMoved, UsageError, WvcError
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move
from wvc.verbs import branch, reset, switch, tag


@pytest.fixture
def empty(tmp_path: Path) -> Repository:
    return create(tmp_path / "zoo", Draft("init", "Ada", 0))


@pytest.fixture
def repository(empty: Repository) -> Repository:
    """One commit on main."""
    manifest = Manifest(())
    commit = Commit(manifest.id, manifest.weights, (), "Ada", 0, 1, "base", {"kind": "import"})
    with empty.batch(objects=4096) as batch:
        batch.put(manifest.data)
        batch.put(commit.data)
        empty.record(batch, [Move("refs/heads/main", None, commit.id)], "by hand")
    return empty


def test_a_branch_without_commits_is_renamed_and_left(empty: Repository) -> None:
    branch.rename(empty, "main", "trunk")
    assert empty.branch == "refs/heads/trunk"

    switch.begin(empty, "other")
    assert empty.branch == "refs/heads/other"
    assert empty.refs == {}


def test_nothing_can_be_made_from_a_branch_without_commits(empty: Repository) -> None:
    for act in (branch.create, tag.create):
        with pytest.raises(NoCommitYet):
            act(empty, "x")
    with pytest.raises(WvcError):
        switch.begin(empty, "x", "main")


def test_renaming_to_the_same_name_changes_nothing(repository: Repository) -> None:
    before = repository.log.head().number

    branch.rename(repository, "main", "main")

    assert repository.log.head().number == before


def test_renaming_over_another_branch_takes_force(repository: Repository) -> None:
    branch.create(repository, "other")
    with pytest.raises(RefExists):
        branch.rename(repository, "main", "other")

    branch.rename(repository, "main", "other", force=True)

    assert set(repository.refs) == {"refs/heads/other"}
    assert repository.branch == "refs/heads/other"


def test_a_renaming_that_fails_leaves_head_where_it_was(repository: Repository, monkeypatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise RefMoved("main")

    monkeypatch.setattr(Repository, "record", refuse)
    with pytest.raises(RefMoved):
        branch.rename(repository, "main", "trunk")

    assert repository.branch == "refs/heads/main"


def test_switching_to_a_branch_of_two_remotes_asks_which(repository: Repository) -> None:
    id = repository.refs["refs/heads/main"]
    moves = [Move(f"refs/remotes/{remote}/theirs", None, id) for remote in ("a", "b")]
    repository.record(None, moves, "by hand")

    with pytest.raises(UsageError, match="several remotes"):
        switch.switch(repository, "theirs")


def test_switching_back_needs_a_branch_to_go_back_to(repository: Repository) -> None:
    with pytest.raises(WvcError, match="no branch to go back to"):
        switch.switch(repository, "-")
    switch.begin(repository, "x")
    branch.delete(repository, "main")
    with pytest.raises(WvcError, match="no branch to go back to"):
        switch.switch(repository, "-")


def test_switching_to_a_branch_that_exists_with_create_is_refused(repository: Repository) -> None:
    with pytest.raises(RefExists):
        switch.begin(repository, "main")


def test_resetting_to_where_it_is_writes_no_record(repository: Repository) -> None:
    before = repository.log.head().number

    reset.reset(repository, "HEAD")

    assert repository.log.head().number == before
