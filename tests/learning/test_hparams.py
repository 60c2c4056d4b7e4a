"""Golden values of golden.md 6.2 and 6.3; the soups' spaces against plain NumPy and loops."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from wvc.errors import TrainingProblem
from wvc.learning.hparams import Hparams, draw, grid

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


@pytest.mark.parametrize("trial", [0, 1, 2])
def test_a_draw_does_not_depend_on_what_else_is_drawn(trial: int) -> None:
    spaces = [[draw(seed, trial, space) for seed in range(1, 20)] for space in ("mild", "domainbed", "eoa")]

    dropouts = [[drawn.dropout for drawn in space] for space in spaces]

    assert dropouts[0] == dropouts[1] == dropouts[2]


def md5(*args: object) -> int:
    return int(hashlib.md5(str(args).encode()).hexdigest(), 16) % 2**31


def soup(seed: int, trial: int) -> Hparams:
    """The random search of the soups, written again."""

    def random(name: str) -> np.random.RandomState:
        return np.random.RandomState(md5(md5(seed, trial), name))

    def half(name: str, high: float) -> float:
        generator = random(name)
        return 0.0 if generator.random_sample() < 0.5 else high * generator.random_sample()

    strong = random("minimal").randint(3) > 0
    return Hparams(
        learning_rate=10.0 ** (-6 + 2 * random("lr").random_sample()),
        batch_size=512,
        weight_decay=10.0 ** (-4 + 3.8 * random("weight_decay").random_sample()),
        optimizer="adamw",
        schedule="cosine",
        warmup_steps=500,
        clip=1.0,
        label_smoothing=half("label_smoothing", 0.25),
        augmentation="strong" if strong else "minimal",
        mixup=half("mixup", 0.9),
        randaugment=(random("randaugment_n").randint(3), random("randaugment_m").randint(21)) if strong else None,
        epochs=4 + random("epochs").randint(13),
    )


@pytest.mark.parametrize("trial", [0, 1])
def test_the_random_space_of_the_soups(trial: int) -> None:
    assert [draw(seed, trial, "soups-random") for seed in range(72)] == [soup(seed, trial) for seed in range(72)]


def test_the_random_space_of_the_soups_keeps_its_ranges_and_chances() -> None:
    drawn = [draw(seed, 0, "soups-random") for seed in range(600)]

    assert all(1e-6 <= d.learning_rate <= 1e-4 and 1e-4 <= d.weight_decay <= 10**-0.2 for d in drawn)
    assert all(d.label_smoothing <= 0.25 and d.mixup <= 0.9 for d in drawn)
    assert {d.epochs for d in drawn} == set(range(4, 17))
    assert {d.randaugment[0] for d in drawn if d.randaugment} == set(range(3))
    assert {d.randaugment[1] for d in drawn if d.randaugment} == set(range(21))
    assert sum(d.randaugment is None for d in drawn) / 600 == pytest.approx(1 / 3, abs=0.06)
    assert sum(d.label_smoothing == 0 for d in drawn) / 600 == pytest.approx(1 / 2, abs=0.06)
    assert sum(d.mixup == 0 for d in drawn) / 600 == pytest.approx(1 / 2, abs=0.06)


@pytest.mark.parametrize(
    ("space", "rates", "seeds"),
    [
        ("soups-standard", [3e-5, 2e-5, 1e-5, 3e-6], [0, 1]),
        ("soups-extreme", [3e-4, 1e-4, 3e-5, 2e-5, 1e-5, 3e-6, 1e-6, 1e-7], [0]),
    ],
)
def test_a_grid_has_48_points_in_the_order_of_its_lists(space: str, rates: list[float], seeds: list[int]) -> None:
    expected = []
    for rate in rates:
        for augmentation, setting in (("minimal", None), ("medium", None), ("strong", (2, 15))):
            for mixup in (0.0, 0.5):
                expected += [(rate, augmentation, setting, mixup, seed) for seed in seeds]

    points = grid(space)

    assert [(p.learning_rate, p.augmentation, p.randaugment, p.mixup, p.seed) for p in points] == expected
    assert len(set(points)) == len(points) == 48
    assert [draw(h, trial, space) for trial in (0, 2) for h in range(48)] == [*points, *points]


@pytest.mark.parametrize("space", ["soups-standard", "soups-extreme", "soups-random"])
def test_all_soups_are_trained_in_one_manner(space: str) -> None:
    drawn = draw(0, 0, space)

    assert (drawn.optimizer, drawn.schedule, drawn.warmup_steps, drawn.clip) == ("adamw", "cosine", 500, 1.0)
    assert (drawn.batch_size, drawn.dropout) == (512, 0.0)
    if space != "soups-random":
        assert (drawn.weight_decay, drawn.epochs, drawn.label_smoothing) == (0.1, 10, 0.0)


@pytest.mark.parametrize("place", [-1, 48])
def test_a_place_beyond_the_grid_is_an_error(place: int) -> None:
    with pytest.raises(TrainingProblem, match=f"soups-extreme has no seed {place}"):
        draw(place, space="soups-extreme")


def test_a_random_space_is_no_grid() -> None:
    with pytest.raises(TrainingProblem, match="unknown grid of hyperparameters 'mild'"):
        grid("mild")


def test_an_unknown_space_is_an_error() -> None:
    with pytest.raises(TrainingProblem, match="wild"):
        draw(1, space="wild")
