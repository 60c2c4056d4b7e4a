from __future__ import annotations

from .conftest import Run, Zoo


def test_reset_moves_the_branch_and_says_how_to_undo(run: Run, zoo: Zoo) -> None:
    base, soup = zoo.names["base"][:10], zoo.names["soup"][:10]

    assert run("reset", "soup") == f"main is now at {soup} (was {base}; `wvc reset main@{{1}}` takes it back)\n"
    assert run("reset", "soup") == f"main is at {soup} already\n"
    run("reset", "main@{1}")

    assert zoo.repository.refs["refs/heads/main"] == zoo.names["base"]


def test_reset_to_nothing_changes_nothing(run: Run, zoo: Zoo) -> None:
    assert run.all("reset", "nowhere")[0] == 1
    assert zoo.repository.refs["refs/heads/main"] == zoo.names["base"]
