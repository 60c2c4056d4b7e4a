from __future__ import annotations

import json

from .conftest import Run, Zoo


def test_reflog_has_the_newest_first_in_words_that_a_revision_understands(run: Run, zoo: Zoo) -> None:
    run("reset", "soup")

    lines = run("reflog").splitlines()

    assert [line.split()[:2] for line in lines] == [
        [zoo.names["soup"][:10], "main@{0}"],
        [zoo.names["base"][:10], "main@{1}"],
    ]
    assert lines[0].endswith(": reset: to soup")


def test_reflog_outlives_its_branch(run: Run, zoo: Zoo) -> None:
    run("branch", "-d", "soup")

    shown = json.loads(run("reflog", "soup", "--json"))

    assert [line["new"] for line in shown] == [None, zoo.names["soup"]]
    assert run("reflog", "soup").startswith("deleted")


def test_reflog_of_nothing(run: Run) -> None:
    assert run.all("reflog", "nothing")[0] == 1
