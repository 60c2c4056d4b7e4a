"""Average models with coefficients that are stated, or drawn: interpolation (WiSE-FT) and fused featurizers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from wvc.errors import UsageError
from wvc.learning import fusing
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.objects import Commit, Parent
from wvc.repo.repository import Repository
from wvc.repo.revisions import GLOB, resolve
from wvc.strategies import linear
from wvc.verbs.candidates import Candidate, check_compatible, check_related
from wvc.verbs.context import history
from wvc.verbs.merge import Merged, Share
from wvc.verbs.mix import Mix, record, shared_context

# A fraction or a decimal, and no exponent: one could make a number that fills the memory.
NUMBER = re.compile(r"-?([0-9]{1,30}/[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})")


@dataclass(frozen=True)
class Options:
    """How to weigh the models, and what of them.

    coefficients: one for each model in the order named, each in [0, 1], which sum to 1; None for even ones.
    featurizer_only: average all but the heads, which may differ; the result has the head of the model named first.
    fuse_seed: draws the coefficients instead, of featurizers only; None where nothing is drawn.
    fuse_range: kappa, the range of the draws; 0 gives even coefficients (learning.fusing).
    buffers: "average" the BatchNorm statistics too, or take those of the "first" model that has a share.
    """

    coefficients: tuple[Fraction, ...] | None = None
    featurizer_only: bool = False
    fuse_seed: int | None = None
    fuse_range: float = 4.0
    buffers: str = "average"
    allow_unrelated: bool = False
    message: str | None = None
    dry_run: bool = False
    cook: Mapping[str, Any] | None = None


def blend(repository: Repository, revisions: Sequence[str], options: Options, progress: Progress = SILENT) -> Merged:
    r"""Commit $\sum_i c_i \theta_i$ of the models named, one by one: no globs, and no merge is taken apart.

    HEAD is the first parent, with its coefficient if it is named and else 0. With two models this is WiSE-FT's
    $(1 - \alpha) \theta_0 + \alpha \theta$. Models with coefficient 0 are not read.
    Raises UsageError, MergeProblem, UnknownRevision, TrainingProblem, RefMoved.

    Wortsman et al., Robust fine-tuning of zero-shot models, 2022, https://arxiv.org/abs/2109.01903
    Rame et al., Model ratatouille, 2023, the fusing baseline, https://arxiv.org/abs/2212.10445
    """
    repository = repository.on(repository.branch)  # whatever others do to HEAD meanwhile
    coefficients = _coefficients(options, revisions)
    featurizer_only = options.featurizer_only or options.fuse_seed is not None
    head = repository.head()
    shares = tuple(map(Share, _named(repository, revisions), coefficients))
    others = [share.candidate.commit.id for share in shares if share.candidate.commit.id != head.id]
    check_related(Graph(repository), head, others, allow_unrelated=options.allow_unrelated)
    check_compatible([share.candidate for share in shares], featurizer_only=featurizer_only)
    mix = _mix(shares, options.buffers, featurizer_only=featurizer_only)
    commit = None if options.dry_run else _commit(repository, head, shares, mix, options, progress)
    return Merged(commit, False, (), None, mix.notes(), shares, mix.first.name if featurizer_only else None)


def coefficients_of(text: str) -> tuple[Fraction, ...]:
    """The exact numbers in a list such as "1/2,1/4,0.25". Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not NUMBER.fullmatch(part) or re.search(r"/0+$", part):
            raise UsageError(f"{part!r} is not a coefficient", "write fractions or decimals: 1/2,1/4,0.25")
    return tuple(Fraction(part) for part in parts)


def _coefficients(options: Options, revisions: Sequence[str]) -> tuple[Fraction, ...]:
    """One for each revision. Raises UsageError, TrainingProblem."""
    count, stated = len(revisions), options.coefficients
    for text in revisions:
        if GLOB.search(text) and "@{" not in text:
            raise UsageError(f"{text!r} is a glob", "name the models one by one: each has its own coefficient")
    if options.fuse_seed is not None:
        if stated is not None:
            raise UsageError("coefficients are either stated or drawn", "leave out --coefficients or --fuse")
        if not 0 <= options.fuse_seed < 2**53:
            raise UsageError(f"seed {options.fuse_seed} is out of range", "give an integer from 0 to 2^53 - 1")
        return fusing.shares(options.fuse_seed, count, options.fuse_range)
    if stated is None:
        return (Fraction(1, count),) * count
    if len(stated) != count:
        raise UsageError(f"{len(stated)} coefficients for {count} models", "state one for each, in the same order")
    for coefficient in stated:
        if not 0 <= coefficient <= 1:
            raise UsageError(f"coefficient {coefficient} is not in [0, 1]", "an average goes between its models")
    if sum(stated) != 1:
        raise UsageError(f"the coefficients sum to {sum(stated)}, not to 1", "thirds are written 1/3,1/3,1/3")
    return stated


def _named(repository: Repository, revisions: Sequence[str]) -> list[Candidate]:
    """The models, HEAD under the name of its branch."""
    found = []
    for text in revisions:
        commit = repository.commit(resolve(repository, text))
        name = names.short(repository.branch if text in ("HEAD", "@") else text)
        found.append(Candidate(name, commit, repository.manifest(commit)))
    return found


def _mix(shares: Sequence[Share], buffers: str, *, featurizer_only: bool) -> Mix:
    """Models of the same weights are one, so that naming a model twice changes no bit. Raises UsageError."""
    first = shares[0] if featurizer_only else next(share for share in shares if share.coefficient)
    if not first.coefficient:
        raise UsageError(
            f"{first.candidate.name} gives the head, so it needs a coefficient above 0",
            "name first the model whose head shall stay",
        )
    models: dict[str, Candidate] = {}
    totals: dict[str, Fraction] = {}
    for share in sorted(shares, key=lambda share: share.candidate.key):
        if share.coefficient:
            key = share.candidate.key
            models.setdefault(key, share.candidate)
            totals[key] = totals.get(key, Fraction(0)) + share.coefficient
    weighed = partial(linear.merge, coefficients=list(totals.values()))
    return Mix(weighed, tuple(models.values()), first.candidate, buffers, featurizer_only)


def _commit(
    repository: Repository, head: Commit, shares: Sequence[Share], mix: Mix, options: Options, progress: Progress
) -> Commit:
    used = [share.candidate.commit for share in shares if share.coefficient]
    context = shared_context(
        [history(repository, commit) for commit in used], mix.first.commit if mix.featurizer_only else None
    )
    how = {
        **mix.how(),
        "strategy": "linear",
        "select": "stated",
        "coefficients": [{"commit": s.candidate.commit.id, "coefficient": str(s.coefficient)} for s in shares],
        **({} if context is None else context.json()),
    }
    if options.fuse_seed is not None:
        how["fuse"] = {"seed": options.fuse_seed, "range": repr(float(options.fuse_range))}
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    return record(repository, mix, _parents(head, shares), options.message or _message(shares, options), how, progress)


def _parents(head: Commit, shares: Sequence[Share]) -> list[Parent]:
    """HEAD, then the others in the order named, each once with all of its coefficient."""
    totals = {head.id: Fraction(0)}
    for share in shares:
        id = share.candidate.commit.id
        totals[id] = totals.get(id, Fraction(0)) + share.coefficient
    return [Parent(id, total) for id, total in totals.items()]


def _message(shares: Sequence[Share], options: Options) -> str:
    if options.fuse_seed is not None:
        return f"fuse {', '.join(share.candidate.name for share in shares)}"
    return "merge " + ", ".join(f"{share.coefficient} {share.candidate.name}" for share in shares)
