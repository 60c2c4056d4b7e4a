"""What a merge is asked for, and what it came to: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from torch import Tensor

from wvc.learning.counts import Counts, Metric
from wvc.learning.selection import Tie
from wvc.verbs.candidates import Candidate


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
    """select: a selection of verbs.choose; None for greedy where a task is given, else all.

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
