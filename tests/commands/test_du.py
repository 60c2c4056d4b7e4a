from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Run, Zoo


def on_disk(zoo: Zoo) -> int:
    return sum(path.stat().st_size for path in (zoo.repository.folder / "packs").iterdir())


def test_du_shows_what_each_commit_of_the_history_added(run: Run, zoo: Zoo) -> None:
    base, first = (zoo.names[name][:10] for name in ("base", "first"))

    lines = run("du", "run/0").splitlines()

    assert [line.split() for line in lines[:3]] == [
        ["commit", "tensors", "raw", "stored", "date", "subject"],
        [first, "1", "16", "B", "16", "B", "100.0", "%", "2023-11-14", "22:14:20", "+0000", "first"],
        [base, "1", "16", "B", "16", "B", "100.0", "%", "2023-11-14", "22:13:20", "+0000", "base"],
    ]
    assert lines[4] == "2 commits: 2 tensors, 32 B raw, 32 B stored (100.0 %)"
    assert lines[5].startswith("4 packs, ") and "64 B needed (100.0 % of 64 B), 0 B dead" in lines[5]


def test_du_begins_at_head_and_takes_ranges_and_everything(run: Run) -> None:
    def subjects(*arguments: str) -> list[str]:
        return [commit["message"] for commit in json.loads(run("du", "--json", *arguments))["commits"]]

    assert subjects() == ["base"]
    assert subjects("main..soup") == ["soup", "second", "first"]
    assert subjects("--all") == ["soup", "second", "first", "base"]
    assert subjects("--all", "-n", "1") == ["soup"]
    assert subjects("main..main") == []


def test_du_in_exact_bytes(run: Run, zoo: Zoo) -> None:
    facts = json.loads(run("du", "soup", "--json"))

    assert facts["total"] == {"tensors": 4, "files": 0, "raw": 64, "stored": 64}
    packs = facts["packs"]
    assert (packs["count"], packs["bytes"], packs["needed"], packs["dead"]) == (4, on_disk(zoo), 64, 0)
    assert packs["bytes"] == sum(packs[name] for name in ("needed", "copies", "dead", "objects", "rest"))
    assert facts["commits"][0]["id"] == zoo.names["soup"]


def test_du_lists_tensors_by_the_room_that_they_take(run: Run, zoo: Zoo) -> None:
    rows = [line.split() for line in run("du", "run/0", "--tensors").splitlines()]
    facts = json.loads(run("du", "run/0", "--tensors", "--json"))

    assert rows[0] == ["commit", "tensor", "raw", "stored", "how"]
    assert sorted(row[0] for row in rows[1:3]) == sorted(zoo.names[name][:10] for name in ("base", "first"))
    assert {(t["name"], t["raw"], t["stored"], t["base"]) for t in facts["tensors"]} == {("layer.weight", 16, 16, None)}
    assert "commits" not in facts


def test_du_says_what_is_dead(run: Run, zoo: Zoo) -> None:
    zoo.move("refs/heads/soup", None)

    packs = json.loads(run("du", "--json"))["packs"]

    soup = zoo.repository.commit(zoo.names["soup"])
    assert packs["dead"] == 16 + len(soup.data) + len(zoo.repository.manifest(soup).data)


def test_du_of_tensors_that_are_in_no_pack_says_so(run: Run, zoo: Zoo) -> None:
    pack = zoo.repository.packs_with(zoo.names["first"])[0]
    (zoo.repository.folder / "packs" / f"{pack}.safetensors").rename(zoo.repository.path / "away")
    (zoo.repository.folder / "lineage.db").unlink()

    assert "is missing" in run.all("du", "run/0")[2]
    assert run("du", "main").count("\n") == 5


def test_du_of_an_empty_repository(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("init", str(tmp_path / "empty"))

    assert Run(tmp_path / "empty", capsys)("du", "--all").startswith(
        "0 commits: 0 tensors, 0 B raw, 0 B stored\n0 packs"
    )


def test_du_of_strangers_cannot_touch_the_terminal(run_hostile: Run) -> None:
    for options in ((), ("--tensors",)):
        assert not set(run_hostile("du", *options)) & set("\x1b\x9b\u202e")
