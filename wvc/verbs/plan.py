"""Decide everything about a training before it begins: what the options leave open, history and defaults settle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from wvc import architectures
from wvc.errors import ModelProblem, UsageError
from wvc.learning import hparams
from wvc.learning.seeds import run_seed
from wvc.learning.settings import Settings
from wvc.progress import Progress
from wvc.repo import revisions
from wvc.repo.objects import Commit, ModelSpec
from wvc.repo.repository import Repository
from wvc.verbs import probe, starts, task
from wvc.verbs.context import Context, history, of_task
from wvc.verbs.data import NONE, TRANSFORM, Data, device_named

Plan = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What a user may say of a training; None leaves it to the defaults, HEAD or the drawn hyperparameters.

    task: name; None for HEAD's. test_domains: names, ("none",) for none at all; None for HEAD's on the same task.
    steps: updates. evaluate_every, freeze_steps: updates.
    hparams_seed: draws the hyperparameters that are not given; 0 has the defaults (design, Trainings).
    seed: of the run, instead of the one that its task, test domains and seeds give.
    trial: which 80/20 split; None for HEAD's on the same task, else 0. limit: images per domain, for a smoke run.
    head: "fresh" or "keep", against the rule of starts. probe_from: revision of the foundation.
    cook: which step of which recipe this is.
    """

    task: str | None = None
    test_domains: tuple[str, ...] | None = None
    steps: int = 5001
    learning_rate: float | None = None
    batch_size: int | None = None
    weight_decay: float | None = None
    dropout: float | None = None
    hparams_seed: int | None = None
    space: str = "mild"
    seed: int | None = None
    trial: int | None = None
    freeze_steps: int | None = None
    evaluate_every: int | None = None
    image_size: int | None = None
    precision: str = "fp32"
    device: str = "auto"
    limit: int | None = None
    head: str | None = None
    probe_from: str | None = None
    probe: probe.Form = field(default_factory=probe.Form)
    message: str | None = None
    cook: Mapping[str, Any] | None = None


