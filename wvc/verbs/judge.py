"""Judge candidates and their averages on the validation images that none of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import torch

from wvc import architectures
from wvc.errors import MergeProblem
from wvc.learning import selection
from wvc.learning.counts import Counts, Metric
from wvc.learning.network import Network
from wvc.learning.pixels import Pixels
from wvc.learning.selection import Selection, Tie, Verdict
from wvc.progress import Progress
from wvc.repo import scores
from wvc.repo.objects import Attachment, Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.repo.scores import Score
from wvc.strategies.linear import Mean
from wvc.verbs import scoring, task
from wvc.verbs.candidates import Candidate, Field
from wvc.verbs.context import Context, is_of_other_data, of_task
from wvc.verbs.data import NONE, Data, device_named
from wvc.weights import Weights, id_of

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Options:
    """strategy: how to blend, a file behind the door `strategies`.
    select: "all", "greedy", or None for greedy where a task is given.

    tie: what greedy does with a candidate that changes nothing (Rame et al. accept it, Wortsman et al. do not).
    metric: "micro" pools the validation images, "macro" is the mean over domains.
    buffers: "average" the BatchNorm statistics too, or take those of the "first" (the best) model.
    featurizer_only: average all but the heads, which may differ; the result has the head of the model named first.
    """

    task: str | None = None
    test_domains: tuple[str, ...] | None = None
    strategy: str = "linear"
    select: str | None = None
    tie: Tie = "accept"
    metric: Metric = "micro"
    buffers: str = "average"
    featurizer_only: bool = False
    with_head: bool = True
    fast_forward: bool = True
    allow_unrelated: bool = False
    precision: str = "fp32"
    device: str = "auto"
    message: str | None = None
    dry_run: bool = False
    cook: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Row:
    """One candidate in the table of a merge.

    own, average: accuracies in [0, 1], None where none was measured; `average` is an upper bound if not exact.
    seen: of a pass that ended early, (right, seen, total) over all domains; None of a whole one.
    """

    candidate: Candidate
    own: Fraction | None
    average: Fraction | None
    exact: bool
    accepted: bool
    seen: tuple[int, int, int] | None = None

    def json(self) -> dict[str, Any]:
        return {
            "commit": self.candidate.commit.id,
            "weights": self.candidate.key,
            "name": self.candidate.name,
            "own": None if self.own is None else str(self.own),
            "average": None if self.average is None else str(self.average),
            "exact": self.exact,
            "accepted": self.accepted,
            "seen": None if self.seen is None else list(self.seen),
        }


@dataclass(frozen=True)
class Outcome:
    """What a selection came to.

    rows: in the order of the decisions. kept: the models to average, best first.
    mean: their average as the selection had it, and counts: how it did; None where nothing was selected.
    """

    select: str
    rows: tuple[Row, ...]
    kept: tuple[Candidate, ...]
    mean: Mapping[str, torch.Tensor] | None = None
    counts: Counts | None = None


@dataclass
class Judge:
    """Who measures candidates and averages on the validation images that none of them was trained on."""

    repository: Repository
    among: Field
    data: Data
    how: Mapping[str, Any]
    options: Options
    device: torch.device
    progress: Progress
    new: list[Attachment] = field(default_factory=list)

    @cached_property
    def validation(self) -> dict[str, Pixels]:
        """The images that decide, which stay on a GPU from one candidate to the next."""
        return self.data.validation()

    def score(self, candidate: Candidate) -> Score:
        """Of one candidate on the validation images, measured only if nobody has before; then it is kept in `new`."""
        manifest = candidate.manifest
        wanted = scoring.circumstances(manifest, self.data, "val", self.device, self.options.precision)
        domains = {name: (lambda name=name: self.validation[name]) for name in self.data.seen}
        score, measured = scoring.known_or_measured(
            self.repository, manifest, wanted, domains, device=self.device, progress=self.progress
        )
        if measured:
            self.new.append(score.attachment(candidate.commit.id))
        return score

    def score_of_average(self, manifest: Manifest, merged: Mapping[str, torch.Tensor], outcome: Outcome) -> Score:
        """Of the average that `manifest` will name. What the selection counted holds for the same bits only."""
        wanted = scoring.circumstances(manifest, self.data, "val", self.device, self.options.precision)
        if outcome.counts is not None and outcome.mean is not None and _names(manifest, outcome.mean):
            return Score(wanted, {name: (c.right, c.total) for name, c in outcome.counts.domains.items()})
        known = scores.find(self.repository, wanted, self.data.seen)
        if known is not None:
            return known
        assert manifest.spec is not None
        network = Network.of(architectures.load(manifest.spec, merged), manifest.spec)
        return scoring.score(network, wanted, self.validation, device=self.device, progress=self.progress)

    def greedy(self) -> Outcome:
        """The average of the best candidate and of those that do not make it worse, best first."""
        people = self.among.candidates
        own = [self.score(c).by(self.options.metric) for c in people]
        averages = _Averages(self)
        found: Selection[Candidate] = selection.greedy(
            people, own, [c.key for c in people], averages.evaluate, tie=self.options.tie
        )
        rows = _rows(found, averages.counts)
        return Outcome("greedy", rows, found.kept, averages.of(found.kept), averages.counts.get(_key(found.kept)))


class _Averages:
    """The average of the models kept so far: each candidate costs one addition and at most one pass."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._means: dict[tuple[str, ...], Mean] = {}
        self.counts: dict[tuple[str, ...], Counts] = {}

    def evaluate(self, people: Sequence[Candidate], bar: Fraction) -> Verdict:
        """The score of the average of `people`, or a bound below `bar` once it can no longer be accepted."""
        options = self._judge.options
        spec = people[0].manifest.spec
        assert spec is not None
        network = Network.of(architectures.load(spec, self.of(people)), spec)
        counts = scoring.count(
            network,
            self._judge.validation,
            self._judge.device,
            options.precision,
            keep_going=lambda counts: selection.can_still_win(counts(), bar, metric=options.metric, tie=options.tie),
            progress=self._judge.progress,
        )
        self.counts[_key(people)] = counts
        return selection.verdict(counts, options.metric)

    def of(self, people: Sequence[Candidate]) -> dict[str, torch.Tensor]:
        """The average of `people`, the first of whom gives what is not averaged."""
        mean = self._mean(tuple(people))
        manifest = people[0].manifest
        first, buffers = Weights.of(self._judge.repository, manifest), self._judge.options.buffers
        return {
            name: first[name] if is_kept(manifest.by_name[name], buffers) else tensor
            for name, tensor in mean.weights().items()
        }

    def _mean(self, people: tuple[Candidate, ...]) -> Mean:
        """Only the mean of those kept is remembered: it is all that the next one needs."""
        key = _key(people)
        if key not in self._means:
            before = self._mean(people[:-1]) if len(people) > 1 else Mean()
            kept = {key[:-1]: before} if len(people) > 1 else {}
            model = Weights.of(self._judge.repository, people[-1].manifest)
            self._means = {**kept, key: before.plus(model)}
        return self._means[key]


