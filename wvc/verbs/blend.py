"""Blend models with coefficients that are stated or drawn: interpolation (WiSE-FT), task vectors, fused featurizers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from wvc.errors import UsageError
from wvc.learning import fusing
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Parent
from wvc.repo.repository import Repository
from wvc.repo.revisions import GLOB, resolve
from wvc.verbs import ingredients, origin, sides
from wvc.verbs.candidates import Candidate, check_compatible, check_related
from wvc.verbs.context import Context, history
from wvc.verbs.merge import blended
from wvc.verbs.mix import Mix, record, shared_context
from wvc.verbs.strategy import FRACTIONS, Strategy, named, number, short
from wvc.verbs.terms import Blending, Merged, Row, Share

MOST = 10**9  # of a coefficient


@dataclass(frozen=True)
class Options(Blending):
    """How to weigh the models, and what of them.

    coefficients: one for each model in the order named; None for even ones. Those of an average are in [0, 1] and sum
    to 1; task vectors take any but 0 for all.
    fuse_seed: draws the coefficients instead, of featurizers only; None where nothing is drawn.
    fuse_range: kappa, the range of the draws; 0 gives even coefficients (learning.fusing).
    said: what `how` says beside, of how the coefficients came to be.
    """

    coefficients: tuple[Fraction, ...] | None = None
    fuse_seed: int | None = None
    fuse_range: float = 4.0
    said: Mapping[str, Any] = field(default_factory=dict)


def blend(repository: Repository, revisions: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    r"""Commit $\sum_i c_i \theta_i$, or what a strategy makes of the $c_i$, of the models named, one by one: no globs.

    HEAD is the first parent, with its coefficient if it is named and else 0. With two models this is WiSE-FT's
    $(1 - \alpha) \theta_0 + \alpha \theta$. Models with coefficient 0 are not read.
    Raises UsageError, MergeProblem, UnknownRevision, TrainingProblem, RefMoved.

    Wortsman et al., Robust fine-tuning of zero-shot models, 2022, https://arxiv.org/abs/2109.01903
    Rame et al., Model ratatouille, 2023, the fusing baseline, https://arxiv.org/abs/2212.10445
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    strategy = named(options.strategy or "linear", options.given)
    options = replace(options, featurizer_only=options.featurizer_only or options.fuse_seed is not None)
    models = one_by_one(repository, revisions)
    coefficients = _coefficients(options, strategy, len(models))
    head = repository.head()
    shares = tuple(map(Share, models, coefficients))
    others = [share.candidate.commit.id for share in shares if share.candidate.commit.id != head.id]
    check_related(Graph(repository), head, others, allow_unrelated=options.allow_unrelated)
    check_compatible([share.candidate for share in shares], featurizer_only=options.featurizer_only)
    mix, apart = _mix(repository, head, shares, strategy, options)
    mix.weights(repository)  # reads no weights yet, but refuses what the strategy cannot do
    context = _context(repository, shares, mix)
    if options.recalibrate is not None:
        sides.context_to_estimate(context, featurizer_only=options.featurizer_only)
    evenly = options.coefficients is None and options.fuse_seed is None and strategy.name != "linear"
    made = Merged(
        None,
        False,
        tuple(Row(share.candidate, None, None, True, True) for share in shares) if evenly else (),
        None,
        (*mix.notes(), *_warnings(repository, mix)),
        () if evenly else shares,
        mix.first.name if options.featurizer_only else None,
        strategy.name,
        as_it_was=mix.is_one_model and options.recalibrate is None,
        dry=options.dry_run,
    )
    if options.dry_run:
        return made
    commit, more = _commit(repository, head, shares, mix, apart, context, options, progress)
    return replace(made, commit=commit, notes=(*made.notes, *more))


def coefficients_of(text: str) -> tuple[Fraction, ...]:
    """The exact numbers in a list such as "1/2,1/4,0.25". Raises UsageError."""
    found = []
    for part in (part.strip() for part in text.split(",")):
        value = number(part)
        if value is None:
            raise UsageError(f"{short(part)} is not a coefficient", f"write {FRACTIONS}: 1/2,1/4,0.25")
        found.append(value)
    return tuple(found)


def one_by_one(repository: Repository, revisions: Sequence[str]) -> list[Candidate]:
    """The models, HEAD under the name of its branch. Raises UsageError for a glob."""
    found = []
    for text in revisions:
        if GLOB.search(text) and "@{" not in text:
            raise UsageError(f"{text!r} is a glob", "name the models one by one: each has its own coefficient")
        commit = repository.commit(resolve(repository, text))
        name = names.short(repository.branch if text in ("HEAD", "@") else text)
        found.append(Candidate(name, commit, repository.manifest(commit)))
    return found


