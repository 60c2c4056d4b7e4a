"""Measure a model on parts of a task and say under which circumstances; measure nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from wvc import architectures
from wvc.errors import ModelProblem, TaskProblem
from wvc.learning.counts import Counts
from wvc.learning.evaluate import Batches, KeepGoing, Record, measure
from wvc.learning.network import Network, Precision
from wvc.learning.pixels import Pixels
from wvc.progress import SILENT, Progress
from wvc.repo import scores
from wvc.repo.objects import Manifest, ModelSpec
from wvc.repo.repository import Repository
from wvc.repo.scores import Circumstances, Score
from wvc.verbs import need
from wvc.verbs.data import TRANSFORM, Data


def network_of(repository: Repository, manifest: Manifest, progress: Progress = SILENT) -> Network:
    """The model of `manifest`, ready to run. Raises ModelProblem for plain tensors."""
    spec = spec_of(manifest)
    return Network.of(architectures.load(spec, need.weights(repository, manifest, progress=progress)), spec)


def circumstances(manifest: Manifest, data: Data, split: str, device: torch.device, precision: str) -> Circumstances:
    """What a score of the model on `data` depends on."""
    return Circumstances(
        weights=manifest.weights,
        task=data.task.fingerprint,
        trial=data.trial,
        split=split,
        image_size=data.size,
        limit=data.limit,
        transform=TRANSFORM,
        precision=precision,
        device=device.type,
    )


def score(
    network: Network,
    wanted: Circumstances,
    domains: Mapping[str, Pixels],
    *,
    device: torch.device,
    progress: Progress = SILENT,
    record: Record | None = None,
) -> Score:
    """Measure all of `domains`. record: gets the result of every image. Raises TaskProblem where one has no images."""
    for name, pixels in domains.items():
        if not len(pixels):
            raise TaskProblem(f"domain {name!r} has no images in this split", "it takes 5 images to validate on one")
    counts = count(network, domains, device, wanted.precision, progress=progress, record=record)
    return Score(wanted, {name: (c.right, c.total) for name, c in counts.domains.items()})


def count(
    network: Network,
    domains: Mapping[str, Pixels],
    device: torch.device,
    precision: str,
    *,
    order: Batches | None = None,
    keep_going: KeepGoing | None = None,
    progress: Progress = SILENT,
    record: Record | None = None,
) -> Counts:
    """How many images of each domain are right; the rest is as `measure` has it."""
    chosen: Precision = "bf16" if precision == "bf16" else "fp32"
    return measure(
        network,
        domains,
        device=device,
        precision=chosen,
        order=order,
        keep_going=keep_going,
        record=record,
        progress=progress,
    )


def known_or_measured(
    repository: Repository,
    manifest: Manifest,
    wanted: Circumstances,
    domains: Mapping[str, Callable[[], Pixels]],
    *,
    device: torch.device,
    progress: Progress = SILENT,
) -> tuple[Score, bool]:
    """The score that somebody recorded under these very circumstances, or a new one; True if it is new."""
    found = scores.find(repository, wanted, list(domains))
    if found is not None:
        return found, False
    network = network_of(repository, manifest, progress)
    pixels = {name: get() for name, get in domains.items()}
    return score(network, wanted, pixels, device=device, progress=progress), True


def spec_of(manifest: Manifest) -> ModelSpec:
    """What it takes to build the model. Raises ModelProblem for plain tensors."""
    if manifest.spec is None:
        raise ModelProblem("these are plain tensors of no known architecture", "`wvc import FILE --arch NAME`")
    return manifest.spec


def check_fits(spec: ModelSpec, data: Data) -> None:
    """Raises ModelProblem unless the model answers with the classes of the task."""
    if spec.channels != data.task.channels:
        raise ModelProblem(
            f"the model wants {spec.channels} channels, task {data.task.name!r} has {data.task.channels}"
        )
    if spec.outputs != len(data.task.classes) or (spec.classes is not None and spec.classes != data.task.classes):
        raise ModelProblem(
            f"the model has other classes than task {data.task.name!r}",
            f"fine-tune it: wvc commit --task {data.task.name}",
        )
