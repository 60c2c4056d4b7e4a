"""Averages along a run: the papers' numbers, what enters, what stays live."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from wvc.errors import UsageError
from wvc.learning.averages import EmaAverage, MaAverage, SwaAverage, floating, wearing
from wvc.learning.trajectory import Ema, Ma, Swa, Swad, chosen, from_json, settled, to_json
from wvc.store.canonical import dumps

POWERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def at(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([value])}


def followed(average, values):
    """What the average is after each of `values`; the live weights where it has nothing else to say."""
    found = []
    for value in values:
        average.updated(at(value))
        weights = average.weights()
        found.append(value if weights is None else weights["w"].item())
    return found


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("code", [1, 2, 3, 14 / 3, 7.5, 12.4]),
        ("diwa", [1, 2, 4, 16 / 3, 8, 12.8]),
        ("paper", [1, 2, 4, 6, 28 / 3, 15]),
    ],
)
def test_ma_in_all_its_forms(form, expected) -> None:
    average = MaAverage(Ma(start=3, form=form), at(0.0))

    assert followed(average, POWERS) == pytest.approx(expected)


def test_ma_from_the_first_update_on_counts_the_start() -> None:
    assert followed(MaAverage(Ma(start=1), at(0.0)), POWERS[:2]) == [0.5, 1.0]
    assert followed(MaAverage(Ma(start=1, form="paper"), at(0.0)), POWERS[:2]) == [1.0, 1.5]


def test_ema_begins_at_the_start() -> None:
    assert followed(EmaAverage(Ema(0.9), at(1.0)), (2, 3, 4)) == pytest.approx([1.1, 1.29, 1.561])


@pytest.mark.parametrize(("share", "expected"), [(0.0, 5.5), (0.7, 9.0), (0.6, 8.5), (0.9, 10.0)])
def test_swa_of_ten_epochs(share, expected) -> None:
    average = SwaAverage(Swa(every=1, share=share), at(0.0), steps=10)

    live = followed(average, range(1, 11))

    assert live == list(range(1, 11))
    assert average.final().tensors["w"].item() == expected
    assert average.final().step == 9


def test_swa_takes_a_snapshot_every_so_often() -> None:
    average = SwaAverage(settled(Swa(), 25, 0.3), at(0.0), steps=25)

    followed(average, range(1, 26))

    assert average.final().tensors["w"].item() == np.mean([18, 20, 22, 24])
    assert average.final().step == 23


def test_sums_are_exact_where_float32_would_stop_counting() -> None:
    average = MaAverage(Ma(start=1, form="paper"), at(0.0))

    followed(average, [2.0**24, *[1.0] * 1000])

    assert average.weights()["w"].item() == np.float32((2**24 + 1000) / 1001)


def test_integers_and_what_has_no_average_stay_live() -> None:
    state = {"w": torch.tensor([1.0]), "n": torch.tensor(5)}

    assert floating(state).keys() == {"w"}
    with wearing(state, at(3.0)):
        assert (state["w"].item(), state["n"].item()) == (3.0, 5)
    assert state["w"].item() == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_average_has_the_dtype_of_the_weights(dtype) -> None:
    average = EmaAverage(Ema(0.5), {"w": torch.ones(2, dtype=dtype)})

    average.updated({"w": torch.zeros(2, dtype=dtype)})

    assert average.weights()["w"].dtype == dtype
    assert {tensor.dtype for tensor in average.tensors().values()} == {torch.float64}


TRAJECTORIES = (Ema(0.999), Swa(every=7, share=0.25), Ma(start=5, form="diwa"), Swad("paper", 2, 4, 0.2))


@pytest.mark.parametrize("trajectory", [None, *TRAJECTORIES])
def test_a_trajectory_survives_json(trajectory) -> None:
    assert from_json(json.loads(dumps(to_json(trajectory)))) == trajectory


def test_reals_are_text() -> None:
    assert to_json(Ema(0.999)) == {"kind": "ema", "decay": "0.999"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"swa": False, "ema": None}, None),
        ({"ema": 0.0}, Ema(0.0)),
        ({"swa": True}, Swa()),
        ({"swa_from": 0.0}, Swa(share=0.0)),
        ({"ma": "paper", "ma_start": 3}, Ma(3, "paper")),
        ({"swad": "code", "swad_tolerance": 0.0}, Swad("code", tolerance=0.0)),
    ],
)
def test_options_choose_an_average(options, expected) -> None:
    assert chosen(options) == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ema": 0.9, "swa": True}, "--ema and --swa exclude"),
        ({"ma": "code", "swad_converge": 2}, "--ma and --swad exclude"),
        ({"ma_start": 3}, "--ma-start needs --ma"),
        ({"swad_tolerance": 0.1}, "--swad-tolerance needs --swad"),
        ({"ema": 1.0}, "not a decay"),
        ({"ema": float("nan")}, "not a decay"),
        ({"ma": "swad"}, "not one of code, paper, diwa"),
        ({"ma": "code", "ma_start": 0}, "too early"),
        ({"swad": "diwa"}, "not one of code, paper"),
        ({"swad": "code", "swad_converge": 0}, "too small"),
        ({"swad": "code", "swad_tolerate": 2}, "below --swad-converge"),
        ({"swad": "code", "swad_tolerance": -0.1}, "negative"),
        ({"swa_from": 1.0}, "not a share"),
        ({"swa_every": 0}, "too small"),
    ],
)
def test_options_that_make_no_average_are_refused(options, text) -> None:
    with pytest.raises(UsageError, match=text):
        chosen(options)


def test_what_is_left_open_follows_from_the_run() -> None:
    assert settled(Swa(), 5001, 0.3) == Swa(every=500)
    assert settled(Swad(), 5001, 0.2) == Swad(tolerance=0.2)
    assert settled(Swad(tolerance=0.0), 5001, 0.2) == Swad(tolerance=0.0)
    assert settled(None, 5001, 0.3) is None
    with pytest.raises(UsageError, match="no snapshot"):
        settled(Swa(every=600), 1000, 0.3)
