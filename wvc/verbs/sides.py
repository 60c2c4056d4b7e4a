"""What surrounds a blend: tensors that one side gives, statistics that are estimated anew, a report on test images."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from typing import Any

from wvc import architectures
from wvc.errors import MergeProblem, UsageError
from wvc.learning.network import Network
from wvc.learning.recalibrate import recalibrate
from wvc.progress import Progress
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository
from wvc.verbs import scoring, task
from wvc.verbs.candidates import Candidate
from wvc.verbs.context import Context
from wvc.verbs.data import Data, device_named
from wvc.verbs.eval import Evaluation, evaluate
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.mix import Mix
from wvc.verbs.terms import Blending, Options
from wvc.weights import Held, Weights

BATCH = 64  # images that one estimate of the statistics is made of


def taken(
    repository: Repository, head: Commit, others: Sequence[Candidate], options: Blending
) -> tuple[tuple[str, Candidate], ...]:
    """(glob, model) for --ours and --theirs. Raises UsageError, MergeProblem."""
    if not options.ours and not options.theirs:
        return ()
    if options.theirs and len(others) != 1:
        raise UsageError(
            f"--theirs needs one model other than HEAD, not {len(others)}", "take tensors from one side at a time"
        )
    ours = Candidate("HEAD", head, repository.manifest(head))
    found = [(glob, ours) for glob in options.ours] + [(glob, others[0]) for glob in options.theirs]
    names = {t.name: (t.dtype, t.shape) for t in others[0].manifest.tensors} if others else {}
    for glob, model in found:
        matched = [name for name in names if fnmatch.fnmatchcase(name, glob)]
        if not matched:
            raise UsageError(f"no tensor matches {glob!r}", "`wvc show REV` and `wvc diff` name them")
        for name in matched:
            tensor = model.manifest.by_name.get(name)
            if tensor is None or (tensor.dtype, tensor.shape) != names[name]:
                raise MergeProblem(f"tensor {name!r} of {model.name} is of another shape or dtype", "take the others'")
    both = [n for n in names if _hits(n, options.ours) and _hits(n, options.theirs)]
    if both:
        raise UsageError(f"{both[0]!r} matches --ours and --theirs", "let each tensor come from one side")
    return tuple(found)


def recalibrated(
    repository: Repository, mix: Mix, context: Context | None, options: Blending, progress: Progress
) -> tuple[Weights, dict[str, Any], tuple[str, ...]]:
    """The blend of `mix`, with BatchNorm statistics of its own where that is asked for; what `how` says of it; notes.

    They are estimated from training images of the task that all models have seen. Raises MergeProblem, TaskProblem.
    """
    merged = mix.weights(repository)
    if options.recalibrate is None:
        return merged, {}, ()
    if context is None or mix.featurizer_only:
        raise MergeProblem(
            "statistics are estimated from training images, and the models share no task", "leave --recalibrate out"
        )
    if context.trial is None:
        raise MergeProblem("the models were trained on different splits", "leave --recalibrate out")
    return again(repository, mix, merged, context, options.recalibrate, options.device, progress)


def again(
    repository: Repository,
    mix: Mix,
    merged: Weights,
    context: Context,
    count: int,
    device: str,
    progress: Progress,
) -> tuple[Weights, dict[str, Any], tuple[str, ...]]:
    """As `recalibrated`, of `count` images of the task of `context`, 0 for all."""
    spec = scoring.spec_of(mix.first.manifest)
    loaded = task.load(repository, context.task, progress)
    if loaded.task.fingerprint != context.fingerprint:
        raise MergeProblem(f"the models were trained on other data of task {context.task!r}", "restore them")
    size = architectures.image_size(spec, loaded.task.own_size)
    trial = context.trial or 0
    data = Data.cut(loaded.task, size, context.test, trial, context.limit, progress)
    network = Network.of(architectures.load(spec, merged), spec)
    images = {domain: data.of(domain, "in") for domain in data.seen}
    place = device_named(device)
    found = recalibrate(network, images, batch_size=BATCH, count=count or None, seed=0, device=place, progress=progress)
    own = {name.removeprefix("featurizer."): tensor for name, tensor in found.items()}  # as the family has it
    lazy = {
        name: Held(own[name].to(held.dtype).reshape(held.shape)) if name in own else held
        for name, held in merged.lazy.items()
    }
    notes = [f"estimated {len(own)} BatchNorm statistics anew"]
    if any(model.commit.how.get("settings", {}).get("freeze_statistics") for model in mix.models):
        notes.append("the models were trained with frozen statistics, which they rely on: measure before you keep this")
    facts = {"recalibrated": {"images": count, "batch_size": BATCH, "seed": 0, "device": str(place)}}
    return Weights(lazy), facts, tuple(notes)


def report(repository: Repository, commit: Commit, options: Options, progress: Progress) -> Evaluation | None:
    """How the result does on the test domains, which no selection has seen. Raises UsageError, TaskProblem."""
    if not options.report_test:
        return None
    test = tuple(commit.how.get("test_domains", ()))
    if not test:
        raise UsageError("no domain was held out to report on", "leave --report-test out")
    wanted = EvalOptions(domains=test, precision=options.precision, device=options.device)
    return evaluate(repository, commit.id, wanted, progress)


def _hits(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, glob) for glob in globs)
