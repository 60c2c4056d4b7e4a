"""Golden values of golden.md 6.2 and 6.3."""

from __future__ import annotations

import pytest

from wvc.errors import TrainingProblem
from wvc.learning.hparams import Hparams, assignment, draw

DECAYS = {"a": 1e-4, "b": 1e-6}
MILD = {
    0: "3:a:.5 1:b:.5 3:b:0 1:b:0 3:a:.5 3:a:.1 1:a:.1 5:a:.1 5:b:.5 5:b:.5 5:b:0 3:a:.5 5:b:.5 5:b:0 3:a:0 1:a:.5 "
    "5:a:.1 5:b:0 3:b:0",
    1: "3:b:.5 3:b:.5 3:a:.1 3:a:0 3:b:.1 1:a:0 5:b:.5 5:a:0 1:a:.1 3:a:.5 5:b:.1 5:a:0 5:a:.5 1:b:.1 1:b:.5 1:a:0 "
    "5:b:0 5:a:.1 1:b:.5",
}


def mild(text: str) -> Hparams:
    rate, decay, dropout = text.split(":")
    return Hparams({"1": 1e-5, "3": 3e-5, "5": 5e-5}[rate], 32, DECAYS[decay], float(dropout))


@pytest.mark.parametrize("trial", [0, 1])
def test_the_mild_space(trial: int) -> None:
    assert [draw(seed, trial) for seed in range(1, 20)] == [mild(text) for text in MILD[trial].split()]


@pytest.mark.parametrize("trial", [0, 1, 2])
@pytest.mark.parametrize("space", ["mild", "domainbed", "eoa"])
def test_seed_0_is_not_random(trial: int, space: str) -> None:
    assert draw(0, trial, space) == Hparams(5e-5, 32, 0.0, 0.0)


def test_the_domainbed_space() -> None:
    assert [draw(seed, 0, "domainbed") for seed in range(1, 5)] == [
        Hparams(2.7028930742148706e-05, 39, 0.00044832883881609976, 0.5),
        Hparams(5.6841898471378446e-05, 25, 0.005100223533962902, 0.5),
        Hparams(6.801736841150391e-05, 34, 1.046949588651311e-05, 0.0),
        Hparams(3.1375153221880086e-05, 18, 6.326696718610415e-06, 0.0),
    ]


@pytest.mark.parametrize(
    ("trial", "decays"),
    [
        (0, [2.1173777150430677e-05, 7.14158493190615e-05]),
        (1, [1.4130576980010153e-06, 1.8814325274670064e-06]),
    ],
)
def test_the_space_of_ensembles_of_averages(trial: int, decays: list[float]) -> None:
    assert [draw(seed, trial, "eoa") for seed in (1, 2)] == [Hparams(5e-5, 32, decay, 0.5) for decay in decays]


def test_an_unknown_space_is_an_error() -> None:
    with pytest.raises(TrainingProblem, match="wild"):
        draw(1, space="wild")


def test_assignment_of_20_runs_to_4_pools_of_4() -> None:
    golden = "I 1,1 2,2 3,3 4,0 I 1,2 2,3 3,0 4,1 I 1,3 2,0 3,1 4,2 I 1,0 2,1 3,2 4,3"  # pools counted from 1

    starts = [assignment(h, [4, 4, 4, 4]) for h in range(20)]

    assert " ".join("I" if start is None else f"{start[0] + 1},{start[1]}" for start in starts) == golden


def test_assignment_without_pools_is_the_foundation() -> None:
    assert [assignment(h, []) for h in range(3)] == [None, None, None]


def test_assignment_to_an_empty_pool_is_an_error() -> None:
    with pytest.raises(TrainingProblem, match="pool 2"):
        assignment(2, [1, 0])
