"""The blends that a selection tries: each candidate costs one addition and at most one pass over the images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from torch import Tensor

from wvc import architectures
from wvc.learning import selection
from wvc.learning.counts import Counts
from wvc.learning.mean import Mean
from wvc.learning.network import Network
from wvc.learning.selection import Tie, Verdict
from wvc.verbs.candidates import Candidate
from wvc.verbs.mix import Mix
from wvc.weights import Weights, one_thread

if TYPE_CHECKING:
    from wvc.verbs.judge import Judge

MixOf = Callable[[Sequence[Candidate]], Mix]


class Averages:
    """Blends of candidates, each measured once. A candidate may be there several times, and then weighs more."""

    def __init__(self, judge: Judge, mix_of: MixOf, tie: Tie | None = None) -> None:
        """mix_of: the mix of some candidates, the first gives what is not averaged. tie: None for the judge's."""
        self._judge, self._mix_of = judge, mix_of
        self._tie: Tie = tie or judge.options.tie
        self._means: dict[tuple[str, ...], Mean] = {}
        self.counts: dict[tuple[str, ...], Counts] = {}

    def evaluate(self, people: Sequence[Candidate], bar: Fraction | None) -> Verdict:
        """The score of the blend of `people`, or a bound below `bar` once it can no longer be accepted."""
        options, judge = self._judge.options, self._judge
        known = self.counts.get(key(people))
        if known is not None and known.complete:
            return selection.verdict(known, options.metric)
        if self._mix_of(people).is_one_model:
            return Verdict(judge.score(people[0]).by(options.metric))
        spec = people[0].manifest.spec
        assert spec is not None
        network = Network.of(architectures.load(spec, self.of(people)), spec)

        def keep_going(counts: Callable[[], Counts]) -> bool:
            return bar is None or selection.can_still_win(counts(), bar, metric=options.metric, tie=self._tie)

        counts, _ = judge.count(network, keep_going)
        self.counts[key(people)] = counts
        return selection.verdict(counts, options.metric)

    def of(self, people: Sequence[Candidate]) -> dict[str, Tensor]:
        """The blend of `people`."""
        mix = self._mix_of(people)
        if mix.strategy.name != "linear" or len(mix.models) == 1:
            with one_thread():
                return dict(mix.weights(self._judge.repository))
        own = mix.unblended(self._judge.repository)
        mean = self._mean(tuple(people)).weights()
        return {name: own[name].load() if name in own else tensor for name, tensor in mean.items()}

    def _mean(self, people: tuple[Candidate, ...]) -> Mean:
        """Only the mean of those kept is remembered: it is all that the next one needs."""
        known = key(people)
        if known not in self._means:
            before = self._mean(people[:-1]) if len(people) > 1 else Mean()
            kept = {known[:-1]: before} if len(people) > 1 else {}
            model = Weights.of(self._judge.repository, people[-1].manifest)
            self._means = {**kept, known: before.plus(model)}
        return self._means[known]


def key(people: Sequence[Candidate]) -> tuple[str, ...]:
    """What tells one blend from another."""
    return tuple(person.key for person in people)