def make(repository: Repository, options: Options, progress: Progress) -> tuple[Plan, Data]:
    """Everything that decides the training, and the images. Raises TaskProblem, ModelProblem, UsageError."""
    head = repository.head()
    manifest = repository.manifest(head)
    if manifest.spec is None:
        raise ModelProblem("HEAD holds plain tensors of no known architecture", "`wvc import FILE --arch NAME`")
    loaded = task.load(repository, _task_name(head, options), progress)
    device = device_named(options.device)
    base = repository.commit(revisions.resolve(repository, options.probe_from)) if options.probe_from else None
    start = starts.choose(
        repository, head, loaded.task, fresh=options.head == "fresh", keep=options.head == "keep", foundation=base
    )
    size = _image_size(repository, manifest.spec, start, loaded.task.own_size, options.image_size)
    context = of_task(history(repository, head), loaded.task.fingerprint)
    test, trial = _test_domains(options, context), _trial(options, context)
    data = Data.cut(loaded.task, size, test, trial, options.limit, progress)
    _check_seen(context, data)
    data.check_validation()
    if manifest.spec.channels != loaded.task.channels:
        raise ModelProblem(f"the model wants {manifest.spec.channels} channels, the task has {loaded.task.channels}")
    settings = _settings(options, start, data, device)
    how = _what(loaded, data)
    made = None
    if start.head == "probe":
        assert start.foundation is not None
        made = probe.ensure(repository, start.foundation, data, options.probe, how, device, progress)
    how |= {
        "start": _start(head, start, made),
        "settings": _json(settings),
        "hparams_seed": options.hparams_seed,
        "hparams_space": options.space,
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    if options.cook is not None:
        how["cook"] = dict(options.cook)
    message = options.message or f"fine-tune on {loaded.task.name}"
    return {"branch": repository.branch, "parent": head.id, "message": message, "how": how}, data


def _what(loaded: task.Loaded, data: Data) -> dict[str, Any]:
    """The images, as `how` says it."""
    return {
        "kind": "train",
        "task": {"name": loaded.task.name, "fingerprint": loaded.task.fingerprint, "object": loaded.id},
        "test_domains": list(data.test),
        "trial": data.trial,
        "limit": data.limit,
        "image_size": data.size,
        "transform": TRANSFORM,
    }


def _start(head: Commit, start: starts.Start, made: Commit | None) -> dict[str, Any]:
    """The weights to begin with, as `how` says it."""
    return {
        "featurizer": head.id,
        "foundation": start.foundation.id if start.foundation else None,
        "probe": made.id if made else None,
        "head": start.head,
        "recycled": start.recycled,
    }


def summary(how: Mapping[str, Any]) -> Iterator[str]:
    """What a user wants to have seen before the hours begin."""
    held = ", ".join(how["test_domains"]) or "none"
    yield f"task {how['task']['name']}, test domain {held}, split {how['trial']}, images of {how['image_size']} px"
    settings, start = how["settings"], how["start"]
    names = ("steps", "batch_size", "learning_rate", "weight_decay", "dropout", "seed")
    yield ", ".join(f"{name.replace('_', ' ')} {settings[name]}" for name in names) + f", on {how['device']}"
    heads = {"keep": "its own head", "probe": "the foundation's linear probe", "random": "a random head"}
    frozen = f", featurizer frozen for {settings['freeze_steps']} steps" if settings["freeze_steps"] else ""
    yield f"from {start['featurizer'][:10]} with {heads[start['head']]}{frozen}"


def _task_name(head: Commit, options: Options) -> str:
    known = head.how.get("task")
    if options.task is not None:
        return options.task
    if isinstance(known, dict):
        return str(known["name"])
    raise UsageError("which task?", "name it with --task")


def _test_domains(options: Options, context: Context | None) -> tuple[str, ...]:
    """Those given; else those that HEAD has not seen of the same task."""
    wanted = options.test_domains
    if wanted is None:
        return context.test if context is not None else ()
    return () if wanted == (NONE,) else wanted


def _trial(options: Options, context: Context | None) -> int:
    """The one given; else the split that HEAD was trained on."""
    known = context.trial if context is not None else None
    return options.trial if options.trial is not None else known or 0


def _check_seen(context: Context | None, data: Data) -> None:
    """What HEAD was trained on can neither validate nor test what comes of it. Raises UsageError."""
    if context is None:
        return
    if context.trial != data.trial or context.limit != data.limit:
        split = "several splits" if context.trial is None else f"split {context.trial}"
        limit = "" if context.limit is None else f" of {context.limit} images a domain"
        raise UsageError(
            f"HEAD was trained on {split}{limit} of this task, so other validation images are known to it",
            "go on with the same split and limit, or begin at a commit that has not seen the task",
        )
    known = [domain for domain in data.test if domain not in context.test]
    if known:
        raise UsageError(
            f"HEAD was trained on images of {known[0]!r}", "begin at a commit that has not seen that domain"
        )


def _image_size(
    repository: Repository, spec: ModelSpec, start: starts.Start, own: int | None, wanted: int | None
) -> int:
    """What is asked for; else what the kept head was trained at, or what `init --image-size` said; else the data's."""
    if start.head == "keep" or start.foundation is None:
        fixed = spec.image_size
    else:
        founded = repository.manifest(start.foundation).spec
        # A foundation that was trained here has the size of its own data, which nobody asked for.
        fixed = founded.image_size if founded and start.foundation.kind in ("import", "create") else None
    return architectures.image_size(replace(spec, image_size=wanted or fixed), own)


def _settings(options: Options, start: starts.Start, data: Data, device: torch.device) -> Settings:
    """Explicit options beat drawn hyperparameters, which beat the defaults."""
    drawn = hparams.draw(options.hparams_seed or 0, data.trial, options.space)
    given = {
        "learning_rate": options.learning_rate,
        "batch_size": options.batch_size,
        "weight_decay": options.weight_decay,
        "dropout": options.dropout,
    }
    values = asdict(drawn) | {name: value for name, value in given.items() if value is not None}
    freeze = options.freeze_steps
    if freeze is None:
        freeze = round(0.04 * options.steps) if start.recycled else 0  # 200 at 5001, as the papers
    test = [data.task.domains.index(name) for name in data.test] or [-1]
    seed = run_seed(data.task.name, test, options.hparams_seed or 0, data.trial)
    return Settings(
        steps=options.steps,
        evaluate_every=options.evaluate_every or min(100, max(1, options.steps // 5)),
        freeze_steps=freeze,
        seed=seed if options.seed is None else options.seed,
        precision="bf16" if options.precision == "bf16" else "fp32",
        augmentation=data.task.augmentation,
        deterministic=device.type == "cpu",
        freeze_statistics=not start.live,
        **values,
    )


def _json(settings: Settings) -> dict[str, Any]:
    return {name: repr(value) if isinstance(value, float) else value for name, value in asdict(settings).items()}


def settings_of(value: Mapping[str, Any]) -> Settings:
    reals = ("learning_rate", "weight_decay", "dropout")
    return Settings(**{**value, **{name: float(value[name]) for name in reals}})
