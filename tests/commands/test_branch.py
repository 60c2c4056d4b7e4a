from __future__ import annotations

import json

import pytest

from .conftest import Run, Zoo


def test_branch_lists_by_name_with_the_current_one_marked(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/remotes/origin/main", zoo.names["soup"])
    base, first, second, soup = (zoo.names[name][:10] for name in ("base", "first", "second", "soup"))

    listed = [f"* main  {base} base", f"  run/0 {first} first", f"  run/1 {second} second", f"  soup  {soup} soup"]
    assert run("branch").splitlines() == listed
    assert run("branch", "--all").splitlines()[-1] == f"  origin/main {soup} soup"


def test_branch_makes_one(run: Run, zoo: Zoo) -> None:
    assert run("branch", "aux", "soup~1") == f"branch aux is at {zoo.names['base'][:10]}\n"
    assert zoo.repository.refs["refs/heads/aux"] == zoo.names["base"]


def test_branch_deletes_and_says_how_to_undo(run: Run, zoo: Zoo) -> None:
    id = zoo.names["soup"][:10]

    assert run("branch", "-d", "soup") == f"deleted branch soup (was {id}); `wvc branch soup {id}` brings it back\n"
    run("branch", "soup", id)

    assert zoo.repository.refs["refs/heads/soup"] == zoo.names["soup"]


def test_branch_renames_the_current_one(run: Run, zoo: Zoo) -> None:
    assert run("branch", "-m", "trunk") == "renamed main to trunk\n"
    assert zoo.repository.branch == "refs/heads/trunk"


def test_branch_json(run: Run, zoo: Zoo) -> None:
    assert json.loads(run("--json", "branch"))[0] == {
        "ref": "refs/heads/main",
        "commit": zoo.names["base"],
        "subject": "base",
        "current": True,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("-d", "main"), 1, "'main' is the current branch"),
        (("-d", "sop"), 1, "there is no branch 'sop'"),
        (("soup",), 1, "branch 'soup' already exists"),
        (("-m", "soup"), 1, "branch 'soup' already exists"),
        (("-d",), 2, "--delete takes the branches to delete"),
        (("a", "b", "c"), 2, "a branch has a name and a start"),
        (("a:b",), 1, "'a:b' is not a valid branch name"),
        (("x", "nowhere"), 1, "unknown revision 'nowhere'"),
    ],
)
def test_branch_refuses(run: Run, arguments: tuple[str, ...], code: int, error: str) -> None:
    found, _, err = run.all("branch", *arguments)

    assert found == code
    assert err.startswith(f"error: {error}\n")


def test_branch_force_moves(run: Run, zoo: Zoo) -> None:
    was = zoo.names["soup"][:10]

    assert run("branch", "-f", "soup", "main") == f"branch soup is at {zoo.names['base'][:10]} (was {was})\n"
