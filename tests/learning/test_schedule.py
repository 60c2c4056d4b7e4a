"""The learning rate of every step, against the formulas."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi

import pytest

from wvc.learning.schedule import learning_rate
from wvc.learning.settings import Settings
from wvc.learning.trajectory import Ema, Swad

TEN = Settings(steps=10, learning_rate=2.0)


def rates(settings: Settings) -> list[float]:
    return [learning_rate(settings, step) for step in range(settings.steps)]


def test_constant_is_what_was_given_bit_for_bit() -> None:
    assert rates(replace(TEN, learning_rate=5e-5)) == [5e-5] * 10


def test_cosine_falls_from_the_rate_to_nothing_at_the_step_after_the_last() -> None:
    assert rates(replace(TEN, schedule="cosine")) == pytest.approx([1 + cos(pi * s / 10) for s in range(10)])


def test_linear_falls_in_a_straight_line_to_nothing_at_the_step_after_the_last() -> None:
    assert rates(replace(TEN, schedule="linear")) == pytest.approx([2 - 0.2 * s for s in range(10)])


@pytest.mark.parametrize(
    ("schedule", "after"),
    [
        ("constant", [2, 2, 2, 2, 2, 2]),
        ("linear", [2, 10 / 6, 8 / 6, 1, 4 / 6, 2 / 6]),
        ("cosine", [1 + cos(pi * s / 6) for s in range(6)]),
    ],
)
def test_a_warm_up_rises_to_the_rate_before_the_schedule_begins(schedule, after) -> None:
    settings = replace(TEN, schedule=schedule, warmup_steps=4)

    assert rates(settings) == pytest.approx([0.5, 1.0, 1.5, 2.0, *after])


def test_wise_ft_of_its_own_code() -> None:
    settings = Settings(steps=3000, learning_rate=3e-5, schedule="cosine", warmup_steps=500)

    assert learning_rate(settings, 0) == 3e-5 / 500
    assert learning_rate(settings, 499) == learning_rate(settings, 500) == 3e-5
    assert learning_rate(settings, 1750) == pytest.approx(1.5e-5)
    assert learning_rate(settings, 2999) == pytest.approx(0.5 * (1 + cos(pi * 2499 / 2500)) * 3e-5)


def test_a_warm_up_longer_than_the_run_never_ends() -> None:
    assert rates(replace(TEN, schedule="cosine", warmup_steps=20)) == pytest.approx([(s + 1) / 10 for s in range(10)])


OLD = {
    **{"steps": 300, "evaluate_every": 60, "batch_size": 32, "learning_rate": "5e-05", "weight_decay": "0.0"},
    **{"dropout": "0.0", "freeze_steps": 0, "seed": 7, "precision": "fp32", "augmentation": "domainbed"},
    **{"only_head": False, "freeze_statistics": True, "deterministic": True},
}


def test_settings_of_older_commits_are_read() -> None:
    assert Settings.read(OLD) == Settings(steps=300, evaluate_every=60, seed=7)


@pytest.mark.parametrize("trajectory", [None, Ema(0.5), Swad(tolerance=0.2)])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_settings_survive_json_without_floats(trajectory, clip) -> None:
    settings = replace(TEN, trajectory=trajectory, clip=clip, label_smoothing=0.1, keep="last")

    value = settings.json()

    assert Settings.read(value) == settings
    assert not [item for item in (*value.values(), *(value["trajectory"] or {}).values()) if isinstance(item, float)]
