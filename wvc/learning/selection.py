"""Choose which models to average: numbers in, a choice out, with neither models nor torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Generic, Literal, TypeVar

from wvc.learning.counts import Counts, Metric, accuracy

T = TypeVar("T")
Tie = Literal["accept", "reject"]


@dataclass(frozen=True)
class Verdict:
    """What the evaluation of an average came to.

    score: accuracy of the average in [0, 1]; an upper bound of it, below what would be accepted, if not exact.
    exact: False where the evaluation stopped early, because the average could no longer be accepted.
    """

    score: Fraction
    exact: bool = True


@dataclass(frozen=True)
class Step(Generic[T]):
    """One candidate and what became of it.

    own: its own score.
    average: score of the average of it and the models kept before it, or an upper bound of that if not exact.
    round: of a selection with replacement, counted from 1; 0 for the model it starts from, and where there are none.
    """

    candidate: T
    own: Fraction
    average: Fraction
    exact: bool
    accepted: bool
    round: int = 0


@dataclass(frozen=True)
class Selection(Generic[T]):
    """What to average, and why.

    kept: as they were taken; with replacement, a model that was taken m times stands there m times.
    score: of their average. trail: one step per try, in order.
    """

    kept: tuple[T, ...]
    score: Fraction
    trail: tuple[Step[T], ...]


def best_first(scores: Sequence[Fraction], keys: Sequence[str]) -> list[int]:
    """Positions by descending score; among equal scores the smaller key comes first."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], keys[i]))


def greedy(
    candidates: Sequence[T],
    scores: Sequence[Fraction],
    keys: Sequence[str],
    evaluate: Callable[[Sequence[T], Fraction], Verdict],
    *,
    tie: Tie = "accept",
    order: Sequence[int] | None = None,
) -> Selection[T]:
    """Add the candidates one by one, best first, and keep each that the average is no worse for.

    scores: of the candidates alone, measured as `evaluate` measures. The best is taken unseen, its score is the bar.
    keys: settle the order among equal scores, smaller first (ids of the weights).
    evaluate: gets the models to average, the new one last, and the bar; asked once for each candidate but the first.
    tie: "accept" keeps a candidate at score >= bar (Rame et al. 2023), "reject" at > bar (Wortsman et al. 2022).
    order: positions of the candidates to go through, at least one, instead of best first. The first of them is taken
    unseen too, even if it is bad: so Wortsman et al. have it in their table 3.
    At least one candidate. Procedure: Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482, Recipe 1.
    """
    first, *others = best_first(scores, keys) if order is None else order
    kept, bar = [candidates[first]], scores[first]
    trail = [Step(candidates[first], bar, bar, exact=True, accepted=True)]
    for i in others:
        verdict = evaluate([*kept, candidates[i]], bar)
        accepted = verdict.exact and is_accepted(verdict.score, bar, tie)
        trail.append(Step(candidates[i], scores[i], verdict.score, verdict.exact, accepted))
        if accepted:
            kept.append(candidates[i])
            bar = verdict.score
    return Selection(tuple(kept), bar, tuple(trail))


def with_replacement(
    candidates: Sequence[T],
    scores: Sequence[Fraction],
    keys: Sequence[str],
    evaluate: Callable[[Sequence[T], Fraction], Verdict],
    *,
    rounds: int,
) -> Selection[T]:
    """Start from the best; in each round try every candidate once more and add the one that the average is best with.

    It ends after a round in which no average was strictly better than before, or after `rounds` of them. A model that
    is kept again weighs more. Among equal averages the candidate that comes first, best first, is added.
    scores, keys: as for `greedy`.
    evaluate: gets the models to average, the new one last, and the bar: the best score so far, in this round too, below
    or at which it may stop early.
    At least one candidate. Wortsman et al., Model soups, 2022, https://arxiv.org/abs/2203.05482, appendix I, name the
    procedure; the rounds and the ties are ours.
    """
    ranking = best_first(scores, keys)
    kept, bar = [candidates[ranking[0]]], scores[ranking[0]]
    trail = [Step(kept[0], bar, bar, exact=True, accepted=True)]
    for number in range(1, rounds + 1):
        tries: list[Step[T]] = []
        winner = None
        for i in ranking:
            verdict = evaluate([*kept, candidates[i]], bar)
            if verdict.exact and is_accepted(verdict.score, bar, "reject"):
                winner, bar = len(tries), verdict.score
            tries.append(Step(candidates[i], scores[i], verdict.score, verdict.exact, accepted=False, round=number))
        if winner is None:
            trail += tries
            break
        tries[winner] = replace(tries[winner], accepted=True)
        kept.append(tries[winner].candidate)
        trail += tries
    return Selection(tuple(kept), bar, tuple(trail))


def is_accepted(score: Fraction, bar: Fraction, tie: Tie) -> bool:
    """score >= bar if ties are accepted, score > bar if not."""
    return score >= bar if tie == "accept" else score > bar


def can_still_win(counts: Counts, bar: Fraction, *, metric: Metric, tie: Tie) -> bool:
    """True while the average would be accepted if every image not yet seen were right; exact, no rounding."""
    return is_accepted(accuracy(counts.unseen_right, metric), bar, tie)


def verdict(counts: Counts, metric: Metric) -> Verdict:
    """The score of a complete pass, or the upper bound that ended it early."""
    return Verdict(accuracy(counts.unseen_right, metric), exact=counts.complete)
