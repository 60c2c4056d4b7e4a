"""Blend models into one, all of them or those that a validation set accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wvc.errors import MergeProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Attachment, Commit, Manifest, Parent
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import candidates, sides
from wvc.verbs.candidates import Field
from wvc.verbs.context import Context
from wvc.verbs.maker import Maker, maker_of
from wvc.verbs.mix import Mix, record, shared_context
from wvc.verbs.need import need
from wvc.verbs.strategy import Strategy, named
from wvc.verbs.terms import Blending, Merged, Options, Outcome, Row
from wvc.weights import Weights

if TYPE_CHECKING:
    from wvc.verbs.eval import Evaluation
    from wvc.verbs.judge import Judge

# Options that only some selections read.
READ: Mapping[str, tuple[str, ...]] = {
    "order": ("greedy", "greedy-ensemble"),
    "explain": ("greedy", "greedy-ensemble"),
    "tie": ("greedy", "greedy-ensemble"),
    "rounds": ("greedy-replacement",),
    "learning": ("learned",),
}
FASTEST = 100.0  # learning rate: AdamW moves each number by so much in a step


def merge(repository: Repository, patterns: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    """Blend `patterns` into HEAD and commit.

    Raises MergeProblem, TaskProblem, UsageError, UnknownRevision, RefMoved.
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    strategy = named(options.strategy or "linear", options.given)  # an unknown one is refused before any work
    select = options.selection
    _check(options, strategy, select)
    field = candidates.gather(
        repository,
        patterns,
        with_head=options.with_head,
        allow_unrelated=options.allow_unrelated,
        featurizer_only=options.featurizer_only,
        apart=strategy.name == "linear" and not options.pairwise,
    )
    if field.forward is not None and _only_moves(options, strategy):
        return _forward(repository, field.head, field.forward, options, progress)
    maker = maker_of(repository, field, strategy, options, select)
    maker.mix(field.candidates).weights(repository)  # reads no weights yet, but refuses what the strategy cannot do
    field = replace(field, contexts=(*field.contexts, *maker.contexts(repository)))
    context = shared_context(field.contexts, maker.first.commit if maker.first else None)
    if options.recalibrate is not None:
        sides.context_to_estimate(context, featurizer_only=options.featurizer_only)
    outcome, judge = _chosen(repository, field, options, maker, progress)
    mix, apart = maker.final(repository, outcome)
    if judge is not None:
        context = Context.read(judge.how)
    test = sides.domains_to_report(context) if options.report_test else ()
    made = Merged(
        None,
        False,
        outcome.rows,
        options.metric,
        (*maker.notes, *mix.notes(), *maker.warnings(repository, mix)),
        head=None if maker.first is None else maker.first.name,
        strategy=mix.strategy.name,
        as_it_was=mix.is_one_model and options.recalibrate is None,
        dry=options.dry_run,
    )
    if options.dry_run:
        return made
    commit, more = _commit(repository, field, mix, apart, outcome, options, judge, progress)
    return replace(
        made,
        commit=commit,
        notes=(*made.notes, *more),
        test=_reported(repository, commit.id, test, options, progress) if test else None,
    )


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
    for name, selections in READ.items():
        if select not in selections and getattr(options, name) != getattr(Options, name):
            what = "--per, --lr and --epochs are" if name == "learning" else f"--{name} is"
            raise UsageError(
                f"{what} for {' and '.join(selections)} selection, not for {select}", f"add --select {selections[0]}"
            )
    if options.seed and select != "learned" and options.order != "random":
        raise UsageError("--seed is for learned selection and for a random order", "of a strategy it is -o seed=N")
    if options.metric != "micro" and select == "all" and options.task is None:
        raise UsageError("--metric is for models that are measured", "add --task, or leave it out")
    if not 0 < options.learning.learning_rate <= FASTEST:
        raise UsageError(f"--lr {options.learning.learning_rate} is not in (0, {FASTEST:g}]", "0.1 is usual")


def _only_moves(options: Options, strategy: Strategy) -> bool:
    """True if nothing is asked for that would make the result another model than the one that is merged."""
    changes = options.ours or options.theirs or options.recalibrate is not None
    return options.fast_forward and strategy.name in ("linear", "three-way") and not changes


def _forward(repository: Repository, head: Commit, commit: Commit, options: Options, progress: Progress) -> Merged:
    test = sides.domains_to_report(Context.read(commit.how)) if options.report_test else ()
    made = Merged(commit, True, (), options.metric, (), as_it_was=True, dry=options.dry_run)
    if options.dry_run:
        return made
    repository.record(None, [Move(repository.branch, head.id, commit.id)], f"merge: fast-forward to {commit.id[:12]}")
    return replace(made, test=_reported(repository, commit.id, test, options, progress) if test else None)


# Torch is loaded only where images are looked at: it takes longer, and more memory, than many a merge.


def _chosen(
    repository: Repository, field: Field, options: Options, maker: Maker, progress: Progress
) -> tuple[Outcome, Judge | None]:
    """Who is blended, and who judged it."""
    if options.deciding_task(field.of_candidates) is None:
        if options.selection != "all":
            raise MergeProblem(f"{options.selection} selection needs a task to validate on", "name it with --task")
        rows = tuple(Row(candidate, None, None, True, True) for candidate in field.candidates)
        return Outcome("all", rows, field.candidates), None
    from wvc.verbs import choose, judge  # noqa: PLC0415

    found = judge.judge_of(repository, field, options, progress)
    assert found is not None
    need(repository, maker.mix(field.candidates).manifests, progress)
    return choose.choose(found, maker.mix), found


def _reported(
    repository: Repository, id: str, test: tuple[str, ...], options: Options, progress: Progress
) -> Evaluation:
    from wvc.verbs import after  # noqa: PLC0415

    return after.report(repository, id, test, options, progress)


def blended(
    repository: Repository, mix: Mix, context: Context | None, options: Blending, progress: Progress
) -> tuple[Weights, dict[str, Any], tuple[str, ...]]:
    """The blend, with statistics of its own where these are asked for; what `how` says of that; notes.

    Raises MergeProblem, TaskProblem.
    """
    need(repository, mix.manifests, progress)
    merged = mix.weights(repository)
    if options.recalibrate is None:
        return merged, {}, ()
    shared = sides.context_to_estimate(context, featurizer_only=mix.featurizer_only)
    from wvc.verbs import after  # noqa: PLC0415

    return after.recalibrated(repository, mix, merged, shared, options.recalibrate, options.device, progress)


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
    merged, recalibrated, notes = blended(repository, mix, context, options, progress)
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
