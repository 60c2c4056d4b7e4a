"""`wvc eval` of a commit and of an ensemble, as a user sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from wvc.repo.repository import Repository
from wvc.verbs import task
from wvc.verbs.import_ import Foundation
from wvc.verbs.init import create_random, init

from .conftest import Run, running


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """main and other: two networks that never saw the task digits, of two domains."""
    repository = init(tmp_path_factory.mktemp("eval") / "zoo", Foundation(architecture="digits_cnn", random=0))
    create_random(repository, "refs/heads/other", Foundation(architecture="digits_cnn", random=1))
    task.add(repository, "digits", None, "digits", {"rotations": [0, 30]})
    return repository


@pytest.fixture
def run(digits: Repository, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    yield from running(digits.path, capsys, monkeypatch)


def test_head_is_measured_where_nobody_is_named(run: Run):
    first, header, *rows = run("eval", "--task", "digits", "--no-record").splitlines()

    assert re.fullmatch(r"[0-9a-f]{10} on digits", first)
    assert header.split() == ["domain", "images", "right", "accuracy"]
    assert [row.split()[0] for row in rows] == ["0", "30", "pooled", "mean"]


def test_an_ensemble_shows_its_size_and_what_the_mean_is_of(run: Run):
    arguments = ("eval", "--ensemble", "main", "other", "--task", "digits")

    assert run(*arguments).splitlines()[0] == "ensemble of 2 models (logit) on digits"
    assert run(*arguments, "--space", "prob").splitlines()[0] == "ensemble of 2 models (prob) on digits"
    assert run("eval", "--ensemble", "--task", "digits").splitlines()[0] == "ensemble of 1 model (logit) on digits"


def test_the_larger_part_of_a_domain_held_out_is_not_called_training(run: Run):
    arguments = ("eval", "--ensemble", "main", "--task", "digits", "--test-domain", "0", "--split", "in")

    rows = run(*arguments).splitlines()[2:4]

    assert [re.split(r"  +", row)[1] for row in rows] == ["80 %", "training"]


def test_json_names_the_members(run: Run, digits: Repository):
    found = json.loads(run("eval", "--ensemble", "*", "--task", "digits", "--domain", "30", "--json"))

    assert {member["name"]: member["commit"] for member in found["members"]} == {
        "main": digits.refs["refs/heads/main"],
        "other": digits.refs["refs/heads/other"],
    }
    assert found["space"] == "logit"
    [score] = found["scores"]
    [(domain, right, total)] = score["domains"]
    assert (domain, total, score["accuracy"]) == ("30", 448, {"30": right / total})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("main", "other"), "eval measures one commit, not 2"),
        (("--space", "prob"), "--space is for ensembles"),
        (("--ensemble", "--space", "rank"), "--space rank is not one of logit, prob"),
        (("--split", "test"), "--split test is not one of val, in, all"),
        (("--precision", "fp8"), "--precision fp8 is not one of fp32, bf16"),
    ],
)
def test_wrong_usage_is_refused(run: Run, arguments: tuple[str, ...], message: str):
    code, out, err = run.all("eval", *arguments)

    assert (code, out) == (2, "")
    assert message in err
