from __future__ import annotations

import json

from wvc.commands.lineage import tree

from .conftest import Run, Zoo


def test_lineage_of_a_merge(run: Run, zoo: Zoo) -> None:
    base, first, second, soup = (zoo.names[name][:10] for name in ("base", "first", "second", "soup"))

    assert run("lineage", "soup", "--ancestors").splitlines() == [
        "made from",
        f"{soup} merge (soup) soup",
        f"├─ 0 × {base} import (HEAD -> main) base",
        f"├─ 1/2 × {first} train (run/0) first",
        f"│  {base} import (HEAD -> main) base",
        f"└─ 1/2 × {second} train (run/1) second",
        f"   {base} import (HEAD -> main) base",
    ]


def test_lineage_forward(run: Run) -> None:
    lines = run("lineage", "run/0", "--descendants").splitlines()

    assert [line.split()[-1] for line in lines[1:]] == ["first", "soup"]


def test_lineage_json_has_nodes_and_edges(run: Run, zoo: Zoo) -> None:
    shown = json.loads(run("lineage", "run/0", "--json"))

    assert [node["message"] for node in shown["nodes"]] == ["base", "first", "soup"]
    assert {"parent": zoo.names["first"], "child": zoo.names["soup"], "coefficient": "1/2"} in shown["edges"]
    assert len(shown["edges"]) == 3


def test_lineage_of_strangers_cannot_touch_the_terminal(run_hostile: Run) -> None:
    assert not set(run_hostile("lineage")) & set("\x1b\x9b\u202e")


def test_tree_unfolds_a_commit_once() -> None:
    steps = {"m": [("x", "1/2"), ("y", "1/2")], "x": [("a", "1")], "y": [("a", "1")], "a": [("b", "1")], "b": []}

    lines = tree("m", steps.__getitem__, str)

    assert lines[-1].endswith("   a [dim](see above)[/]")
    assert [line.split("]")[-1] for line in lines] == [
        "m",
        " × x",
        "│  a",
        "│  b",
        " × y",
        "",
    ]


def test_tree_of_a_long_history_is_no_deeper_than_a_short_one() -> None:
    lines = tree("5000", lambda id: [(str(int(id) - 1), "1")] if id != "0" else [], str)

    assert lines == [str(i) for i in range(5000, -1, -1)]
