from __future__ import annotations

from .conftest import Run, Zoo


def test_switch_there_and_back(run: Run, zoo: Zoo) -> None:
    assert run("switch", "run/0") == "switched to run/0\n"
    assert run("switch", "-") == "switched to main\n"
    assert run("switch", "-") == "switched to run/0\n"
    assert run("switch", "run/0") == "already on run/0\n"
    assert zoo.repository.branch == "refs/heads/run/0"


def test_switch_makes_a_branch(run: Run, zoo: Zoo) -> None:
    assert run("switch", "-c", "aux/office", "soup") == "switched to new branch aux/office, from soup\n"
    assert zoo.repository.head().id == zoo.names["soup"]


def test_switch_to_what_only_a_remote_has_makes_a_branch(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/remotes/origin/theirs", zoo.names["soup"])

    assert run("switch", "theirs") == "switched to new branch theirs, from origin/theirs\n"
    assert zoo.repository.refs["refs/heads/theirs"] == zoo.names["soup"]


def test_switch_to_nothing_names_what_is_near(run: Run) -> None:
    code, _, err = run.all("switch", "soop")

    assert (code, err) == (1, "error: there is no branch 'soop'\nhint: did you mean 'soup'?\n")


def test_switch_refuses_a_start_without_a_branch_to_make(run: Run) -> None:
    assert run.all("switch", "soup", "main")[0] == 2
