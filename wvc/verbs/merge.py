"""Blend models into one, all of them or those that a validation set accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from wvc.errors import MergeProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo.graph import Graph
from wvc.repo.objects import Attachment, Commit, Manifest, Parent
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import candidates, choose, ingredients, origin, sides
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context, history
from wvc.verbs.eval import Evaluation
from wvc.verbs.judge import Judge, judge_of
from wvc.verbs.mix import Mix, record, shared_context
from wvc.verbs.strategy import Strategy, named
from wvc.verbs.terms import Blending, Options, Outcome, Point, Row
from wvc.weights import Weights


@dataclass(frozen=True)
class Share:
    """One model and its stated coefficient."""

    candidate: Candidate
    coefficient: Fraction

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.candidate.commit.id,
            "weights": self.candidate.key,
            "name": self.candidate.name,
            "coefficient": str(self.coefficient),
        }


@dataclass(frozen=True)
class Merged:
    """What a merge came to.

    commit: None for a dry run. forward: the branch only moved. strategy: by name.
    rows: in the order of the decisions. metric: of their accuracies, None where nothing is decided.
    shares: in the order in which the models were named, where the coefficients are stated.
    head: the name of the model whose head the result has, where only featurizers are averaged, else None.
    test: how the result does on the test domains, where that was asked for.
    curve: the points that were tried between two models.
    """

    commit: Commit | None
    forward: bool
    rows: tuple[Row, ...]
    metric: str | None
    notes: tuple[str, ...]
    shares: tuple[Share, ...] = ()
    head: str | None = None
    strategy: str = "linear"
    test: Evaluation | None = None
    curve: tuple[Point, ...] = ()

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.commit.id if self.commit else None,
            "fast_forward": self.forward,
            "strategy": self.strategy,
            "metric": self.metric,
            "candidates": [row.json() for row in self.rows],
            "coefficients": [share.json() for share in self.shares],
            "head": self.head,
            "notes": list(self.notes),
            "test": None if self.test is None else self.test.json(),
            **({"curve": [point.json() for point in self.curve]} if self.curve else {}),
        }


def merge(repository: Repository, patterns: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    """Blend `patterns` into HEAD and commit.

    Raises MergeProblem, TaskProblem, UsageError, UnknownRevision, RefMoved.
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    strategy = named(options.strategy or "linear", options.given)  # an unknown one is refused before any work
    select = choose.selected(options)
    _check(options, strategy, select)
    field = candidates.gather(
        repository,
        patterns,
        with_head=options.with_head,
        allow_unrelated=options.allow_unrelated,
        featurizer_only=options.featurizer_only,
        apart=strategy.name == "linear" and not options.pairwise,
    )
    if field.forward is not None and options.fast_forward and strategy.name in ("linear", "three-way"):
        return _forward(repository, field.head, field.forward, options)
    maker = _maker(repository, field, strategy, options, select)
    maker.mix(field.candidates).weights(repository)  # reads no weights yet, but refuses what the strategy cannot do
    field = replace(field, contexts=(*field.contexts, *maker.contexts(repository)))
    judge = judge_of(repository, field, options, progress)
    outcome = choose.choose(field, judge, options, maker.mix)
    mix, apart = maker.final(repository, outcome)
    notes = (*maker.notes, *mix.notes(), *maker.warnings(repository, mix))
    head = maker.first.name if options.featurizer_only and maker.first is not None else None
    made = Merged(None, False, outcome.rows, options.metric, notes, head=head, strategy=mix.strategy.name)
    if options.dry_run:
        return made
    commit, more = _commit(repository, field, mix, apart, outcome, options, judge, progress)
    return replace(made, commit=commit, notes=(*notes, *more), test=sides.report(repository, commit, options, progress))


def _check(options: Options, strategy: Strategy, select: str) -> None:
    """Raises UsageError for what does not go together."""
    if options.featurizer_only and (options.task is not None or select != "all"):
        raise UsageError(
            "an average of featurizers has no head of its own to validate",
            "leave out --task and --select, and validate what is fine-tuned from it",
        )
    if select in ("learned", "greedy-replacement") and strategy.name != "linear":
        raise UsageError(
            f"{select} selection finds coefficients of a sum, so it does not go with {strategy.name}",
            "use --strategy linear, or --select greedy",
        )
    if select == "learned" and options.buffers != "average":
        raise UsageError("coefficients are learned with averaged statistics", "leave --buffers out")
    if strategy.name == "three-way" and select != "all":
        raise UsageError("a three-way merge leaves nothing to select", "use --select all")
    if options.order != "val" and select not in ("greedy", "greedy-ensemble"):
        raise UsageError("--order is for greedy selections", "leave it out, or add --select greedy")
    if options.explain and select not in ("greedy", "greedy-ensemble"):
        raise UsageError("--explain is for greedy selections", "leave it out, or add --select greedy")


