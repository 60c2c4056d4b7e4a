"""Measure a commit on a task, and attach the scores to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvc import architectures
from wvc.errors import ModelProblem, TaskProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.repo.scores import Score
from wvc.verbs import scoring, task
from wvc.verbs.context import Context, common, history, is_of_other_data, of_task
from wvc.verbs.data import NONE, Data, device_named

CHANGED = "restore them, or add the new ones under another name"


@dataclass(frozen=True)
class Options:
    """What to measure; None leaves it to the commit's own `how`.

    domains: names; None for all. split: "val", "in" or "all"; None for the whole of a test domain, else "val".
    test_domains: as in training. record: attach the scores to the commit.
    """

    task: str | None = None
    domains: tuple[str, ...] | None = None
    split: str | None = None
    test_domains: tuple[str, ...] | None = None
    trial: int | None = None
    precision: str = "fp32"
    device: str = "auto"
    record: bool = True


@dataclass(frozen=True)
class Model:
    """A commit to measure. name: how the user called it. contexts: what it has seen, the nearest first."""

    name: str
    commit: Commit
    manifest: Manifest
    contexts: list[Context]

    @classmethod
    def of(cls, repository: Repository, revision: str) -> Model:
        """Raises UnknownRevision."""
        commit = repository.commit(resolve(repository, revision))
        return cls(names.short(revision), commit, repository.manifest(commit), history(repository, commit))


@dataclass(frozen=True)
class Plan:
    """What is to be measured, and may be. task: its name. parts: split -> domains."""

    task: str
    data: Data
    parts: Mapping[str, list[str]]


@dataclass(frozen=True)
class Evaluation:
    """scores: at most one per split. test: the domains that the model has not seen."""

    commit: Commit
    task: str
    test: tuple[str, ...]
    scores: tuple[Score, ...]

    def json(self) -> dict[str, Any]:
        scores = [facts(score) for score in self.scores]
        return {"commit": self.commit.id, "task": self.task, "test_domains": list(self.test), "scores": scores}


def facts(score: Score) -> dict[str, Any]:
    """A score with the accuracies that follow from it."""
    accuracy = {domain: right / total for domain, (right, total) in score.domains.items()}
    return {**score.json(), "micro": float(score.micro), "macro": float(score.macro), "accuracy": accuracy}


def evaluate(repository: Repository, revision: str, options: Options, progress: Progress = SILENT) -> Evaluation:
    """The scores of a commit, from the repository where known. Raises TaskProblem, ModelProblem, UsageError."""
    model = Model.of(repository, revision)
    found = plan(repository, [model], options, progress)
    device = device_named(options.device)
    scores, new = [], []
    for split, domains in found.parts.items():
        circumstances = scoring.circumstances(model.manifest, found.data, split, device, options.precision)
        pixels = {domain: (lambda d=domain, s=split: found.data.of(d, s)) for domain in domains}
        score, measured = scoring.known_or_measured(
            repository, model.manifest, circumstances, pixels, device=device, progress=progress
        )
        scores.append(score)
        new += [score] if measured else []
    if options.record and new:
        _record(repository, model.commit, new)
    return Evaluation(model.commit, found.task, found.data.test, tuple(scores))


def plan(repository: Repository, models: Sequence[Model], options: Options, progress: Progress = SILENT) -> Plan:
    """Which images `models` may be measured on together: none that one of them was trained on, unless asked for.

    Raises TaskProblem, ModelProblem, UsageError.
    """
    name = options.task or _own_task(models)
    loaded = task.load(repository, name, progress)
    for model in models:
        if is_of_other_data(model.contexts, name, loaded.task.fingerprint):
            raise TaskProblem(f"{model.name} was trained on other data of task {name!r}", CHANGED)
    known = [of_task(model.contexts, loaded.task.fingerprint) for model in models]
    context = common([one for one in known if one is not None])
    data = _data(models, loaded, context, options, progress)
    seen = set(loaded.task.domains) - set(context.test) if context is not None else set()
    several = context is not None and context.trial is None
    chosen = options.domains or (data.test if several else loaded.task.domains)
    if several and (seen & set(chosen) or not chosen):
        raise _several(context)
    who = "the model" if len(models) == 1 else "one of the models"
    return Plan(name, data, _splits(loaded.task.domains, chosen, options.split, seen, who))


def _own_task(models: Sequence[Model]) -> str:
    """The task that all saw last. Raises UsageError."""
    last = {model.contexts[0].task if model.contexts else None for model in models}
    name = last.pop() if len(last) == 1 else None
    if name is None:
        raise UsageError("which task?", "name it with --task")
    return name


class SeveralSplits(UsageError):
    """Nothing is left to measure on: each split's validation images are training images of another."""


def _several(context: Context | None) -> SeveralSplits:
    held = ", ".join(context.test) if context is not None else ""
    return SeveralSplits(
        "several splits were trained on: every image of their domains may be known",
        f"measure the domains held out: {held or 'there are none'}",
    )


def _data(
    models: Sequence[Model], loaded: task.Loaded, context: Context | None, options: Options, progress: Progress
) -> Data:
    """The task as the models may be measured on it. Raises ModelProblem, TaskProblem, UsageError."""
    size = _size(models, loaded.task.own_size)
    trial = context.trial if context else 0
    if options.trial is not None and context is not None and options.trial != trial and options.split != "in":
        trained = "several splits were" if trial is None else f"split {trial} was"
        raise UsageError(f"{trained} trained on, not split {options.trial}", "leave --trial-seed out, or --split in")
    test = options.test_domains if options.test_domains is not None else context.test if context else ()
    limit = context.limit if context else None
    chosen = options.trial if options.trial is not None else trial or 0
    data = Data.cut(loaded.task, size, () if test == (NONE,) else test, chosen, limit, progress)
    for model in models:
        scoring.check_fits(scoring.spec_of(model.manifest), data)
    return data


def _size(models: Sequence[Model], own: int | None) -> int:
    """Side of the images in pixels. Raises ModelProblem that names the first two models that want different ones."""
    sizes = [architectures.image_size(scoring.spec_of(model.manifest), own) for model in models]
    for model, size in zip(models, sizes, strict=True):
        if size != sizes[0]:
            raise ModelProblem(
                f"{models[0].name} takes images of {sizes[0]} px, {model.name} of {size} px",
                "measure models of one size together",
            )
    return sizes[0]


def _splits(
    known: tuple[str, ...], chosen: tuple[str, ...], split: str | None, seen: set[str], who: str
) -> dict[str, list[str]]:
    """Which domains to measure under which split. Raises TaskProblem, UsageError."""
    result: dict[str, list[str]] = {}
    for domain in chosen:
        if domain not in known:
            raise TaskProblem(f"there is no domain {domain!r}", f"there are {', '.join(known)}")
        wanted = split or ("val" if domain in seen else "all")
        if wanted == "all" and domain in seen:
            raise UsageError(
                f"{who} was trained on images of {domain!r}",
                "use --split val, or --split in for the training images",
            )
        result.setdefault(wanted, []).append(domain)
    return result


def _record(repository: Repository, commit: Commit, new: list[Score]) -> None:
    attachments = [score.attachment(commit.id) for score in new]
    with repository.batch(objects=sum(len(attachment.data) for attachment in attachments)) as batch:
        ids = [batch.put(attachment.data) for attachment in attachments]
        repository.record(batch, [], f"eval: {commit.id[:12]}", ids)
