"""The linear probe of a foundation on a task: made on demand, kept under refs/probes/, shared by every run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wvc import architectures, weights
from wvc.errors import RefMoved
from wvc.learning.network import Network, reset_head
from wvc.learning.probe import ProbeSettings, features, fit_head
from wvc.learning.settings import Result, Settings
from wvc.learning.train import train
from wvc.progress import SILENT, Progress
from wvc.repo import commits, names
from wvc.repo.objects import Commit, Manifest, ModelSpec, Parent
from wvc.repo.repository import Repository
from wvc.store.canonical import digest, dumps
from wvc.store.durable import disk
from wvc.tasks import Benchmark, Task
from wvc.verbs import need
from wvc.verbs.data import TRANSFORM, Data
from wvc.verbs.versions import versions

SEED = 0  # of the head's first weights and of the batches, as in the papers' code (design, Probes)


@dataclass(frozen=True)
class Form:
    """How the probe is fitted.

    kind: "fast", on features computed once from images without augmentation, or "sgd", as the papers' code does it:
    the ordinary training loop with augmentation, of which only the head learns.
    steps: None for those of the task's benchmark, or 5001.
    keep: "best", the checkpoint with the highest score, or "last", as DiWA's code has it.
    """

    kind: str = "fast"
    steps: int | None = 1000
    learning_rate: float = 1e-3
    batch_size: int = 32
    keep: str = "best"

    def settled(self, benchmark: Benchmark | None) -> Form:
        """The same with a number of steps. benchmark: the task's."""
        return self if self.steps is not None else replace(self, steps=(benchmark or Benchmark("")).steps)

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "learning_rate": repr(self.learning_rate)}


PAPERS = Form("sgd", steps=None, learning_rate=5e-5)


def ensure(
    repository: Repository,
    foundation: Commit,
    data: Data,
    form: Form,
    how: Mapping[str, Any],
    device: torch.device,
    progress: Progress = SILENT,
) -> Commit:
    """The probe of `foundation` on `data`, from the repository or made now.

    how: what the commit shall say of the task, its test domains and the trial.
    """
    form = form.settled(data.task.benchmark)
    name = key(foundation, data, form, how)
    ref = names.PROBES + name
    if ref not in repository.refs:
        with _alone(repository.folder / "runs" / f"probe-{name}.lock", progress):
            if ref not in repository.refs:
                network, spec = _network(repository, foundation, data, progress)
                result = _fit(network, data, form, device, progress)
                network.load_state_dict(result.tensors, strict=False)
                facts = _facts(how, form, device, result)
                return _record(repository, foundation, network, spec, facts, ref)
    return repository.commit(repository.refs[ref])


@contextmanager
def _alone(path: Path, progress: Progress) -> Iterator[None]:
    """One process at a time; the others wait. The file stays where the work was not done, for the next one."""
    with disk(path):
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.start("waiting for the linear probe, which another process makes", 1)
            fcntl.flock(fd, fcntl.LOCK_EX)
            progress.stop()
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _facts(how: Mapping[str, Any], form: Form, device: torch.device, result: Result) -> dict[str, Any]:
    """What the commit says."""
    return {
        **how,
        "kind": "train",
        "probe": {**form.json(), "seed": SEED},
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "history": list(result.history),
        "best": {"step": result.step, "score": str(result.score)},
    }


def key(foundation: Commit, data: Data, form: Form, how: Mapping[str, Any]) -> str:
    """12 hexadecimal digits for what decides the probe."""
    facts = {
        "foundation": foundation.weights,
        "task": data.task.fingerprint,
        "test_domains": list(data.test),
        "trial": data.trial,
        "form": form.json(),
        "evaluate_every": evaluate_every(form, data.task),
        "image_size": data.size,
        "transform": TRANSFORM,
        "limit": how.get("limit"),
    }
    return digest(dumps(facts))[:12]


def evaluate_every(form: Form, task: Task) -> int:
    """Updates between two evaluations, the best of which is kept: a tenth of the steps, at most the benchmark's."""
    assert form.steps is not None
    every = Benchmark.evaluate_every if form.kind == "fast" or task.benchmark is None else task.benchmark.evaluate_every
    return min(every, max(1, form.steps // 10))


def _network(repository: Repository, foundation: Commit, data: Data, progress: Progress) -> tuple[Network, ModelSpec]:
    """The foundation's featurizer under a fresh head."""
    before = repository.manifest(foundation)
    assert before.spec is not None
    spec = before.spec.with_classes(data.task.classes, data.size)
    held = need.weights(repository, before, progress=progress)
    tensors = {name: held[name] for name in held if not spec.is_head(name)} | fresh_head(spec)
    return Network.of(architectures.load(spec, tensors), spec), spec


def fresh_head(spec: ModelSpec, seed: int = SEED) -> dict[str, torch.Tensor]:
    """Random weights for the head, a function of `seed`."""
    model = architectures.build(spec)
    head: nn.Module = model.get_submodule(spec.head)
    reset_head(head, seed)
    return {f"{spec.head}.{name}": tensor.detach() for name, tensor in head.state_dict().items()}


def _fit(network: Network, data: Data, form: Form, device: torch.device, progress: Progress) -> Result:
    assert form.steps is not None
    every = evaluate_every(form, data.task)
    if form.kind == "sgd":
        settings = Settings(
            steps=form.steps,
            evaluate_every=every,
            batch_size=form.batch_size,
            learning_rate=form.learning_rate,
            seed=SEED,
            only_head=True,
            augmentation=data.task.augmentation,
            keep=form.keep,
        )
        return train(network, data.training(), data.validation(), settings, device=device, progress=progress)
    fitting = ProbeSettings(form.steps, every, form.batch_size, form.learning_rate, SEED)
    training = [features(network, pixels, device=device, progress=progress) for pixels in data.training()]
    validation = {
        name: features(network, pixels, device=device, progress=progress) for name, pixels in data.validation().items()
    }
    result = fit_head(network.head, training, validation, fitting)
    return replace(result, tensors={f"head.{name}": tensor for name, tensor in result.tensors.items()})


def _record(
    repository: Repository, foundation: Commit, network: Network, spec: ModelSpec, how: Mapping[str, Any], ref: str
) -> Commit:
    state = network.family_state(spec)
    with repository.batch([tuple(t.shape) for t in state.values()], 200 * len(state) + 2 * len(dumps(how))) as batch:
        manifest = Manifest(weights.store(batch, state, like=[repository.manifest(foundation)]), spec=spec)
        message = f"linear probe on {how['task']['name']}"
        commit = commits.make(repository, manifest, [Parent(foundation.id)], message, how)
        commits.put(repository, batch, manifest, commit)
        try:
            commits.record(repository, batch, commit, ref=ref, old=None)
        except RefMoved:  # somebody made the same probe meanwhile: theirs will do
            return repository.commit(repository.refs[ref])
    return commit
