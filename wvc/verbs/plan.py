"""Decide everything about a training before it begins: what the options leave open, history and defaults settle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from wvc import architectures
from wvc.errors import ModelProblem, UsageError
from wvc.learning.settings import Settings
from wvc.progress import Progress
from wvc.repo import revisions
from wvc.repo.objects import Commit, ModelSpec
from wvc.repo.repository import Repository
from wvc.verbs import probe, starts, task
from wvc.verbs.context import Context, history, of_task
from wvc.verbs.data import NONE, TRANSFORM, Data, device_named
from wvc.verbs.options import Options
from wvc.verbs.settings import settle

__all__ = ["Options", "Plan", "make", "summary"]

Plan = dict[str, Any]

UNUSUAL = ("optimizer", "schedule", "warmup_steps", "clip", "accumulate", "label_smoothing", "keep")


def make(repository: Repository, options: Options, progress: Progress) -> tuple[Plan, Data]:
    """Everything that decides the training, and the images. Raises TaskProblem, ModelProblem, UsageError."""
    head = repository.head()
    manifest = repository.manifest(head)
    if manifest.spec is None:
        raise ModelProblem("HEAD holds plain tensors of no known architecture", "`wvc import FILE --arch NAME`")
    loaded = task.load(repository, _task_name(head, options), progress)
    device = device_named(options.device)
    base = repository.commit(revisions.resolve(repository, options.probe_from)) if options.probe_from else None
    start = starts.choose(repository, head, loaded.task, wanted=options.head, foundation=base)
    size = _image_size(repository, manifest.spec, start, loaded.task.own_size, options.image_size)
    context = of_task(history(repository, head), loaded.task.fingerprint)
    test, trial = _test_domains(options, context), _trial(options, context)
    data = Data.cut(loaded.task, size, test, trial, options.limit, progress)
    _check_seen(context, data)
    data.check_validation()
    if manifest.spec.channels != loaded.task.channels:
        raise ModelProblem(f"the model wants {manifest.spec.channels} channels, the task has {loaded.task.channels}")
    settings = settle(options, start, data, device)
    made = None
    if start.head == "probe":
        assert start.foundation is not None
        seen = replace(data, trial=0) if options.probe_shared else data
        made = probe.ensure(repository, start.foundation, seen, options.probe, _what(loaded, seen), device, progress)
    how = _what(loaded, data) | {
        "start": _start(head, start, made),
        "settings": settings.json(),
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
        "probe_trial": made.how["trial"] if made else None,
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
    usual = Settings().json()
    unusual = [f"{name.replace('_', ' ')} {settings[name]}" for name in UNUSUAL if settings[name] != usual[name]]
    if settings["trajectory"]:
        values = ", ".join(f"{name} {value}" for name, value in settings["trajectory"].items() if name != "kind")
        unusual.append(f"{settings['trajectory']['kind'].upper()} ({values})")
    if unusual:
        yield ", ".join(unusual)
    heads = {"keep": "its own head", "probe": "the foundation's linear probe", "random": "a random head"}
    frozen = f", featurizer frozen for {settings['freeze_steps']} steps" if settings["freeze_steps"] else ""
    yield f"from {start['featurizer'][:10]} with {heads[start['head']]}{frozen}"
    if start["probe_trial"] not in (None, how["trial"]):
        shared, own = start["probe_trial"], how["trial"]
        yield f"the linear probe of split {shared} is shared: it has seen validation images of split {own}"


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
