"""merge-base and rev-parse."""

from __future__ import annotations

import json

from .conftest import Run, Zoo


def test_merge_base(run: Run, zoo: Zoo) -> None:
    assert run("merge-base", "run/*") == zoo.names["base"] + "\n"
    assert run("merge-base", "soup", "run/0") == zoo.names["first"] + "\n"
    assert json.loads(run("merge-base", "soup", "run/0", "--json")) == [zoo.names["first"]]


def test_merge_base_of_strangers_and_of_one(run: Run, zoo: Zoo) -> None:
    zoo.commit("other", "other")

    assert run.all("merge-base", "main", "other")[0] == 1
    assert run.all("merge-base", "main")[0] == 2


def test_merge_bases_of_a_criss_cross(run: Run, zoo: Zoo) -> None:
    zoo.commit("left", "left", ["first", "second"])
    zoo.commit("right", "right", ["second", "first"])

    assert run("merge-base", "left", "right").split() == sorted([zoo.names["first"], zoo.names["second"]])


def test_rev_parse(run: Run, zoo: Zoo) -> None:
    base = zoo.names["base"]

    assert run("rev-parse", "run/0~1", base[:8]) == f"{base}\n{base}\n"
    assert run("rev-parse", "--short", "HEAD") == base[:10] + "\n"
    assert run("rev-parse", "--abbrev-ref", "HEAD") == "main\n"
    assert run.all("rev-parse", "--abbrev-ref", base)[0] == 1
