"""How the candidates of a merge become a mix, whichever of them are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from wvc.errors import MergeProblem, UsageError
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.verbs import ingredients, origin, sides
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context, history
from wvc.verbs.mix import Mix
from wvc.verbs.strategy import Strategy, named
from wvc.verbs.terms import Blending, Options, Outcome


@dataclass(frozen=True)
class Maker:
    """How some of the candidates become a mix.

    chosen: by their scores: a candidate that is kept alone is then what was measured, and stays as it is.
    base: what changes are counted from, for strategies that do. first: gives its head, of featurizers only.
    taken: (glob, model) of tensors that are one side's own. exact: take sums apart into their ingredients.
    """

    strategy: Strategy
    options: Blending
    base: Candidate | None
    first: Candidate | None
    taken: tuple[tuple[str, Candidate], ...]
    notes: tuple[str, ...] = ()
    exact: bool = False
    chosen: bool = False

    def mix(self, people: Sequence[Candidate]) -> Mix:
        """Of some candidates, evenly; the first gives what is not averaged."""
        distinct = sorted({person.key: person for person in people}.values(), key=lambda c: c.key)
        alone = self.chosen and len(distinct) == 1
        return Mix(
            named("linear") if alone else self.strategy,
            tuple(distinct),
            self.first or people[0],
            base=None if alone else self.base,
            buffers=self.options.buffers,
            featurizer_only=self.options.featurizer_only,
            taken=self.taken,
        )

    def final(self, repository: Repository, outcome: Outcome) -> tuple[Mix, tuple[str, ...]]:
        """What is committed, and the merges that were taken apart for it."""
        mix = self.mix(outcome.kept)
        shares = outcome.shares or (Fraction(1, len(outcome.kept)),) * len(outcome.kept)
        if mix.strategy.name != "linear":
            return mix, ()
        if outcome.layers is not None or not self.exact:
            of = dict(zip((c.key for c in outcome.kept), shares, strict=True))
            layers = outcome.layers and {
                name: tuple(weights[[c.key for c in outcome.kept].index(m.key)] for m in mix.models)
                for name, weights in outcome.layers.items()
            }
            return replace(mix, coefficients=tuple(of[m.key] for m in mix.models), layers=layers), ()
        found = ingredients.of(repository, list(zip(outcome.kept, shares, strict=True)))
        return replace(mix, models=found.models, coefficients=found.coefficients), found.apart

    def contexts(self, repository: Repository) -> list[list[Context]]:
        """What else has a part in the result has seen, too."""
        others = [model for _, model in self.taken] + ([] if self.base is None else [self.base])
        return [history(repository, model.commit) for model in others]

    def warnings(self, repository: Repository, mix: Mix) -> tuple[str, ...]:
        """What may make the result worthless."""
        if self.options.featurizer_only or self.strategy.name == "three-way":
            return ()
        note = origin.strangers(repository, mix.models)
        return () if note is None else (note,)


def maker_of(repository: Repository, field: Field, strategy: Strategy, options: Options, select: str) -> Maker:
    """Raises MergeProblem, UsageError."""
    only = options.featurizer_only
    others = [c for c in field.candidates if c.commit.id != field.head.id]
    base = None
    if strategy.needs_base:
        base = origin.base_of(repository, field.head, field.candidates, options.base, featurizer_only=only)
    elif options.base is not None:
        raise UsageError(f"{strategy.name} counts no changes from a base", "leave --base out")
    made = Maker(
        strategy,
        options,
        base,
        field.first if only else None,
        sides.taken(repository, field.head, others, options),
        exact=not only,
        chosen=select != "all",
    )
    if options.strategy is None and select == "all" and len(field.candidates) > 1:
        made = _disjoint(repository, field, made) or made
    return replace(made, notes=(*made.notes, *_behind(repository, field, others)))


def _disjoint(repository: Repository, field: Field, maker: Maker) -> Maker | None:
    """A three-way merge instead of an average, where no tensor was changed by two models."""
    only = maker.options.featurizer_only
    if not Graph(repository).bases([field.head.id, *(c.commit.id for c in field.candidates)]):
        return None
    try:
        base = origin.base_of(repository, field.head, field.candidates, None, featurizer_only=only)
    except MergeProblem:  # several bases, or one that is another model: then there is nothing to compare with
        return None
    changed = origin.changes(field.candidates, base, featurizer_only=only)
    if changed is None or len(set(changed.values())) < 2:
        return None
    note = "no tensor was changed by two models: each is taken as it was left (--strategy linear averages)"
    return replace(maker, strategy=named("three-way"), base=base, notes=(note,), exact=False)


def _behind(repository: Repository, field: Field, others: Sequence[Candidate]) -> tuple[str, ...]:
    """A note on models that HEAD was made of: git would have nothing to do, an average goes back towards them."""
    if len(others) == len(field.candidates):
        return ()
    graph = Graph(repository)
    behind = [other.name for other in others if graph.is_ancestor(other.commit.id, field.head.id)]
    return (f"HEAD was made from {', '.join(behind[:3])}: an average goes back towards that",) if behind else ()
