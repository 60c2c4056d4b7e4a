"""Golden cases of golden.md 6.5, and early stops that decide as whole passes do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.learning.counts import Count, Counts, Metric, accuracy, macro, micro
from wvc.learning.selection import Selection, Tie, Verdict, best_first, can_still_win, greedy, is_accepted, verdict

AVERAGES = {"AB": ".80", "AC": ".79", "AD": ".805", "ABC": ".82", "ABD": ".79", "ACD": ".70", "ABCD": ".82"}


def table(models: Sequence[str], bar: Fraction) -> Verdict:
    return Verdict(Fraction(AVERAGES["".join(models)]))


def letters(tie: Tie) -> Selection[str]:
    scores = [Fraction(text) for text in (".80", ".80", ".78", ".75")]
    return greedy("ABCD", scores, "ABCD", table, tie=tie)


def test_greedy_keeps_ties_where_they_are_accepted() -> None:
    selection = letters("accept")

    assert selection.kept == ("A", "B", "C", "D")
    assert selection.score == Fraction(".82")
    assert [step.average for step in selection.trail] == [Fraction(x) for x in (".80", ".80", ".82", ".82")]


def test_greedy_drops_ties_where_they_are_rejected() -> None:
    selection = letters("reject")

    assert selection.kept == ("A", "D")
    assert selection.score == Fraction(".805")
    assert [step.accepted for step in selection.trail] == [True, False, False, True]
    assert [step.average for step in selection.trail] == [Fraction(x) for x in (".80", ".80", ".79", ".805")]


def test_the_best_comes_first_and_equals_by_key() -> None:
    scores = [Fraction(8, 10), Fraction(8, 10), Fraction(7, 10), Fraction(9, 10)]

    assert best_first(scores, ["m0", "m1", "m2", "m3"]) == [3, 0, 1, 2]
    assert best_first(scores, ["ff", "00", "11", "22"]) == [3, 1, 0, 2]


def test_the_first_is_not_evaluated_and_each_other_once() -> None:
    asked = []

    def evaluate(models: Sequence[str], bar: Fraction) -> Verdict:
        asked.append(("".join(models), bar))
        return table(models, bar)

    greedy("DCBA", [Fraction(x) for x in (".75", ".78", ".80", ".80")], "DCBA", evaluate, tie="reject")

    assert asked == [("AB", Fraction(".8")), ("AC", Fraction(".8")), ("AD", Fraction(".8"))]


def test_a_bound_is_never_accepted() -> None:
    scores = [Fraction(1, 2), Fraction(1, 2)]

    selection = greedy([0, 1], scores, ["a", "b"], lambda models, bar: Verdict(Fraction(1, 2), exact=False))

    assert selection.kept == (0,)
    assert not selection.trail[1].exact


def test_a_single_candidate_is_its_own_soup() -> None:
    selection = greedy(["only"], [Fraction(1, 3)], ["k"], table)

    assert selection.kept == ("only",)
    assert selection.score == Fraction(1, 3)


# Predict +1 if w.x > 0, else -1.
WEIGHTS = np.array([(0, -1, -2), (1, 2, 0), (4, -3, 1), (-3, -2, 0)])
XS = "3,1,-1 -3,1,1 1,-1,-2 1,-2,3 3,-3,-1 -1,1,1 -1,-3,3 -3,-1,1 -3,-2,-1 -3,-3,1"
X = np.array([[int(n) for n in row.split(",")] for row in XS.split()])
Y = np.array([-1, 1, 1, -1, -1, 1, 1, 1, 1, 1])


def share_right(scores: np.ndarray) -> Fraction:
    return Fraction(int((np.where(scores > 0, 1, -1) == Y).sum()), 10)


def soup(models: Sequence[int], bar: Fraction) -> Verdict:
    return Verdict(share_right(X @ WEIGHTS[list(models)].sum(axis=0)))


def ensemble(models: Sequence[int], bar: Fraction) -> Verdict:
    return Verdict(share_right(sum(X @ WEIGHTS[m] for m in models)))


@pytest.mark.parametrize("evaluate", [soup, ensemble])
def test_greedy_on_real_weights(evaluate: Callable[[Sequence[int], Fraction], Verdict]) -> None:
    singles = [share_right(X @ w) for w in WEIGHTS]

    selection = greedy(range(4), singles, "0123", evaluate, tie="accept")

    assert singles == [Fraction(n, 10) for n in (4, 3, 2, 8)]
    assert selection.kept == (3, 0, 1)
    assert selection.score == Fraction(8, 10)
    assert [step.average for step in selection.trail] == [Fraction(n, 10) for n in (8, 8, 8, 4)]
    assert np.allclose(WEIGHTS[[3, 0, 1]].mean(axis=0), (-2 / 3, -1 / 3, -2 / 3))


def test_macro_against_micro() -> None:
    counts = Counts({"small": Count(9, 10, 10), "large": Count(15, 30, 30)})

    assert macro(counts) == Fraction("0.70")
    assert micro(counts) == Fraction("0.60")


def passes(right: list[list[bool]], batch: int) -> list[Counts]:
    """The counts after every batch of a pass over domains of these images."""
    counts = {str(d): Count(0, 0, len(images)) for d, images in enumerate(right)}
    seen = []
    for d, images in enumerate(right):
        for start in range(0, len(images), batch):
            part, old = images[start : start + batch], counts[str(d)]
            counts[str(d)] = Count(old.right + sum(part), old.seen + len(part), old.total)
            seen.append(Counts(dict(counts)))
    return seen


@settings(deadline=None, derandomize=True)
@given(
    right=st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=3),
    batch=st.integers(1, 5),
    bar=st.fractions(0, 1, max_denominator=12),
    metric=st.sampled_from(["micro", "macro"]),
    tie=st.sampled_from(["accept", "reject"]),
)
def test_a_pass_that_stops_early_decides_as_a_whole_one(
    right: list[list[bool]], batch: int, bar: Fraction, metric: Metric, tie: Tie
) -> None:
    seen = passes(right, batch)
    truth = accuracy(seen[-1], metric)

    stop = next((c for c in seen if not can_still_win(c, bar, metric=metric, tie=tie)), seen[-1])
    found = verdict(stop, metric)

    assert found.score >= truth
    assert found.score == truth or not found.exact
    assert (found.exact and is_accepted(found.score, bar, tie)) == is_accepted(truth, bar, tie)
