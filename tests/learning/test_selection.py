"""Golden cases of golden.md 6.5, and early stops that decide as whole passes do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvc.learning.counts import Count, Counts, Metric, accuracy, macro, micro
from wvc.learning.hardest import Difficulty
from wvc.learning.pixels import Pixels
from wvc.learning.selection import (
    Selection,
    Tie,
    Verdict,
    best_first,
    can_still_win,
    greedy,
    is_accepted,
    verdict,
    with_replacement,
)

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


def test_another_order_keeps_its_first_even_if_it_is_bad() -> None:
    scores = [Fraction(text) for text in (".80", ".80", ".78", ".75")]
    averages = {"DB": ".60", "DC": ".75", "DCA": ".76"}

    selection = greedy(
        "ABCD", scores, "ABCD", lambda m, bar: Verdict(Fraction(averages["".join(m)])), order=[3, 1, 2, 0]
    )

    assert selection.kept == ("D", "C", "A")
    assert selection.score == Fraction(".76")
    assert [str(step.own) for step in selection.trail] == ["3/4", "4/5", "39/50", "4/5"]


# Averages by what is in them: letters in their order.
REPEATED = {"AA": ".6", "AB": ".7", "AC": ".7", "AAB": ".71", "ABB": ".72", "ABC": ".7"}
REPEATED |= {"AABB": ".72", "ABBB": ".5", "ABBC": ".72"}


def repeated(models: Sequence[str], bar: Fraction) -> Verdict:
    return Verdict(Fraction(REPEATED["".join(sorted(models))]))


def test_with_replacement_a_model_can_be_taken_twice_and_ties_go_to_the_earlier() -> None:
    scores = [Fraction(text) for text in (".6", ".5", ".4")]

    selection = with_replacement("ABC", scores, "ABC", repeated, rounds=9)

    assert selection.kept == ("A", "B", "B")
    assert selection.score == Fraction(".72")
    assert "".join(step.candidate for step in selection.trail) == "AABCABCABC"
    assert [step.round for step in selection.trail] == [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [i for i, step in enumerate(selection.trail) if step.accepted] == [0, 2, 5]


@pytest.mark.parametrize(("rounds", "kept"), [(0, "A"), (1, "AB"), (2, "ABB")])
def test_with_replacement_ends_after_its_rounds(rounds: int, kept: str) -> None:
    scores = [Fraction(text) for text in (".6", ".5", ".4")]

    selection = with_replacement("ABC", scores, "ABC", repeated, rounds=rounds)

    assert "".join(selection.kept) == kept
    assert len(selection.trail) == 1 + 3 * rounds


def test_with_replacement_asks_to_beat_the_best_of_the_round() -> None:
    bars: list[str] = []

    def evaluate(models: Sequence[str], bar: Fraction) -> Verdict:
        bars.append(f"{models[-1]} {float(bar)}")
        return Verdict(repeated(models, bar).score, exact=models[-1] != "B")  # a bound is never taken

    selection = with_replacement("ABC", [Fraction(text) for text in (".6", ".5", ".4")], "ABC", evaluate, rounds=1)

    assert bars == ["A 0.6", "B 0.6", "C 0.6"]
    assert selection.kept == ("A", "C")


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


class Instance:
    """Random linear models that answer -1 or +1 to random images of a few domains, and all that can be chosen."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.sizes = {str(d): int(n) for d, n in enumerate(random.integers(1, 9, random.integers(1, 4)))}
        models, images = random.integers(-2, 3, (int(random.integers(2, 5)), 3)), random.integers(-2, 3, (30, 3))
        truth = np.where(images @ random.integers(-2, 3, 3) + random.integers(-2, 3, 30) > 0, 1, -1)
        self.margins = (models @ images.T) * truth - (truth > 0) * 0.5  # (models, 30); the sum is positive if right
        self.metric: Metric = ("micro", "macro")[random.integers(2)]
        self.tie: Tie = ("accept", "reject")[random.integers(2)]
        self.batch = int(random.integers(1, 5))
        self.order = random.permutation(len(models)).tolist() if random.integers(2) else None
        self.keys = [str(key) for key in random.permutation(len(models))]
        self.difficulty: Difficulty | None = None
        self.known: dict[tuple[int, ...], dict[str, np.ndarray]] = {}

    def right(self, models: Sequence[int]) -> dict[str, np.ndarray]:
        key = tuple(sorted(models))
        if key not in self.known:
            hits, start = self.margins[list(models)].sum(axis=0) > 0, 0
            self.known[key] = {}
            for name, size in self.sizes.items():
                self.known[key][name], start = hits[start : start + size].astype(np.int8), start + size
        return self.known[key]

    def score(self, models: Sequence[int]) -> Fraction:
        shares = [(int(hits.sum()), len(hits)) for hits in self.right(models).values()]
        if self.metric == "micro":
            return Fraction(sum(n for n, _ in shares), sum(n for _, n in shares))
        return sum((Fraction(*share) for share in shares), Fraction(0)) / len(shares)

    def early(self, tie: Tie) -> Callable[[Sequence[int], Fraction], Verdict]:
        """An evaluation in batches that ends as soon as it may."""

        def evaluate(models: Sequence[int], bar: Fraction) -> Verdict:
            right = self.right(models)
            record = {name: np.full(n, -1, dtype=np.int8) for name, n in self.sizes.items()}
            domains = {name: Count(0, 0, n) for name, n in self.sizes.items()}
            for name, positions in self.batches():
                hits = record[name][positions] = right[name][positions]
                before = domains[name]
                domains[name] = Count(before.right + int(hits.sum()), before.seen + len(hits), before.total)
                if not can_still_win(Counts(domains), bar, metric=self.metric, tie=tie):
                    break
            if self.difficulty is not None:
                self.difficulty.add(record)
            return verdict(Counts(domains), self.metric)

        return evaluate

    def batches(self) -> list[tuple[str, np.ndarray]]:
        blank = {d: Pixels(np.zeros((n, 1, 1, 1), np.uint8), np.zeros(n, np.int64)) for d, n in self.sizes.items()}
        return (self.difficulty or Difficulty()).order(blank, self.batch)

    def hardest_first(self) -> None:
        self.difficulty = Difficulty(self.metric)
        for i in range(len(self.margins)):
            self.difficulty.add(self.right([i]))


