"""The linear probe of a foundation on a task: made on demand, kept under refs/probes/, shared by every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from wvc.verbs.data import TRANSFORM, Data
from wvc.verbs.versions import versions

SEED = 0  # of the head's first weights and of the batches, as in the papers' code (design, Probes)


@dataclass(frozen=True)
class Form:
    """How the probe is fitted.

    kind: "fast", on features computed once from images without augmentation, or "sgd", as the papers' code does it:
    the ordinary training loop with augmentation, of which only the head learns.
    """

    kind: str = "fast"
    steps: int = 1000
    learning_rate: float = 1e-3
    batch_size: int = 32

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "learning_rate": repr(self.learning_rate)}


PAPERS = Form("sgd", steps=5001, learning_rate=5e-5)


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
    ref = names.PROBES + key(foundation, data, form, how)
    known = repository.refs.get(ref)
    if known is not None:
        return repository.commit(known)
    before = repository.manifest(foundation)
    assert before.spec is not None
    spec = before.spec.with_classes(data.task.classes, data.size)
    network = _network(repository, before, spec)
    result = _fit(network, data, form, device, progress)
    network.load_state_dict(result.tensors, strict=False)
    facts = {
        **how,
        "kind": "train",
        "probe": {**form.json(), "seed": SEED},
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "history": list(result.history),
        "best": {"step": result.step, "score": str(result.score)},
    }
    return _record(repository, foundation, network, spec, facts, ref)


def key(foundation: Commit, data: Data, form: Form, how: Mapping[str, Any]) -> str:
    """12 hexadecimal digits for what decides the probe."""
    facts = {
        "foundation": foundation.weights,
        "task": data.task.fingerprint,
        "test_domains": list(data.test),
        "trial": data.trial,
        "form": form.json(),
        "image_size": data.size,
        "transform": TRANSFORM,
        "limit": how.get("limit"),
    }
    return digest(dumps(facts))[:12]


def _network(repository: Repository, before: Manifest, spec: ModelSpec) -> Network:
    """The foundation's featurizer under a fresh head."""
    held = weights.Weights.of(repository, before)
    tensors = {name: held[name] for name in held if not spec.is_head(name)} | fresh_head(spec)
    return Network.of(architectures.load(spec, tensors), spec)


def fresh_head(spec: ModelSpec, seed: int = SEED) -> dict[str, torch.Tensor]:
    """Random weights for the head, a function of `seed`."""
    model = architectures.build(spec)
    head: nn.Module = model.get_submodule(spec.head)
    reset_head(head, seed)
    return {f"{spec.head}.{name}": tensor.detach() for name, tensor in head.state_dict().items()}


def _fit(network: Network, data: Data, form: Form, device: torch.device, progress: Progress) -> Result:
    every = min(100, max(1, form.steps // 10))
    if form.kind == "sgd":
        settings = Settings(
            steps=form.steps,
            evaluate_every=every,
            batch_size=form.batch_size,
            learning_rate=form.learning_rate,
            seed=SEED,
            only_head=True,
            augmentation=data.task.augmentation,
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
