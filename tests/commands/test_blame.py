from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..repo.histories import planted
from .conftest import Run, running


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Ids of three commits on main: c0 set all, c1 the head's bias, c2 the first layer."""
    plan = [
        ({"head.bias": 0, "head.weight": 0, "net.0.weight": 0}, []),
        ({"head.bias": 3, "head.weight": 0, "net.0.weight": 0}, [(0, "1")]),
        ({"head.bias": 3, "head.weight": 0, "net.0.weight": 4}, [(1, "1")]),
    ]
    _, made = planted(tmp_path / "models", plan)
    return [commit.id for commit in made]


@pytest.fixture
def blame(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """wvc in the repository of `models`."""
    yield from running(tmp_path / "models", capsys, monkeypatch)


def test_blame_has_a_line_for_each_tensor(blame: Run, models: list[str]) -> None:
    one, two, three = (id[:10] for id in models)

    assert blame("blame").splitlines() == [
        f"{two}  Ada  1970-01-01 00:01:00 +0000  c1  head.bias",
        f"{one}  Ada  1970-01-01 00:00:00 +0000  c0  head.weight",
        f"{three}  Ada  1970-01-01 00:02:00 +0000  c2  net.0.weight",
    ]


def test_blame_of_another_commit_and_of_some_tensors(blame: Run, models: list[str]) -> None:
    assert blame("blame", "HEAD~2", "--", "head.*", "net*").count(models[0][:10]) == 3
    assert [line.split()[-1] for line in blame("blame", "--", "*.weight").splitlines()] == [
        "head.weight",
        "net.0.weight",
    ]
    assert blame("blame", "--tensors", "*.weight") == blame("blame", "--", "*.weight")


def test_blame_by_layer(blame: Run) -> None:
    rows = [line.split()[-3:] for line in blame("blame", "--layers").splitlines()]

    assert rows == [["subject", "tensors", "layer"], ["c1", "1", "head"], ["c0", "1", "head"], ["c2", "1", "net.0"]]
    assert blame("blame", "HEAD~2", "--layers").splitlines()[1].split()[-3:] == ["c0", "2", "head"]


def test_blame_with_what_was_changed(blame: Run, models: list[str]) -> None:
    lines = [line.split() for line in blame("blame", "--stat").splitlines()]

    assert lines[0] == ["commit", "author", "date", "subject", "bytes", "L2", "share", "tensor"]
    assert [line[6:] for line in lines[1:4]] == [
        ["32", "B", "8.485", "100.0", "%", "head.bias"],
        ["32", "B", "head.weight"],
        ["32", "B", "11.31", "100.0", "%", "net.0.weight"],
    ]
    assert " ".join(lines[5]) == "commit set here bytes tensors changed numbers changed L2 relative"
    assert [line[0] for line in lines[6:]] == [models[2][:10], models[1][:10]]
    assert lines[6][1:] == ["1", "32", "B", "1", "100.0", "%", "11.31", "inf"]


def test_blame_sorted_by_change_has_the_largest_first_and_roots_last(blame: Run) -> None:
    lines = blame("blame", "--sort", "change").splitlines()

    assert [line.split()[-1] for line in lines[1:4]] == ["net.0.weight", "head.bias", "head.weight"]


def test_blame_as_json(blame: Run, models: list[str]) -> None:
    facts = json.loads(blame("blame", "--json"))
    measured = json.loads(blame("blame", "--stat", "--json", "--", "net.*"))

    assert [(t["name"], t["commit"]) for t in facts["tensors"]] == [
        ("head.bias", models[1]), ("head.weight", models[0]), ("net.0.weight", models[2]),
    ]  # fmt: skip
    assert {c["id"] for c in facts["commits"]} == set(models)
    assert "totals" not in facts and "share" not in facts["tensors"][0]
    (tensor,) = measured["tensors"]
    assert (tensor["dtype"], tensor["shape"], tensor["bytes"], tensor["share"]) == ("F32", [8], 32, 1)
    assert tensor["change"]["l2"] == pytest.approx(8**0.5 * 4)
    assert [(t["commit"]["id"], t["source"], t["tensors"]) for t in measured["totals"]] == [(models[2], models[1], 1)]


def test_blame_of_a_name_that_does_not_exist(blame: Run) -> None:
    code, out, err = blame.all("blame", "--", "head.wieght")

    assert (code, out) == (1, "")
    assert err.startswith("error: no tensor is called 'head.wieght'\nhint: did you mean 'head.weight' or ")


@pytest.mark.parametrize("word", ["head.*", "head"])
def test_blame_of_a_tensor_in_place_of_a_revision_says_where_tensors_stand(blame: Run, word: str) -> None:
    code, _, err = blame.all("blame", word)

    assert code == 1
    assert err == f"error: unknown revision '{word}'\nhint: tensors are called so: `wvc blame -- 'head.*'`\n"


def test_blame_sorted_by_nothing_known_is_wrong_usage(blame: Run) -> None:
    assert blame.all("blame", "--sort", "luck")[0] == 2


def test_blame_of_strangers_cannot_touch_the_terminal(run_hostile: Run) -> None:
    out = run_hostile("blame")

    assert not set(out) & set("\x1b\x9b\u202e")
    assert out.count("\n") == 1
