"""SWAD: which weights enter, by the cases of the papers' code and of the paper's rule."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
import torch

from wvc.errors import Diverged
from wvc.learning.swad import CodeSwad, PaperSwad
from wvc.learning.trajectory import Swad
from wvc.store.canonical import dumps

LOSSES = {
    "A": "1 .8 .6 .5 .45 .46 .47 .44 .5 .55 .58 .62 .65 .66 .67 .7 .72 .75",
    "C": ".5 .6 .7 .55 .52 .51 .53 .5 .54 .56",
    "D": ".9 .8 .7 .6 .5 .4",
    "E": "1 .2 .9 .95 .9 .92 .93 .94 .95",
    "G": "1 .7 .6 .5 .45 .4 .41 .42 .43 .44 .45 .46 .47 .6 .7 .8 .9 .9 .9",
}
CODE = {
    "A": {4: "1/4", **dict.fromkeys(range(5, 11), "1/8")},
    "C": {0: "3/14", 1: "2/14", 2: "2/14", **dict.fromkeys(range(3, 10), "1/14")},
    "D": {5: "1"},
    "E": {1: "1"},
    "G": {4: "1/10", 5: "1/5", **dict.fromkeys(range(6, 13), "1/10")},
}
PAPER = {"A": (4, 10), "C": (0, 9), "D": (0, 5), "E": (1, 1), "G": (5, 12)}
DEATHS = {"A": 16, "C": None, "D": None, "E": 7, "G": 18}
THRESHOLDS = {"A": 0.598, "C": 0.78, "D": None, "E": 0.8883333, "G": 0.533}


def losses(case: str) -> list[float]:
    return [float(text) for text in LOSSES[case].split()]


def unit(i: int, n: int) -> dict[str, torch.Tensor]:
    return {"w": torch.eye(n)[i]}


def fed(average, values, *, per_segment: int = 1):
    """Iterate number i is unit vector i, so the average shows the share of each; the evaluation that ended it."""
    n = per_segment * len(values)
    for i, loss in enumerate(values):
        for j in range(per_segment):
            average.updated(unit(i * per_segment + j, n))
        average.evaluated(unit((i + 1) * per_segment - 1, n), loss)
        if average.is_over:
            return i
    return None


def new(form: type, case: str = "A", per_segment: int = 1):
    return form(Swad(tolerance=0.3), unit(0, per_segment * len(losses(case))))


@pytest.mark.parametrize("case", LOSSES)
def test_code_averages_segments(case) -> None:
    average = new(CodeSwad, case)

    death = fed(average, losses(case))

    expected = torch.zeros(len(losses(case)))
    for i, share in CODE[case].items():
        expected[i] = float(Fraction(share))
    torch.testing.assert_close(average.final().tensors["w"], expected)
    assert death == DEATHS[case]
    assert average.final().step == max(CODE[case])


@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("per_segment", [1, 3])
def test_paper_averages_all_weights_between_two_evaluations(case, per_segment) -> None:
    average = new(PaperSwad, case, per_segment)

    death = fed(average, losses(case), per_segment=per_segment)

    first, last = ((i + 1) * per_segment - 1 for i in PAPER[case])
    first = 0 if case == "D" else first  # never converged: everything
    expected = torch.zeros(per_segment * len(losses(case)))
    expected[first : last + 1] = 1 / (last + 1 - first)
    torch.testing.assert_close(average.final().tensors["w"], expected)
    assert death == DEATHS[case]
    assert average.final().step == last


@pytest.mark.parametrize("form", [CodeSwad, PaperSwad])
@pytest.mark.parametrize("case", LOSSES)
def test_the_threshold_is_a_share_above_the_mean_at_convergence(form, case) -> None:
    average = new(form, case)

    fed(average, losses(case))

    expected = float("inf") if THRESHOLDS[case] is None else pytest.approx(THRESHOLDS[case])
    assert float(average.facts()["threshold"]) == expected


def test_a_segment_of_the_code_is_the_mean_of_its_weights() -> None:
    average = new(CodeSwad, "A", 2)

    fed(average, losses("A"), per_segment=2)

    shares = average.final().tensors["w"]
    assert shares[8:10].tolist() == [0.125, 0.125]
    assert shares[10].item() == 0.0625


def test_the_code_with_as_many_evaluations_for_the_end_as_for_the_start_begins_after_the_lowest() -> None:
    average = CodeSwad(Swad(converge=2, tolerate=2, tolerance=0.3), unit(0, 5))

    fed(average, [0.5, 0.4, 0.5, 0.45, 0.5])  # converged at 2, the lowest at 1; each later one adds the one before

    assert average.final().tensors["w"].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("form", [CodeSwad, PaperSwad])
@pytest.mark.parametrize("case", LOSSES)
@pytest.mark.parametrize("cut", [0, 1, 2, 3, 7])
def test_taken_up_after_any_evaluation_it_is_the_same(form, case, cut) -> None:
    whole, values = new(form, case, 2), losses(case)
    n = 2 * len(values)
    fed(whole, values, per_segment=2)

    part = new(form, case, 2)
    for i, loss in enumerate(values):
        for j in range(2):
            part.updated(unit(2 * i + j, n))
        if i == cut:  # between an update and its evaluation
            other = new(form, case, 2)
            other.restore(part.tensors(), json.loads(dumps(part.facts())))
            part = other
        part.evaluated(unit(2 * i + 1, n), loss)
        if part.is_over:
            break

    assert torch.equal(part.final().tensors["w"], whole.final().tensors["w"])
    assert part.facts() == whole.facts()


@pytest.mark.parametrize("form", [CodeSwad, PaperSwad])
def test_a_loss_that_is_no_number_ends_it(form) -> None:
    average = new(form)

    with pytest.raises(Diverged, match="validation loss"):
        fed(average, [0.5, float("nan")])


@pytest.mark.parametrize("form", [CodeSwad, PaperSwad])
def test_before_the_first_evaluation_there_is_nothing(form) -> None:
    assert new(form).final() is None
