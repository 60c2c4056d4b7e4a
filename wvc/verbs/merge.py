"""Average models into one, all of them or those that a validation set accepts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, cast

import torch

from wvc import plugins, weights
from wvc.errors import MergeProblem
from wvc.progress import SILENT, Progress
from wvc.repo import commits
from wvc.repo.objects import Commit, Manifest, Parent
from wvc.repo.repository import Repository
from wvc.store.canonical import dumps
from wvc.store.header import size_of
from wvc.store.records import Move
from wvc.verbs import candidates
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context, common, of_task
from wvc.verbs.judge import Judge, Options, Outcome, Row, is_kept, judge_of
from wvc.verbs.versions import versions
from wvc.weights import Weights


@dataclass(frozen=True)
class Merged:
    """commit: None for a dry run. forward: the branch only moved. rows: in the order of the decisions."""

    commit: Commit | None
    forward: bool
    rows: tuple[Row, ...]
    metric: str
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.commit.id if self.commit else None,
            "fast_forward": self.forward,
            "metric": self.metric,
            "candidates": [row.json() for row in self.rows],
            "notes": list(self.notes),
        }


def merge(repository: Repository, patterns: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    """Blend `patterns` into HEAD and commit. Raises MergeProblem, TaskProblem, UnknownRevision, RefMoved."""
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    strategy_named(options.strategy)  # an unknown one is refused before any work
    field = candidates.gather(
        repository, patterns, with_head=options.with_head, allow_unrelated=options.allow_unrelated
    )
    if field.forward is not None and options.fast_forward:
        return _forward(repository, field.head, field.forward, options)
    judge = judge_of(repository, field, options, progress)
    select = options.select or ("greedy" if options.task else "all")
    if select not in ("all", "greedy"):
        raise MergeProblem(f"unknown selection {select!r}", "there are all and greedy")
    if select == "greedy":
        if options.strategy != "linear":
            raise MergeProblem(f"greedy selection does not work with {options.strategy}", "use --select all")
        if judge is None:
            raise MergeProblem("greedy selection needs a task to validate on", "name it with --task")
        outcome = judge.greedy()
    else:
        outcome = Outcome("all", _all(field, judge), field.candidates)
    notes = _notes(outcome.kept)
    commit = None if options.dry_run else _record(repository, field, outcome, options, judge, progress)
    return Merged(commit, False, outcome.rows, options.metric, notes)


def _forward(repository: Repository, head: Commit, commit: Commit, options: Options) -> Merged:
    if not options.dry_run:
        repository.record(
            None, [Move(repository.branch, head.id, commit.id)], f"merge: fast-forward to {commit.id[:12]}"
        )
    return Merged(commit, True, (), options.metric, ())


def _all(field: Field, judge: Judge | None) -> tuple[Row, ...]:
    """Everybody is in; the scores are for the record."""
    owns = [None if judge is None else judge.score(c).by(judge.options.metric) for c in field.candidates]
    return tuple(Row(c, own, None, True, True) for c, own in zip(field.candidates, owns, strict=True))


def _notes(kept: Sequence[Candidate]) -> tuple[str, ...]:
    """What cannot be averaged and differs."""
    first, *others = kept
    odd = [
        t.name
        for t in first.manifest.tensors
        if not t.dtype.startswith(("F", "BF")) and any(o.manifest.by_name[t.name].id != t.id for o in others)
    ]
    return (f"{len(odd)} integer tensors differ, taken from {first.name}: {', '.join(odd[:3])}",) if odd else ()


def _record(
    repository: Repository,
    field: Field,
    outcome: Outcome,
    options: Options,
    judge: Judge | None,
    progress: Progress,
) -> Commit:
    """Average once more, in the order of weights ids, so that the same models give the same bits; then commit."""
    head = field.head
    ordered = sorted(outcome.kept, key=lambda c: c.key)
    blend = strategy_named(options.strategy)
    merged = _final(repository, blend, ordered, outcome.kept[0], options.buffers)
    how = _how(outcome, options, judge, _context(field))
    before = outcome.kept[0].manifest
    progress.start("averaging", sum(size_of(t.dtype, t.shape) for t in before.tensors), "B")
    with repository.batch([t.shape for t in before.tensors], commits.room(before, how) + len(dumps(how))) as batch:
        tensors = weights.store(batch, merged, progress, [c.manifest for c in ordered])
        manifest = Manifest(tensors, before.files, before.spec)
        parents = _parents(head, ordered, field)
        names = ", ".join(c.name for c in outcome.kept)
        commit = commits.make(repository, manifest, parents, options.message or f"merge {names}", how)
        commits.put(repository, batch, manifest, commit)
        score = None if judge is None else judge.score_of_average(manifest, merged, outcome)
        said = [] if judge is None or score is None else [score.attachment(commit.id), *judge.new]
        commits.record(repository, batch, commit, ref=repository.branch, old=head.id, said=said)
    progress.stop()
    return commit


def strategy_named(name: str) -> Callable[[Sequence[Weights]], Weights]:
    """The function `merge` of a file behind the door. Raises MergeProblem."""
    known = plugins.names("wvc.strategies")
    if name not in known:
        raise MergeProblem(f"unknown strategy {name!r}", f"there are {', '.join(known)}")
    return cast(Callable[[Sequence[Weights]], Weights], plugins.load("wvc.strategies", name).merge)


def _final(
    repository: Repository,
    blend: Callable[[Sequence[Weights]], Weights],
    ordered: Sequence[Candidate],
    first: Candidate,
    buffers: str,
) -> Weights:
    mean = blend([Weights.of(repository, c.manifest) for c in ordered])
    own = Weights.of(repository, first.manifest)

    def tensor(name: str) -> torch.Tensor:
        return own[name] if is_kept(first.manifest.by_name[name], buffers) else mean[name]

    return Weights(list(mean), tensor)


def _parents(head: Commit, ordered: Sequence[Candidate], field: Field) -> list[Parent]:
    """HEAD first, with coefficient 0 unless it is averaged; then the ingredients; then merges that were taken apart."""
    share = Fraction(1, len(ordered))
    shares = {c.commit.id: share for c in ordered}
    parents = [Parent(head.id, shares.pop(head.id, Fraction(0)))]
    parents += [Parent(id, coefficient) for id, coefficient in shares.items()]
    kept = {c.commit.id for c in ordered}
    apart = [id for id, parts in field.merges.items() if id != head.id and kept & set(parts)]
    return parents + [Parent(id, Fraction(0)) for id in apart]


def _context(field: Field) -> Context | None:
    """What all candidates have seen of the one task that they saw last; None where that is not one."""
    last = {found[0].fingerprint for found in field.contexts if found}
    if len(last) != 1:
        return None
    fingerprint = last.pop()
    return common([known for found in field.contexts if (known := of_task(found, fingerprint)) is not None])


def _how(outcome: Outcome, options: Options, judge: Judge | None, context: Context | None) -> dict[str, Any]:
    """What suffices to do it again. Who did not judge still passes on what the candidates were trained on."""
    how: dict[str, Any] = {
        "kind": "merge",
        "strategy": options.strategy,
        "select": outcome.select,
        "buffers": options.buffers,
        "candidates": [row.json() for row in outcome.rows],
        "notes": list(_notes(outcome.kept)),
        "versions": versions(),
    }
    if judge is not None:
        selecting = {"metric": options.metric, "tie": options.tie, "precision": options.precision}
        how |= {**judge.how, **selecting, "device": str(judge.device)}
    elif context is not None:
        how |= context.json()
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    return how
