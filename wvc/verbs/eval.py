"""Measure a commit on a task, and attach the scores to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wvc import architectures
from wvc.errors import TaskProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo.objects import Commit, Manifest
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.repo.scores import Score
from wvc.verbs import scoring, task
from wvc.verbs.context import Context, history, is_of_other_data, of_task
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
class Evaluation:
    """scores: at most one per split. test: the domains that the model has not seen."""

    commit: Commit
    task: str
    test: tuple[str, ...]
    scores: tuple[Score, ...]

    def json(self) -> dict[str, Any]:
        scores = [
            {**score.json(), "micro": float(score.micro), "macro": float(score.macro), "accuracy": _accuracies(score)}
            for score in self.scores
        ]
        return {"commit": self.commit.id, "task": self.task, "test_domains": list(self.test), "scores": scores}


def evaluate(repository: Repository, revision: str, options: Options, progress: Progress = SILENT) -> Evaluation:
    """The scores of a commit, from the repository where known. Raises TaskProblem, ModelProblem, UsageError."""
    commit = repository.commit(resolve(repository, revision))
    manifest = repository.manifest(commit)
    contexts = history(repository, commit)
    name = options.task or (contexts[0].task if contexts else None)
    if name is None:
        raise UsageError("which task?", "name it with --task")
    loaded = task.load(repository, name, progress)
    if is_of_other_data(contexts, name, loaded.task.fingerprint):
        raise TaskProblem(f"the model was trained on other data of task {name!r}", CHANGED)
    context = of_task(contexts, loaded.task.fingerprint)
    data = _data(manifest, loaded, context, options, progress)
    seen = set(loaded.task.domains) - set(context.test) if context is not None else set()
    chosen = options.domains or (data.test if context and context.trial is None else loaded.task.domains)
    if context is not None and context.trial is None and seen & set(chosen):
        raise UsageError(
            "the model has seen several splits: every image of the domains it was trained on may be known to it",
            f"measure the domains held out: {', '.join(context.test) or 'there are none'}",
        )
    device = device_named(options.device)
    scores, new = [], []
    for split, domains in _splits(loaded.task.domains, chosen, options.split, seen).items():
        circumstances = scoring.circumstances(manifest, data, split, device, options.precision)
        pixels = {domain: (lambda d=domain, s=split: data.of(d, s)) for domain in domains}
        score, measured = scoring.known_or_measured(
            repository, manifest, circumstances, pixels, device=device, progress=progress
        )
        scores.append(score)
        new += [score] if measured else []
    if options.record and new:
        _record(repository, commit, new)
    return Evaluation(commit, name, data.test, tuple(scores))


def _data(
    manifest: Manifest, loaded: task.Loaded, context: Context | None, options: Options, progress: Progress
) -> Data:
    """The task as the model may be measured on it. Raises ModelProblem, TaskProblem, UsageError."""
    spec = scoring.spec_of(manifest)
    size = architectures.image_size(spec, loaded.task.own_size)
    trial = context.trial if context else 0
    if options.trial is not None and context is not None and options.trial != trial and options.split != "in":
        raise UsageError(f"the model was trained on split {trial}", "leave --trial-seed out, or --split in")
    test = options.test_domains if options.test_domains is not None else context.test if context else ()
    limit = context.limit if context else None
    chosen = options.trial if options.trial is not None else trial or 0
    data = Data.cut(loaded.task, size, () if test == (NONE,) else test, chosen, limit, progress)
    scoring.check_fits(spec, data)
    return data


def _splits(known: tuple[str, ...], chosen: tuple[str, ...], split: str | None, seen: set[str]) -> dict[str, list[str]]:
    """Which domains to measure under which split. Raises TaskProblem, UsageError."""
    result: dict[str, list[str]] = {}
    for domain in chosen:
        if domain not in known:
            raise TaskProblem(f"there is no domain {domain!r}", f"there are {', '.join(known)}")
        wanted = split or ("val" if domain in seen else "all")
        if wanted == "all" and domain in seen:
            raise UsageError(
                f"the model was trained on images of {domain!r}",
                "use --split val, or --split in for the training images",
            )
        result.setdefault(wanted, []).append(domain)
    return result


def _record(repository: Repository, commit: Commit, new: list[Score]) -> None:
    attachments = [score.attachment(commit.id) for score in new]
    with repository.batch(objects=sum(len(attachment.data) for attachment in attachments)) as batch:
        ids = [batch.put(attachment.data) for attachment in attachments]
        repository.record(batch, [], f"eval: {commit.id[:12]}", ids)


def _accuracies(score: Score) -> dict[str, float]:
    return {domain: right / total for domain, (right, total) in score.domains.items()}
