"""Choose which candidates are blended, and how much of each: the selections of `merge`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wvc.learning import selection
from wvc.learning.counts import Count, Counts, accuracy
from wvc.learning.ensemble import Ensemble
from wvc.learning.learned import Settings, learn
from wvc.learning.mixture import Granularity
from wvc.learning.selection import Selection, Verdict
from wvc.repo.objects import ModelSpec
from wvc.verbs import logits, scoring
from wvc.verbs.averages import Averages, MixOf, key
from wvc.verbs.candidates import Candidate
from wvc.verbs.explain import explained
from wvc.verbs.judge import Judge
from wvc.verbs.terms import Outcome, Row

Choice = Callable[[Judge, MixOf], Outcome]


def choose(judge: Judge, mix_of: MixOf) -> Outcome:
    """Which of the candidates are blended. mix_of: how some of them are. Raises MergeProblem."""
    return CHOICES[judge.options.selection](judge, mix_of)


def everybody(judge: Judge, mix_of: MixOf) -> Outcome:
    """All are in; the scores are for the record."""
    people = judge.among.candidates
    rows = tuple(Row(c, judge.score(c).by(judge.options.metric), None, True, True) for c in people)
    return Outcome("all", rows, people)


def greedy(judge: Judge, mix_of: MixOf) -> Outcome:
    """The blend of the first candidate and of those that do not make it worse."""
    people, options = judge.among.candidates, judge.options
    averages = Averages(judge, mix_of)
    found: Selection[Candidate] = selection.greedy(
        people, _own(judge, averages), [c.key for c in people], averages.evaluate, tie=options.tie, order=order(judge)
    )
    outcome = _outcome("greedy", found, averages)
    return replace(outcome, rows=explained(judge, averages, outcome.rows)) if options.explain else outcome


def with_replacement(judge: Judge, mix_of: MixOf) -> Outcome:
    """The same, but whoever is in may come in again: the best of all is added until none makes it better."""
    people = judge.among.candidates
    averages = Averages(judge, mix_of, tie="reject")
    found: Selection[Candidate] = selection.with_replacement(
        people, _own(judge, averages), [c.key for c in people], averages.evaluate, rounds=judge.options.rounds
    )
    times = {person.key: found.kept.count(person) for person in found.kept}
    outcome = _outcome("greedy-replacement", found, averages)
    return replace(outcome, shares=tuple(Fraction(times[person.key], len(found.kept)) for person in outcome.kept))


def by_ensemble(judge: Judge, mix_of: MixOf) -> Outcome:
    """Greedy on the ensemble's score: what the candidates say is computed once, so that a try costs no pass."""
    people, options = judge.among.candidates, judge.options
    said = {person.key: said_by(judge, person) for person in people}
    own = [accuracy(_together(judge, [said[person.key]]), options.metric) for person in people]

    def evaluate(models: Sequence[Candidate], bar: Fraction) -> Verdict:
        return Verdict(accuracy(_together(judge, [said[model.key] for model in models]), options.metric))

    found: Selection[Candidate] = selection.greedy(
        people, own, [c.key for c in people], evaluate, tie=options.tie, order=order(judge)
    )
    rows = tuple(Row(step.candidate, step.own, step.average, step.exact, step.accepted) for step in found.trail)
    rows = explained(judge, Averages(judge, mix_of), rows) if options.explain else rows
    return Outcome("greedy-ensemble", rows, found.kept, said={"ensemble": str(found.score)})


def learned(judge: Judge, mix_of: MixOf) -> Outcome:
    """All candidates, with coefficients that minimise the validation loss of their sum."""
    people, options = judge.among.candidates, judge.options
    spec = scoring.spec_of(people[0].manifest)
    averages = Averages(judge, mix_of)
    models = [_by_network_name(spec, averages.of([person])) for person in people]
    settings = Settings(
        granularity=cast(Granularity, options.learning.per),
        learning_rate=options.learning.learning_rate,
        epochs=options.learning.epochs,
        batch_size=options.learning.batch_size,
        seed=options.seed,
        precision="bf16" if options.precision == "bf16" else "fp32",
    )
    network = scoring.network_of(judge.repository, people[0].manifest)
    found = learn(network, models, judge.validation, settings, device=judge.device, progress=judge.progress)
    layers = {_family_name(spec, name): found.coefficients[group] for name, group in found.groups.items()}
    shares = _mean_shares(people, layers)
    rows = tuple(
        Row(person, judge.score(person).by(options.metric), None, True, share > 0, coefficient=share)
        for person, share in zip(people, shares, strict=True)
    )
    said = {"learned": {**settings_json(settings), "temperature": repr(found.temperature)}}
    alike = len(found.coefficients) == 1
    return Outcome("learned", rows, people, shares, None if alike else layers, said=said)


