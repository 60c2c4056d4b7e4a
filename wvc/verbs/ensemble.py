"""Measure several commits together: the mean of what they answer decides. Nothing is recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from wvc.errors import ModelProblem, TaskProblem, UsageError
from wvc.learning.ensemble import SPACES, Ensemble, Space
from wvc.learning.pixels import Pixels
from wvc.progress import SILENT, Progress
from wvc.repo.repository import Repository
from wvc.repo.revisions import expand
from wvc.repo.scores import Circumstances, Score
from wvc.store.canonical import digest, dumps
from wvc.verbs import eval, logits, scoring
from wvc.verbs.data import device_named
from wvc.verbs.eval import Model, Plan

Images = Mapping[str, Mapping[str, Pixels]]  # split -> domain -> images


@dataclass(frozen=True)
class Options(eval.Options):
    """What to measure, as for one commit; `record` means nothing here.

    space: "logit" or "prob", what the mean is taken of.
    """

    space: Space = "logit"


@dataclass(frozen=True)
class EnsembleEvaluation:
    """members: no two with the same weights, by weights id. test: the domains that none of them has seen.

    scores: at most one per split. Their `weights` is a digest of space and members: an ensemble has no weights itself.
    """

    members: tuple[Model, ...]
    space: Space
    task: str
    test: tuple[str, ...]
    scores: tuple[Score, ...]

    def json(self) -> dict[str, Any]:
        members = [{"commit": m.commit.id, "weights": m.commit.weights, "name": m.name} for m in self.members]
        return {
            "members": members,
            "space": self.space,
            "task": self.task,
            "test_domains": list(self.test),
            "scores": [eval.facts(score) for score in self.scores],
        }


def ensemble(
    repository: Repository, revisions: Sequence[str], options: Options, progress: Progress = SILENT
) -> EnsembleEvaluation:
    """How the uniform mean of `revisions` does, globs over local branches among them (design, Scores).

    Of commits with the same weights one takes part, and the order is that of weights ids: the same models give the same
    result. Raises UnknownRevision, TaskProblem, ModelProblem, UsageError.
    """
    if options.space not in SPACES:
        raise UsageError(f"unknown space {options.space!r}", f"there are {' and '.join(SPACES)}")
    named = [Model.of(repository, revision) for revision in expand(repository, list(revisions))]
    members = sorted({m.commit.weights: m for m in reversed(named)}.values(), key=lambda m: m.commit.weights)
    _check_classes(members)
    plan = eval.plan(repository, members, options, progress)
    images = {split: {d: _some(plan, d, split) for d in domains} for split, domains in plan.parts.items()}
    device = device_named(options.device)
    sums = _sums(repository, members, plan, images, options, device, progress)
    wanted = _circumstances(members, plan, options, device)
    scores = [
        Score(replace(wanted, split=split), {d: _right(sums[d], pixels) for d, pixels in domains.items()})
        for split, domains in images.items()
    ]
    return EnsembleEvaluation(tuple(members), options.space, plan.task, plan.data.test, tuple(scores))


def _some(plan: Plan, domain: str, split: str) -> Pixels:
    """The images of a domain. Raises TaskProblem where there are none."""
    pixels = plan.data.of(domain, split)
    if not len(pixels):
        raise TaskProblem(f"domain {domain!r} has no images in this split", "it takes 5 images to validate on one")
    return pixels


def _check_classes(members: Sequence[Model]) -> None:
    """Raises ModelProblem that names the first two that answer different questions."""
    first, *others = [(member.name, scoring.spec_of(member.manifest)) for member in members]
    for name, spec in others:
        known = {classes for classes in (first[1].classes, spec.classes) if classes is not None}
        if spec.outputs != first[1].outputs or len(known) > 1:
            raise ModelProblem(f"{first[0]} and {name} have different classes", "an ensemble is of models of one task")


def _sums(
    repository: Repository,
    members: Sequence[Model],
    plan: Plan,
    images: Images,
    options: Options,
    device: torch.device,
    progress: Progress,
) -> Mapping[str, Ensemble]:
    """Domain -> what all members say together, with one of them in memory at a time."""
    sums = {domain: Ensemble(options.space) for domains in images.values() for domain in domains}
    for member in members:
        said = logits.of_model(
            repository,
            member.manifest,
            plan.data,
            images,
            device=device,
            precision=options.precision,
            progress=progress,
        )
        for domain, answers in said:
            sums[domain].add(answers)
    return sums


def _circumstances(members: Sequence[Model], plan: Plan, options: Options, device: torch.device) -> Circumstances:
    """Those of the first member, but for the name of the weights."""
    together = digest(dumps({"space": options.space, "weights": [m.commit.weights for m in members]}))
    first = scoring.circumstances(members[0].manifest, plan.data, "", device, options.precision)
    return replace(first, weights=together)


def _right(together: Ensemble, pixels: Pixels) -> tuple[int, int]:
    """(right, total)."""
    labels = pixels.labels[pixels.indices]
    return int(np.count_nonzero(together.decisions() == labels)), len(labels)
