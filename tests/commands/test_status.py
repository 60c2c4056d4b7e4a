from __future__ import annotations

import json
from pathlib import Path

from wvc.repo.repository import create
from wvc.store.records import Draft

from .conftest import HOSTILE, Run, Zoo


def test_status_says_where_head_is(run: Run, zoo: Zoo) -> None:
    zoo.score("first", 3, 4)
    run("switch", "run/0")

    assert run("status").splitlines() == [
        "on branch run/0",
        f"{zoo.names['first'][:10]} train on pacs, validation 75.0 %: first",
    ]


def test_status_of_an_empty_repository(run: Run, tmp_path: Path) -> None:
    create(tmp_path / "empty", Draft("init", "Ada", 0))
    run.folder = tmp_path / "empty"

    assert run("status").splitlines() == ["on branch main", "no commit yet"]


def test_status_counts_commits_that_a_remote_lacks_and_has(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/remotes/origin/main", zoo.names["first"])
    zoo.move("refs/remotes/backup/main", zoo.names["base"])

    assert run("status").splitlines()[2:] == ["up to date with backup/main", "1 behind origin/main"]


def test_status_names_unfinished_trainings(run: Run, zoo: Zoo) -> None:
    plans = {
        "a1": {"branch": "refs/heads/run/0", "how": {"task": {"name": "pacs"}, "settings": {"steps": 300}}},
        "b2": {"branch": HOSTILE, "how": HOSTILE},
        "c3": [],
    }
    for id, plan in plans.items():
        (zoo.repository.folder / "runs" / id).mkdir()
        (zoo.repository.folder / "runs" / id / "plan.json").write_text(json.dumps(plan), encoding="utf-8")

    lines = run("status").splitlines()[2:]

    assert lines[0] == "2 unfinished trainings:"
    assert lines[1] == "  run/0: pacs, 300 steps (go on with `wvc commit --resume a1`)"
    assert not set(lines[2]) & set("\x1b\x9b\u202e")
    assert json.loads(run("status", "--json"))["runs"][0] == {
        "id": "a1",
        "branch": "refs/heads/run/0",
        "task": "pacs",
        "steps": 300,
    }