@dataclass(frozen=True)
class _Maker:
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
        return self._of(tuple(distinct), people[0])

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

    def _of(self, models: tuple[Candidate, ...], first: Candidate) -> Mix:
        options, alone = self.options, self.chosen and len(models) == 1
        return Mix(
            named("linear") if alone else self.strategy,
            models,
            self.first or first,
            base=None if alone else self.base,
            buffers=options.buffers,
            featurizer_only=options.featurizer_only,
            taken=self.taken,
        )


def _maker(repository: Repository, field: Field, strategy: Strategy, options: Options, select: str) -> _Maker:
    """Raises MergeProblem, UsageError."""
    first = field.first if options.featurizer_only else None
    taken = sides.taken(repository, field.head, [c for c in field.candidates if c.commit.id != field.head.id], options)
    base = None
    if strategy.needs_base:
        base = origin.base_of(
            repository, field.head, field.candidates, options.base, featurizer_only=options.featurizer_only
        )
    elif options.base is not None:
        raise UsageError(f"{strategy.name} counts no changes from a base", "leave --base out")
    whole = not options.featurizer_only
    made = _Maker(strategy, options, base, first, taken, exact=whole, chosen=select != "all")
    if options.strategy is None and select == "all" and len(field.candidates) > 1:
        return _disjoint(repository, field, made) or made
    return made


def _disjoint(repository: Repository, field: Field, maker: _Maker) -> _Maker | None:
    """A three-way merge instead of an average, where no tensor was changed by two models."""
    if not Graph(repository).bases([field.head.id, *(c.commit.id for c in field.candidates)]):
        return None
    try:
        base = origin.base_of(
            repository, field.head, field.candidates, None, featurizer_only=maker.options.featurizer_only
        )
    except MergeProblem:  # several bases, or one that is another model: then there is nothing to compare with
        return None
    changed = origin.changes(field.candidates, base, featurizer_only=maker.options.featurizer_only)
    if changed is None or len(set(changed.values())) < 2:
        return None
    note = "no tensor was changed by two models: each is taken as it was left (--strategy linear averages)"
    return replace(maker, strategy=named("three-way"), base=base, notes=(note,), exact=False)


def _forward(repository: Repository, head: Commit, commit: Commit, options: Options) -> Merged:
    if not options.dry_run:
        repository.record(
            None, [Move(repository.branch, head.id, commit.id)], f"merge: fast-forward to {commit.id[:12]}"
        )
    return Merged(commit, True, (), options.metric, ())


def _commit(
    repository: Repository,
    field: Field,
    mix: Mix,
    apart: Sequence[str],
    outcome: Outcome,
    options: Options,
    judge: Judge | None,
    progress: Progress,
) -> tuple[Commit, tuple[str, ...]]:
    """The commit, and what is to be said of it."""

    def said(manifest: Manifest, merged: Weights, commit: Commit) -> list[Attachment]:
        if judge is None:
            return []
        return [judge.score_of_average(manifest, merged, outcome).attachment(commit.id), *judge.new]

    head = mix.first.commit if mix.featurizer_only else None
    context = shared_context(field.contexts, head)
    merged, recalibrated, notes = sides.recalibrated(repository, mix, context, options, progress)
    how = {**_how(mix, outcome, options, judge, context), **recalibrated}
    names = ", ".join(c.name for c in outcome.kept)
    parents = parents_of(field.head, mix, {**field.merges, **dict.fromkeys(apart, ())})
    commit = record(repository, mix, merged, parents, options.message or f"merge {names}", how, progress, said)
    return commit, notes


def parents_of(head: Commit, mix: Mix, apart: Mapping[str, Sequence[str]]) -> list[Parent]:
    """HEAD first, with coefficient 0 unless it is averaged; then the ingredients; then merges that were taken apart.

    apart: merge -> ingredients, one of which must be there; none where all are.
    """
    shares = mix.parents
    parents = [Parent(head.id, shares.pop(head.id, Fraction(0)))]
    parents += [Parent(id, coefficient) for id, coefficient in shares.items()]
    kept = {parent.commit for parent in parents}
    some = [id for id, parts in apart.items() if id not in kept and (not parts or kept & set(parts))]
    return parents + [Parent(id, Fraction(0)) for id in some]


def _how(mix: Mix, outcome: Outcome, options: Options, judge: Judge | None, context: Context | None) -> dict[str, Any]:
    """What suffices to do it again. Who did not judge still passes on what the candidates were trained on."""
    how: dict[str, Any] = {
        **mix.how(),
        "select": outcome.select,
        "candidates": [row.json() for row in outcome.rows],
        **outcome.said,
    }
    if judge is not None:
        selecting = {"metric": options.metric, "tie": options.tie, "precision": options.precision}
        if options.order != "val":
            selecting |= {"order": options.order}
        how |= {**judge.how, **selecting, "device": str(judge.device)}
    elif context is not None:
        how |= context.json()
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    return how