def order(judge: Judge) -> list[int] | None:
    """Positions of the candidates as greedy goes through them; None for the best first. Raises MergeProblem."""
    people, options = judge.among.candidates, judge.options
    if options.order == "val":
        return None
    if options.order == "given":
        return sorted(range(len(people)), key=lambda i: judge.among.order.index(people[i].key))
    # A permutation that depends on seed and candidates alone, not on how they were named.
    drawn = [hashlib.sha256(f"{options.seed}:{person.key}".encode()).digest() for person in people]
    return sorted(range(len(people)), key=lambda i: drawn[i])


def _own(judge: Judge, averages: Averages) -> list[Fraction]:
    """How each candidate would do if it were kept alone."""
    return [averages.evaluate([candidate], None).score for candidate in judge.among.candidates]


def _outcome(select: str, found: Selection[Candidate], averages: Averages) -> Outcome:
    kept = tuple({person.key: person for person in found.kept}.values())
    return Outcome(
        select,
        _rows(found, averages.counts),
        kept,
        mean=averages.of(found.kept),
        counts=averages.counts.get(key(found.kept)),
    )


def _rows(found: Selection[Candidate], counts: Mapping[tuple[str, ...], Counts]) -> tuple[Row, ...]:
    """The decisions, with how far each pass went that ended early."""
    rows: list[Row] = []
    kept: list[Candidate] = []
    waiting: list[Candidate] = []  # accepted in a round that is not over
    before = 0
    for step in found.trail:
        if step.round != before or not step.round:
            kept, waiting, before = [*kept, *waiting], [], step.round
        seen = None if step.exact else _seen(counts[key([*kept, step.candidate])])
        rows.append(Row(step.candidate, step.own, step.average, step.exact, step.accepted, seen, step.round))
        waiting += [step.candidate] if step.accepted else []
    return tuple(rows)


def _seen(counts: Counts) -> tuple[int, int, int]:
    columns = [(count.right, count.seen, count.total) for count in counts.domains.values()]
    right, seen, total = (sum(column) for column in zip(*columns, strict=True))
    return right, seen, total


Said = dict[str, NDArray[np.float32]]  # domain -> (n, outputs)


def said_by(judge: Judge, candidate: Candidate) -> Said:
    """What a candidate says of the validation images, from the cache where it is there."""
    return dict(
        logits.of_model(
            judge.repository,
            candidate.manifest,
            judge.data,
            {"val": judge.validation},
            device=judge.device,
            precision=judge.options.precision,
            progress=judge.progress,
        )
    )


def _together(judge: Judge, models: Sequence[Said]) -> Counts:
    """How the ensemble of `models` does."""
    found = {}
    for domain, pixels in judge.validation.items():
        ensemble = Ensemble()
        for model in models:
            ensemble.add(model[domain])
        labels = pixels.labels[pixels.indices]
        right = int(np.count_nonzero(ensemble.decisions() == labels))
        found[domain] = Count(right, len(labels), len(labels))
    return Counts(found)


def settings_json(settings: Settings) -> dict[str, Any]:
    """As `how` has them."""
    return {
        "per": settings.granularity,
        "learning_rate": repr(settings.learning_rate),
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
    }


def _by_network_name(spec: ModelSpec, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that a Network gives them."""
    head = f"{spec.head}."
    return {
        "head." + name.removeprefix(head) if spec.is_head(name) else "featurizer." + name: weights[name]
        for name in weights
    }


def _family_name(spec: ModelSpec, name: str) -> str:
    """The reverse."""
    part, _, rest = name.partition(".")
    return f"{spec.head}.{rest}" if part == "head" else rest


def _mean_shares(people: Sequence[Candidate], layers: Mapping[str, tuple[Fraction, ...]]) -> tuple[Fraction, ...]:
    """What each candidate has of the whole: its coefficients, weighed by the numbers that they hold for."""
    sizes = {name: math.prod(people[0].manifest.by_name[name].shape) for name in layers}
    total = sum(sizes.values())
    return tuple(
        sum((shares[i] * sizes[name] for name, shares in layers.items()), Fraction(0)) / total
        for i in range(len(people))
    )


CHOICES: dict[str, Choice] = {
    "all": everybody,
    "greedy": greedy,
    "greedy-replacement": with_replacement,
    "greedy-ensemble": by_ensemble,
    "learned": learned,
}
