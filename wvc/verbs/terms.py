"""What a merge is asked for, and what it came to: plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from wvc.errors import MergeProblem
from wvc.learning.counts import Counts, Metric
from wvc.learning.selection import Tie
from wvc.repo.objects import Commit
from wvc.verbs.candidates import Candidate
from wvc.verbs.context import Context

if TYPE_CHECKING:
    from torch import Tensor

    from wvc.verbs.eval import Evaluation

SELECTIONS = ("all", "greedy", "greedy-replacement", "greedy-ensemble", "learned")


@dataclass(frozen=True)
class Blending:
    """How models are blended, whoever chose them.

    strategy: a file behind the door `strategies`; None for linear, or three-way where nothing needs averaging.
    given: options of the strategy as text. base: the revision that changes are counted from, None for the merge base.
    buffers: "average" the BatchNorm statistics too, or take those of the "first" (the best) model.
    featurizer_only: average all but the heads, which may differ; the result has the head of the model named first.
    ours, theirs: globs of tensors that are taken from HEAD, or from the only other model, as they are.
    recalibrate: training images that the BatchNorm statistics are estimated from anew (0 for all), None to leave them.
    """

    strategy: str | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None
    buffers: str = "average"
    featurizer_only: bool = False
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    recalibrate: int | None = None
    allow_unrelated: bool = False
    device: str = "auto"
    message: str | None = None
    dry_run: bool = False
    cook: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Learning:
    """How a learned soup is learned (Wortsman et al. 2022, App. I). per: "model", "layer" or "tensor"."""

    per: str = "model"
    learning_rate: float = 0.1
    epochs: int = 3
    batch_size: int = 256


@dataclass(frozen=True)
class Options(Blending):
    """select: one of SELECTIONS; None for greedy where a task is given, else all.

    tie: what greedy does with a candidate that changes nothing (Rame et al. accept it, Wortsman et al. do not).
    metric: "micro" pools the validation images, "macro" is the mean over domains.
    order: in which greedy goes through the candidates: "val" (best first), "random" or "given".
    rounds: of greedy with replacement at most. seed: of what is drawn: the random order, a learned soup's batches.
    pairwise: a merge among the candidates counts as one model, not as those that it was made of.
    explain: measure diversity and barrier of each candidate, too, which takes more passes.
    """

    task: str | None = None
    test_domains: tuple[str, ...] | None = None
    select: str | None = None
    tie: Tie = "accept"
    metric: Metric = "micro"
    order: str = "val"
    rounds: int = 10
    seed: int = 0
    learning: Learning = Learning()
    pairwise: bool = False
    explain: bool = False
    report_test: bool = False
    with_head: bool = True
    fast_forward: bool = True
    precision: str = "fp32"

    @property
    def selection(self) -> str:
        """The selection that is asked for, by name. Raises MergeProblem."""
        select = self.select or ("greedy" if self.task else "all")
        if select not in SELECTIONS:
            raise MergeProblem(f"unknown selection {select!r}", f"there are {', '.join(SELECTIONS)}")
        return select

    def deciding_task(self, contexts: Sequence[Sequence[Context]]) -> str | None:
        """Name of the task on whose validation images the candidates are measured; None where they are not.

        contexts: what each candidate has seen, the nearest first.
        """
        if self.task is not None or self.select in (None, "all"):
            return self.task
        nearest = {found[0].task if found else None for found in contexts}
        return nearest.pop() if len(nearest) == 1 else None


@dataclass(frozen=True)
class Criteria:
    """What makes a candidate worth averaging, beside its own accuracy (Rame et al. 2023).

    diversity: ratio of different to common errors of it and the soup so far, >= 0.
    barrier: accuracy of the point between the two minus the mean of theirs, in [-1, 1]; below 0 they do not connect.
    """

    diversity: float
    barrier: Fraction

    def json(self) -> dict[str, str]:
        return {"diversity": repr(self.diversity), "barrier": str(self.barrier)}


@dataclass(frozen=True)
class Row:
    """One candidate in the table of a merge.

    own, average: accuracies in [0, 1], None where none was measured; `average` is an upper bound if not exact.
    seen: of a pass that ended early, (right, seen, total) over all domains; None of a whole one.
    round: of greedy with replacement. coefficient: of a learned soup. criteria: where they were asked for.
    """

    candidate: Candidate
    own: Fraction | None
    average: Fraction | None
    exact: bool
    accepted: bool
    seen: tuple[int, int, int] | None = None
    round: int = 0
    coefficient: Fraction | None = None
    criteria: Criteria | None = None

    def json(self) -> dict[str, Any]:
        more: dict[str, Any] = {"round": self.round} if self.round else {}
        more |= {} if self.coefficient is None else {"coefficient": str(self.coefficient)}
        more |= {} if self.criteria is None else self.criteria.json()
        return {
            "commit": self.candidate.commit.id,
            "weights": self.candidate.key,
            "name": self.candidate.name,
            "own": None if self.own is None else str(self.own),
            "average": None if self.average is None else str(self.average),
            "exact": self.exact,
            "accepted": self.accepted,
            "seen": None if self.seen is None else list(self.seen),
            **more,
        }


@dataclass(frozen=True)
class Outcome:
    """What a selection came to.

    rows: in the order of the decisions. kept: the models to average, best first, no two the same.
    shares: their coefficients, which sum to 1; None for even ones, or where the strategy weighs otherwise.
    layers: of a learned soup, tensor -> the coefficients of `kept`; None where they are the same for all.
    mean: their average as the selection had it, and counts: how it did; None where nothing was selected.
    said: what `how` says of the selection beside.
    """

    select: str
    rows: tuple[Row, ...]
    kept: tuple[Candidate, ...]
    shares: tuple[Fraction, ...] | None = None
    layers: Mapping[str, tuple[Fraction, ...]] | None = None
    mean: Mapping[str, Tensor] | None = None
    counts: Counts | None = None
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """(1 - alpha) of the first model and alpha of the second.

    score: validation accuracy in [0, 1]. test: on the test domains, None where nobody asked. kept: what is committed.
    """

    alpha: Fraction
    score: Fraction
    test: Fraction | None = None
    kept: bool = False

    def json(self) -> dict[str, Any]:
        test = {} if self.test is None else {"test": str(self.test)}
        return {"alpha": str(self.alpha), "score": str(self.score), **test, "kept": self.kept}


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

    commit: None for a dry run, unless that would only move the branch. forward: the branch only moves.
    rows: in the order of the decisions. metric: of their accuracies, None where nothing is decided.
    shares: in the order in which the models were named, where the coefficients are stated.
    head: the name of the model whose head the result has, where only featurizers are averaged, else None.
    strategy: by name. test: how the result does on the test domains, where that was asked for.
    curve: the points that were tried between two models.
    as_it_was: the result is one of the models, unchanged. dry: nothing was written.
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
    as_it_was: bool = False
    dry: bool = False

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.commit.id if self.commit else None,
            "fast_forward": self.forward,
            "dry_run": self.dry,
            "strategy": self.strategy,
            "metric": self.metric,
            "candidates": [row.json() for row in self.rows],
            "coefficients": [share.json() for share in self.shares],
            "head": self.head,
            "notes": list(self.notes),
            "test": None if self.test is None else self.test.json(),
            **({"curve": [point.json() for point in self.curve]} if self.curve else {}),
        }
