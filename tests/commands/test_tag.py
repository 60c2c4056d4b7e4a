from __future__ import annotations

import json

from .conftest import Run, Zoo


def test_tag_makes_lists_and_removes(run: Run, zoo: Zoo) -> None:
    soup = zoo.names["soup"][:10]

    assert run("tag", "v1", "soup") == f"tag v1 is at {soup}\n"
    assert run("tag") == f"v1 {soup} soup\n"
    assert json.loads(run("tag", "--json"))[0]["name"] == "v1"
    assert run("tag", "-d", "v1") == f"deleted tag v1 (was {soup}); `wvc tag v1 {soup}` brings it back\n"
    assert run("tag") == ""


def test_tag_stays_where_it_is_unless_forced(run: Run, zoo: Zoo) -> None:
    run("tag", "v1")

    code, _, err = run.all("tag", "v1", "soup")
    assert (code, err.splitlines()[0]) == (1, "error: tag 'v1' already exists")
    assert "(was" in run("tag", "-f", "v1", "soup")
    assert run.all("tag", "-d", "v2")[0] == 1