def kept_greedily(instance: Instance, ranking: Sequence[int]) -> list[int]:
    kept = [ranking[0]]
    for i in ranking[1:]:
        new, old = instance.score([*kept, i]), instance.score(kept)
        if new > old or (new == old and instance.tie == "accept"):
            kept.append(i)
    return kept


def kept_with_replacement(instance: Instance, ranking: Sequence[int], rounds: int) -> list[int]:
    kept = [ranking[0]]
    for _ in range(rounds):
        best = max(ranking, key=lambda i: instance.score([*kept, i]))  # the first of equals
        if instance.score([*kept, best]) <= instance.score(kept):
            break
        kept.append(best)
    return kept


@pytest.mark.parametrize("hardest", [False, True])
@pytest.mark.parametrize("kind", ["greedy", "with replacement"])
def test_early_stops_choose_as_whole_passes_do(kind: str, hardest: bool, request: pytest.FixtureRequest) -> None:
    instances = 2500 if request.config.getoption("--long") else 400  # long: ten thousand of the four kinds
    stopped = 0
    for seed in range(instances):
        instance = Instance(seed)
        if hardest:
            instance.hardest_first()
        candidates = range(len(instance.margins))
        own = [instance.score([i]) for i in candidates]
        best = sorted(candidates, key=lambda i: (-own[i], instance.keys[i]))

        if kind == "greedy":
            ranking = instance.order or best
            expected = kept_greedily(instance, ranking)
            evaluate = instance.early(instance.tie)
            found = greedy(candidates, own, instance.keys, evaluate, tie=instance.tie, order=instance.order)
        else:
            expected = kept_with_replacement(instance, best, 2)
            found = with_replacement(candidates, own, instance.keys, instance.early("reject"), rounds=2)

        assert list(found.kept) == expected, seed
        assert found.score == instance.score(expected), seed
        stopped += sum(not step.exact for step in found.trail)
    assert stopped > instances / 2
