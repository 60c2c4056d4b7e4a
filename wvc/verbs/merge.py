"""Average models into one, all of them or those that a validation set accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

from wvc import plugins
from wvc.errors import MergeProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Attachment, Commit, Manifest, Parent
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import candidates
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context
from wvc.verbs.judge import Judge, Options, Outcome, Row, judge_of
from wvc.verbs.mix import Blend, Mix, record, shared_context
from wvc.weights import Weights


@dataclass(frozen=True)
class Share:
    """One model and its stated coefficient, in [0, 1]."""

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

    commit: None for a dry run. forward: the branch only moved.
    rows: in the order of the decisions. metric: of their accuracies, None where nothing is decided.
    shares: in the order in which the models were named, where the coefficients are stated.
    head: the name of the model whose head the result has, where only featurizers are averaged, else None.
    """

    commit: Commit | None
    forward: bool
    rows: tuple[Row, ...]
    metric: str | None
    notes: tuple[str, ...]
    shares: tuple[Share, ...] = ()
    head: str | None = None

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.commit.id if self.commit else None,
            "fast_forward": self.forward,
            "metric": self.metric,
            "candidates": [row.json() for row in self.rows],
            "coefficients": [share.json() for share in self.shares],
            "head": self.head,
            "notes": list(self.notes),
        }


def merge(repository: Repository, patterns: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    """Blend `patterns` into HEAD and commit.

    Raises MergeProblem, TaskProblem, UsageError, UnknownRevision, RefMoved.
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    blend = strategy_named(options.strategy)  # an unknown one is refused before any work
    if options.featurizer_only and (options.task is not None or options.select == "greedy"):
        raise UsageError(
            "an average of featurizers has no head of its own to validate",
            "leave out --task and --select greedy, and validate what is fine-tuned from it",
        )
    field = candidates.gather(
        repository,
        patterns,
        with_head=options.with_head,
        allow_unrelated=options.allow_unrelated,
        featurizer_only=options.featurizer_only,
    )
    if field.forward is not None and options.fast_forward:
        return _forward(repository, field.head, field.forward, options)
    judge = judge_of(repository, field, options, progress)
    outcome = _outcome(field, judge, options)
    first = field.first if options.featurizer_only else outcome.kept[0]
    ordered = tuple(sorted(outcome.kept, key=lambda c: c.key))
    mix = Mix(blend, ordered, first, options.buffers, options.featurizer_only)
    commit = None if options.dry_run else _commit(repository, field, mix, outcome, options, judge, progress)
    head = first.name if options.featurizer_only else None
    return Merged(commit, False, outcome.rows, options.metric, mix.notes(), head=head)


def _forward(repository: Repository, head: Commit, commit: Commit, options: Options) -> Merged:
    if not options.dry_run:
        repository.record(
            None, [Move(repository.branch, head.id, commit.id)], f"merge: fast-forward to {commit.id[:12]}"
        )
    return Merged(commit, True, (), options.metric, ())


def _outcome(field: Field, judge: Judge | None, options: Options) -> Outcome:
    """Who is averaged. Raises MergeProblem."""
    select = options.select or ("greedy" if options.task else "all")
    if select not in ("all", "greedy"):
        raise MergeProblem(f"unknown selection {select!r}", "there are all and greedy")
    if select == "all":
        return Outcome("all", _all(field, judge), field.candidates)
    if options.strategy != "linear":
        raise MergeProblem(f"greedy selection does not work with {options.strategy}", "use --select all")
    if judge is None:
        raise MergeProblem("greedy selection needs a task to validate on", "name it with --task")
    return judge.greedy()


def _all(field: Field, judge: Judge | None) -> tuple[Row, ...]:
    """Everybody is in; the scores are for the record."""
    owns = [None if judge is None else judge.score(c).by(judge.options.metric) for c in field.candidates]
    return tuple(Row(c, own, None, True, True) for c, own in zip(field.candidates, owns, strict=True))


def _commit(
    repository: Repository,
    field: Field,
    mix: Mix,
    outcome: Outcome,
    options: Options,
    judge: Judge | None,
    progress: Progress,
) -> Commit:
    def said(manifest: Manifest, merged: Weights, commit: Commit) -> list[Attachment]:
        if judge is None:
            return []
        return [judge.score_of_average(manifest, merged, outcome).attachment(commit.id), *judge.new]

    head = mix.first.commit if mix.featurizer_only else None
    how = _how(mix, outcome, options, judge, shared_context(field.contexts, head))
    names = ", ".join(c.name for c in outcome.kept)
    parents = _parents(field.head, mix.models, field)
    return record(repository, mix, parents, options.message or f"merge {names}", how, progress, said)


def strategy_named(name: str) -> Blend:
    """The function `merge` of a file behind the door. Raises MergeProblem."""
    known = plugins.names("wvc.strategies")
    if name not in known:
        raise MergeProblem(f"unknown strategy {name!r}", f"there are {', '.join(known)}")
    return cast(Blend, plugins.load("wvc.strategies", name).merge)


def _parents(head: Commit, ordered: Sequence[Candidate], field: Field) -> list[Parent]:
    """HEAD first, with coefficient 0 unless it is averaged; then the ingredients; then merges that were taken apart."""
    share = Fraction(1, len(ordered))
    shares = {c.commit.id: share for c in ordered}
    parents = [Parent(head.id, shares.pop(head.id, Fraction(0)))]
    parents += [Parent(id, coefficient) for id, coefficient in shares.items()]
    kept = {c.commit.id for c in ordered}
    apart = [id for id, parts in field.merges.items() if id != head.id and kept & set(parts)]
    return parents + [Parent(id, Fraction(0)) for id in apart]


def _how(mix: Mix, outcome: Outcome, options: Options, judge: Judge | None, context: Context | None) -> dict[str, Any]:
    """What suffices to do it again. Who did not judge still passes on what the candidates were trained on."""
    how: dict[str, Any] = {
        **mix.how(),
        "strategy": options.strategy,
        "select": outcome.select,
        "candidates": [row.json() for row in outcome.rows],
    }
    if judge is not None:
        selecting = {"metric": options.metric, "tie": options.tie, "precision": options.precision}
        how |= {**judge.how, **selecting, "device": str(judge.device)}
    elif context is not None:
        how |= context.json()
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    return how
