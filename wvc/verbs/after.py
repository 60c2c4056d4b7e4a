"""What is done with a blend: statistics that are estimated anew, and a report on test images. Both need torch."""

from __future__ import annotations

from typing import Any

from wvc import architectures
from wvc.errors import MergeProblem
from wvc.learning.network import Network
from wvc.learning.recalibrate import recalibrate
from wvc.progress import Progress
from wvc.repo.repository import Repository
from wvc.tensors import DTYPES
from wvc.verbs import scoring, task
from wvc.verbs.context import Context
from wvc.verbs.data import Data, device_named
from wvc.verbs.eval import Evaluation, evaluate
from wvc.verbs.eval import Options as EvalOptions
from wvc.verbs.mix import Mix
from wvc.verbs.terms import Options
from wvc.weights import Held, Weights

BATCH = 64  # images that one estimate of the statistics is made of


def recalibrated(
    repository: Repository,
    mix: Mix,
    merged: Weights,
    context: Context,
    count: int,
    device: str,
    progress: Progress,
) -> tuple[Weights, dict[str, Any], tuple[str, ...]]:
    """`merged`, with BatchNorm statistics of its own; what `how` says of it; notes.

    They are estimated from `count` training images of the task of `context`, 0 for all.
    Raises MergeProblem, TaskProblem.
    """
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
        name: Held(own[name].to(DTYPES[held.dtype]).reshape(held.shape)) if name in own else held
        for name, held in merged.lazy.items()
    }
    notes = [f"estimated {len(own)} BatchNorm statistics anew"]
    if any(model.commit.how.get("settings", {}).get("freeze_statistics") for model in mix.models):
        notes.append("the models were trained with frozen statistics, which they rely on: measure before you keep this")
    facts = {"recalibrated": {"images": count, "batch_size": BATCH, "seed": 0, "device": str(place)}}
    return Weights(lazy), facts, tuple(notes)


def report(repository: Repository, id: str, test: tuple[str, ...], options: Options, progress: Progress) -> Evaluation:
    """How the commit `id` does on the domains `test`, which no selection has seen. Raises TaskProblem."""
    wanted = EvalOptions(domains=test, precision=options.precision, device=options.device)
    return evaluate(repository, id, wanted, progress)
