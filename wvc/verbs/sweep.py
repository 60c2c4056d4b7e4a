"""Walk from one model to another and keep the point that validates best (WiSE-FT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction

from torch import Tensor

from wvc import architectures
from wvc.errors import MergeProblem, UsageError
from wvc.learning.counts import accuracy
from wvc.learning.network import Network
from wvc.progress import SILENT, Progress
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.verbs import blend, scoring, sides
from wvc.verbs.candidates import Candidate, Field, check_compatible, check_related
from wvc.verbs.context import history
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.eval import evaluate
from wvc.verbs.judge import Judge, judge_of
from wvc.verbs.mix import Mix
from wvc.verbs.need import need
from wvc.verbs.strategy import named, number
from wvc.verbs.terms import Blending, Merged, Options, Point

MOST = 1001  # points


def grid(text: str) -> tuple[Fraction, ...]:
    """The points of "0:1:0.1", both ends included where the step meets them, in [0, 1]. Raises UsageError."""
    numbers = [number(part.strip()) for part in text.split(":")]
    if len(numbers) != 3 or any(value is None for value in numbers):
        raise UsageError(f"{text!r} is not FROM:TO:STEP", "as in 0:1:0.1")
    start, stop, step = (value for value in numbers if value is not None)
    if not 0 <= start <= stop <= 1 or step <= 0:
        raise UsageError(f"{text!r} does not go up within [0, 1]", "as in 0:1:0.1")
    count = (stop - start) // step + 1
    if count > MOST:
        raise UsageError(f"{text!r} has {count} points", f"take a larger step: at most {MOST} points are tried")
    return tuple(start + i * step for i in range(int(count)))


def sweep(
    repository: Repository,
    revisions: Sequence[str],
    alphas: Sequence[Fraction],
    options: Options,
    progress: Progress = SILENT,
) -> Merged:
    r"""Measure $(1 - \alpha) \theta_0 + \alpha \theta_1$ for each alpha, and commit the best.

    Of equal scores the smallest alpha is kept. With `report_test` the test domains are measured too, all along the way;
    they decide nothing. Raises UsageError, MergeProblem, TaskProblem, RefMoved.

    Wortsman et al., Robust fine-tuning of zero-shot models, 2022, https://arxiv.org/abs/2109.01903
    """
    repository = repository.on(repository.branch)
    if len(revisions) != 2:
        raise UsageError(f"a sweep goes from one model to another: {len(revisions)} are named", "name two")
    ends = blend.one_by_one(repository, revisions)
    judge = _judge(repository, ends, options, progress)
    test = judge.data.test if options.report_test else ()
    if options.report_test and not test:
        raise UsageError("no domain was held out to report on", "leave --report-test out")
    head = repository.head()
    others = [end for end in dict.fromkeys(ends) if end.commit.id != head.id]
    taken = sides.taken(repository, head, others, options)
    need(repository, [model.manifest for model in (*ends, *(side for _, side in taken))], progress)
    line = _Line(judge, ends, taken)
    found = [line.point(alpha, test) for alpha in alphas]
    best = max(found, key=lambda point: (point.score, -point.alpha))
    curve = tuple(replace(point, kept=point is best) for point in found)
    said = {"sweep": [point.json() for point in curve], "metric": options.metric, "precision": options.precision}
    shared = {field.name: getattr(options, field.name) for field in fields(Blending)}
    stated = blend.Options(**shared, coefficients=(1 - best.alpha, best.alpha), said={**judge.how, **said})
    made = replace(blend.blend(repository, revisions, stated, progress), curve=curve, metric=options.metric)
    if made.commit is not None:
        wanted = EvalOptions(domains=tuple(judge.data.seen), precision=options.precision, device=options.device)
        evaluate(repository, made.commit.id, wanted, progress)
    return made


class _Line:
    """The line between two models."""

    def __init__(self, judge: Judge, ends: Sequence[Candidate], taken: tuple[tuple[str, Candidate], ...]) -> None:
        """taken: (glob, model) of tensors that are one model's own at every point."""
        self._judge, self._ends, self._taken = judge, tuple(ends), taken

    def point(self, alpha: Fraction, test: Sequence[str]) -> Point:
        """One point, measured."""
        judge = self._judge
        spec = scoring.spec_of(self._ends[1].manifest)
        network = Network.of(architectures.load(spec, self._weights(alpha)), spec)
        counts, _ = judge.count(network)
        beside = None
        if test:
            whole = {domain: judge.data.of(domain, "all") for domain in test}
            tested = scoring.count(network, whole, judge.device, judge.options.precision, progress=judge.progress)
            beside = accuracy(tested, judge.options.metric)
        return Point(alpha, accuracy(counts, judge.options.metric), beside)

    def _weights(self, alpha: Fraction) -> dict[str, Tensor]:
        shares = [(end, share) for end, share in zip(self._ends, (1 - alpha, alpha), strict=True) if share]
        shares.sort(key=lambda pair: pair[0].key)
        models, coefficients = zip(*shares, strict=True)
        first = self._ends[0] if alpha < 1 else self._ends[1]
        buffers = self._judge.options.buffers
        mix = Mix(named("linear"), models, first, coefficients, buffers=buffers, taken=self._taken)
        return dict(mix.weights(self._judge.repository))


def _judge(repository: Repository, ends: Sequence[Candidate], options: Options, progress: Progress) -> Judge:
    head = repository.head()
    ids = [end.commit.id for end in ends if end.commit.id != head.id]
    check_related(Graph(repository), head, ids, allow_unrelated=options.allow_unrelated)
    check_compatible(ends)
    contexts = tuple(history(repository, end.commit) for end in ends)
    field = Field(head, tuple(ends), tuple(end.key for end in ends), contexts, ends[0], {}, None)
    judge = judge_of(repository, field, replace(options, select="greedy"), progress)
    if judge is None:
        raise MergeProblem("a sweep needs a task to validate on", "name it with --task")
    return judge
