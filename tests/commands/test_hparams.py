from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from wvc.learning.hparams import draw

from .conftest import Run, running


@pytest.fixture
def anywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """wvc in an empty folder."""
    (tmp_path / "empty").mkdir()
    yield from running(tmp_path / "empty", capsys, monkeypatch)


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_hparams_shows_the_defaults_of_seed_0(anywhere: Run) -> None:
    shown = cells(anywhere("hparams"))

    assert shown[:4] == [["learning", "rate", "5e-05"], ["batch", "size", "32"], ["weight", "decay", "0"],
                         ["dropout", "0"]]  # fmt: skip
    assert not any(line[0] in ("clip", "epochs", "seed", "augmentation", "randaugment") for line in shown)


def test_hparams_shows_all_digits_of_one_draw(anywhere: Run) -> None:
    shown = cells(anywhere("hparams", "--space", "domainbed", "--seed", "1"))

    assert shown[:3] == [["learning", "rate", "2.7028930742148706e-05"], ["batch", "size", "39"],
                         ["weight", "decay", "0.00044832883881609976"]]  # fmt: skip


def test_a_list_has_what_differs_in_columns_and_the_rest_below(anywhere: Run) -> None:
    head, first, second, *rest, last, same = cells(anywhere("hparams", "--list"))

    assert head == ["h", "lr", "weight", "decay", "dropout"]
    assert first == ["0", "5e-05", "0", "0"]
    assert second == ["1", "3e-05", "0.0001", "0.5"]
    assert last == ["19", "3e-05", "1e-06", "0"]
    assert len(rest) == 17
    assert " ".join(same).startswith("all: batch size 32, optimizer adam, schedule constant")


def test_a_grid_is_listed_whole(anywhere: Run) -> None:
    shown = cells(anywhere("hparams", "--list", "--space", "soups-standard"))

    assert [line[0] for line in shown[1:-1]] == [str(h) for h in range(48)]
    assert shown[9:13] == [
        ["8", "3e-05", "strong", "0", "n2", "m15", "0"],
        ["9", "3e-05", "strong", "0", "n2", "m15", "1"],
        ["10", "3e-05", "strong", "0.5", "n2", "m15", "0"],
        ["11", "3e-05", "strong", "0.5", "n2", "m15", "1"],
    ]


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        (["--count", "3"], [0, 1, 2]),
        (["--seed", "5", "--count", "2", "--space", "soups-random"], [5, 6]),
        (["--seed", "46", "--space", "soups-extreme"], [46, 47]),
        (["--seed", "46", "--count", "9", "--space", "soups-extreme"], [46, 47]),
        (["--seed", "47", "--space", "soups-extreme"], [47]),
    ],
)
def test_which_seeds_are_listed(arguments: list[str], seeds: list[int], anywhere: Run) -> None:
    shown = json.loads(anywhere("hparams", "--list", "--json", *arguments))

    assert [entry["hparams_seed"] for entry in shown] == seeds


def test_json_has_every_hyperparameter(anywhere: Run) -> None:
    arguments = ["--json", "--seed", "4", "--trial-seed", "1", "--space", "soups-random"]

    shown = json.loads(anywhere("hparams", *arguments))

    drawn = asdict(draw(4, 1, "soups-random"))
    drawn["randaugment"] = drawn["randaugment"] and list(drawn["randaugment"])
    assert shown == {"hparams_seed": 4, "trial_seed": 1, "space": "soups-random", **drawn}
    assert json.loads(anywhere("hparams", "--list", *arguments))[0] == shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--space", "wild"], 1, "unknown space of hyperparameters 'wild'"),
        (["--space", "wild", "--list"], 1, "unknown space of hyperparameters 'wild'"),
        (["--space", "soups-extreme", "--seed", "48"], 1, "soups-extreme has no seed 48"),
        (["--space", "soups-extreme", "--seed", "99", "--list"], 1, "soups-extreme has no seed 99"),
        (["--count", "3"], 2, "--count is how many to list"),
    ],
)
def test_what_cannot_be_shown(arguments: list[str], code: int, message: str, anywhere: Run) -> None:
    found, out, err = anywhere.all("hparams", *arguments)

    assert (found, out, err.splitlines()[0]) == (code, "", f"error: {message}")
    assert len(err.splitlines()) == 2


def test_hparams_does_not_load_torch() -> None:
    watch = "import sys; from wvc import main; main.run(['hparams', '--list']); print('torch' in sys.modules)"

    made = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)

    assert made.stdout.splitlines()[-1] == "False"