def _key(people: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(person.key for person in people)


def _names(manifest: Manifest, tensors: Mapping[str, torch.Tensor]) -> bool:
    """True if the manifest names these very bits."""
    return all(id_of(tensor) == manifest.by_name[name].id for name, tensor in tensors.items())


def _rows(found: Selection[Candidate], counts: Mapping[tuple[str, ...], Counts]) -> tuple[Row, ...]:
    """The decisions, with how far each pass went that ended early."""
    rows: list[Row] = []
    kept: list[Candidate] = []
    for step in found.trail:
        seen = None if step.exact else _seen(counts[_key([*kept, step.candidate])])
        rows.append(Row(step.candidate, step.own, step.average, step.exact, step.accepted, seen))
        kept += [step.candidate] if step.accepted else []
    return tuple(rows)


def _seen(counts: Counts) -> tuple[int, int, int]:
    columns = [(count.right, count.seen, count.total) for count in counts.domains.values()]
    right, seen, total = (sum(column) for column in zip(*columns, strict=True))
    return right, seen, total


def is_kept(tensor: Tensor, buffers: str) -> bool:
    """True for what the first model gives: integers always, BatchNorm statistics where the policy says so."""
    is_float = tensor.dtype.startswith(("F", "BF"))
    return not is_float or (buffers == "first" and tensor.name.rpartition(".")[2] in BUFFERS)


def judge_of(repository: Repository, field: Field, options: Options, progress: Progress) -> Judge | None:
    """None where there is no task to validate on, and none is asked for. Raises MergeProblem, TaskProblem."""
    nearest = {found[0].task if found else None for found in field.contexts}
    name = options.task or (nearest.pop() if len(nearest) == 1 else None)
    if name is None or (options.task is None and options.select != "greedy"):
        return None
    loaded = task.load(repository, name, progress)
    fingerprint = loaded.task.fingerprint
    if any(is_of_other_data(found, name, fingerprint) for found in field.contexts):
        raise MergeProblem(
            f"a candidate was trained on other data of task {name!r}", "restore them to validate on them"
        )
    same = [known for found in field.contexts if (known := of_task(found, fingerprint)) is not None]
    if len({(context.trial, context.test, context.limit) for context in same}) > 1:
        raise MergeProblem(
            "the candidates were trained on different splits or with different test domains",
            "one's validation images are another's training images: --select all without --task merges them unseen",
        )
    known = same[0] if same else Context(name, fingerprint, loaded.id, (), 0, None)
    trial = known.trial
    if trial is None:
        raise MergeProblem("a candidate has seen different splits", "no image is left to validate on")
    if options.test_domains is not None:
        wanted = () if options.test_domains == (NONE,) else options.test_domains
        if same and set(wanted) != set(known.test):
            raise MergeProblem(
                f"the candidates held out {', '.join(known.test) or 'nothing'}", "leave --test-domain out"
            )
        known = replace(known, test=wanted)
    specs = [scoring.spec_of(candidate.manifest) for candidate in field.candidates]
    sizes = {architectures.image_size(spec, loaded.task.own_size) for spec in specs}
    if len(sizes) != 1:
        raise MergeProblem("the candidates were trained at different image sizes", "select from one size only")
    data = Data.cut(loaded.task, sizes.pop(), known.test, trial, known.limit, progress)
    scoring.check_fits(specs[0], data)
    how = {**replace(known, test=data.test).json(), "image_size": data.size}
    return Judge(repository, field, data, how, options, device_named(options.device), progress)
