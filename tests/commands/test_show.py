from __future__ import annotations

import json
import struct

import pytest

from wvc.repo.dtypes import decode
from wvc.repo.objects import Tensor
from wvc.repo.summary import Summary, summary

from .conftest import Run, Zoo


def test_show_has_all_facts_of_a_training(run: Run, zoo: Zoo) -> None:
    zoo.score("first", 3, 4)

    out = run("show", "run/0")

    assert out.splitlines() == [
        f"{zoo.names['first'][:10]} train (run/0)",
        "Ada, 2023-11-14 22:14:20 +0000",
        f"id {zoo.names['first']}",
        f"parent {zoo.names['base'][:10]} × 1",
        "",
        "    first",
        "",
        "plain tensors: 1 tensors, 4 numbers, 16 bytes",
        "score 75.0 % on val of split 0 (task ffffffffff): art 3/4",
        "test domains photo",
        "settings",
        "  learning rate 5e-05",
        "  steps 300",
        "task",
        "  fingerprint ffffffffff",
        "  name pacs",
        "history",
        "  step  domains    loss    score",
        "  100   art 30/40  0.1235  0.9123",
    ]


def test_show_has_the_candidates_of_a_merge_in_columns(run: Run) -> None:
    assert run("show", "soup").splitlines()[-4:] == [
        "candidates",
        "  name   accepted  score  seen",
        "  run/0  yes       9/10",
        "  run/1  no        8/10   40",
    ]


def test_show_json_is_the_commit_and_what_is_known_of_it(run: Run, zoo: Zoo) -> None:
    shown = json.loads(run("show", "soup", "--json"))

    assert shown["id"] == zoo.names["soup"]
    assert [parent["coefficient"] for parent in shown["parents"]] == ["0", "1/2", "1/2"]
    assert shown["model"] == {"tensors": 1, "parameters": 4, "bytes": 16, "spec": None}


def test_show_tensor_in_numbers(run: Run) -> None:
    shown = json.loads(run("show", "main:layer.weight", "--json"))

    assert (shown["dtype"], shown["shape"], shown["finite"]) == ("F32", [2, 2], 4)
    assert (shown["min"], shown["max"], shown["mean"]) == (0.0, 3.0, 1.5)
    assert shown["std"] == pytest.approx(1.25**0.5)
    assert shown["l2"] == pytest.approx(14**0.5)
    assert "mean 1.5" in run("show", ":layer.weight")


def test_show_of_an_unknown_tensor_names_a_near_one(run: Run) -> None:
    code, _, err = run.all("show", ":layer.weigth")

    assert (code, err) == (1, "error: there is no tensor 'layer.weigth'\nhint: did you mean 'layer.weight'?\n")


def test_show_of_strangers_cannot_touch_the_terminal(run_hostile: Run) -> None:
    out = run_hostile("show", "HEAD~1")

    assert not set(out) & set("\x1b\x9b\u202e")
    assert "score 90.0 %" in out  # the score that is none is left out


def test_summary_leaves_out_what_is_not_finite_and_says_so() -> None:
    data = memoryview(struct.pack("<4f", 1, float("nan"), float("inf"), 3))

    found = summary(Tensor("x", "F32", (4,), "0" * 64), data)

    assert (found.finite, found.min, found.max, found.mean) == (2, 1.0, 3.0, 2.0)


@pytest.mark.parametrize(("dtype", "size"), [("F32", 0), ("C64", 8), ("F4", 1)])
def test_summary_of_nothing_and_of_what_is_no_number(dtype: str, size: int) -> None:
    found = summary(Tensor("x", dtype, (size,), "0" * 64), memoryview(bytes(size)))

    assert found == Summary(
        "x", dtype, (size,), "0" * 64, size, finite=0 if decode(memoryview(b""), dtype) is not None else None
    )