def _coefficients(options: Options, strategy: Strategy, count: int) -> tuple[Fraction, ...]:
    """One for each of `count` models. Raises UsageError, TrainingProblem."""
    stated = options.coefficients
    if options.fuse_seed is not None:
        if stated is not None:
            raise UsageError("coefficients are either stated or drawn", "leave out --coefficients or --fuse")
        if not 0 <= options.fuse_seed < 2**53:
            raise UsageError(f"seed {options.fuse_seed} is out of range", "give an integer from 0 to 2^53 - 1")
        if not 0 <= options.fuse_range < math.inf:
            raise UsageError(f"--fuse-range {options.fuse_range} is not 0 or more", "the papers have 4")
        return fusing.shares(options.fuse_seed, count, options.fuse_range)
    if stated is None:
        return (Fraction(1, count),) * count
    if len(stated) != count:
        raise UsageError(f"{len(stated)} coefficients for {count} models", "state one for each, in the same order")
    if strategy.needs_base:
        if not any(stated) or any(abs(c) > MOST for c in stated):
            raise UsageError("coefficients must not all be 0, nor be endless", "state how much of each change to take")
        return stated
    for coefficient in stated:
        if not 0 <= coefficient <= 1:
            raise UsageError(f"coefficient {coefficient} is not in [0, 1]", "an average goes between its models")
    if sum(stated) != 1:
        raise UsageError(f"the coefficients sum to {sum(stated)}, not to 1", "thirds are written 1/3,1/3,1/3")
    return stated


def _mix(
    repository: Repository, head: Commit, shares: Sequence[Share], strategy: Strategy, options: Options
) -> tuple[Mix, tuple[str, ...]]:
    """The blend, and the merges that were taken apart for it. Raises UsageError, MergeProblem."""
    first = shares[0] if options.featurizer_only else next(share for share in shares if share.coefficient)
    if not first.coefficient:
        raise UsageError(
            f"{first.candidate.name} gives the head, so it needs a coefficient above 0",
            "name first the model whose head shall stay",
        )
    pairs = [(share.candidate, share.coefficient) for share in shares if share.coefficient]
    exact = strategy.name == "linear" and not options.featurizer_only
    found = ingredients.of(repository, pairs, apart=exact)
    if not found.models:
        raise UsageError("the coefficients of equal models cancel out", "nothing would be added: name other models")
    base = None
    if strategy.needs_base:
        base = origin.base_of(repository, head, found.models, options.base, featurizer_only=options.featurizer_only)
    elif options.base is not None:
        raise UsageError(f"{strategy.name} counts no changes from a base", "leave --base out")
    others = [share.candidate for share in shares if share.candidate.commit.id != head.id]
    taken = sides.taken(repository, head, list(dict.fromkeys(others)), options)
    mix = Mix(
        strategy,
        found.models,
        first.candidate,
        coefficients=None if options.coefficients is None and strategy.name != "linear" else found.coefficients,
        base=base,
        buffers=options.buffers,
        featurizer_only=options.featurizer_only,
        taken=taken,
    )
    return mix, found.apart


def _warnings(repository: Repository, mix: Mix) -> tuple[str, ...]:
    note = None if mix.featurizer_only else origin.strangers(repository, mix.models)
    return () if note is None else (note,)


def _context(repository: Repository, shares: Sequence[Share], mix: Mix) -> Context | None:
    """What all that has a part in the result has seen."""
    others = [model.commit for _, model in mix.taken] + ([] if mix.base is None else [mix.base.commit])
    used = [share.candidate.commit for share in shares if share.coefficient] + others
    seen = [history(repository, commit) for commit in used]
    return shared_context(seen, mix.first.commit if mix.featurizer_only else None)


def _commit(
    repository: Repository,
    head: Commit,
    shares: Sequence[Share],
    mix: Mix,
    apart: Sequence[str],
    context: Context | None,
    options: Options,
    progress: Progress,
) -> tuple[Commit, tuple[str, ...]]:
    merged, recalibrated, notes = blended(repository, mix, context, options, progress)
    how = {
        **mix.how(),
        "select": "stated",
        "coefficients": [{"commit": s.candidate.commit.id, "coefficient": str(s.coefficient)} for s in shares],
        **({} if context is None else context.json()),
        **options.said,
        **recalibrated,
    }
    if options.fuse_seed is not None:
        how["fuse"] = {"seed": options.fuse_seed, "range": repr(float(options.fuse_range))}
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    message = options.message or _message(shares, options, mix.strategy)
    return record(repository, mix, merged, _parents(head, shares, mix), message, how, progress), notes


def _parents(head: Commit, shares: Sequence[Share], mix: Mix) -> list[Parent]:
    """HEAD, then the others in the order named, then what they were made of, each once with all of its coefficient."""
    exact = mix.parents
    order = [head.id, *(share.candidate.commit.id for share in shares), *exact]
    return [Parent(id, exact.get(id, Fraction(0))) for id in dict.fromkeys(order)]


def _message(shares: Sequence[Share], options: Options, strategy: Strategy) -> str:
    if options.fuse_seed is not None:
        return f"fuse {', '.join(share.candidate.name for share in shares)}"
    if options.coefficients is None and strategy.name != "linear":
        return f"{strategy.name} {', '.join(share.candidate.name for share in shares)}"
    verb = "merge" if strategy.name == "linear" else strategy.name
    return f"{verb} " + ", ".join(f"{share.coefficient} {share.candidate.name}" for share in shares)
