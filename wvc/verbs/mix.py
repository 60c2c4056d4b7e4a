"""Make an average and commit it, whoever chose the models and however they are weighed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from wvc import weights
from wvc.progress import Progress
from wvc.repo import commits
from wvc.repo.objects import Attachment, Commit, Manifest, Parent
from wvc.repo.repository import Repository
from wvc.store.canonical import dumps
from wvc.store.header import size_of
from wvc.verbs.candidates import Candidate, averaged
from wvc.verbs.context import Context, common, of_task
from wvc.verbs.judge import is_kept
from wvc.verbs.versions import versions
from wvc.weights import Weights

Blend = Callable[[Sequence[Weights]], Weights]


@dataclass(frozen=True)
class Mix:
    """An average that is to be made.

    models: in the order in which they are summed: by weights id, so that the same models give the same bits.
    first: gives what is not averaged: spec, side files, integers, and the head where only featurizers are averaged.
    buffers: as in Options.
    """

    blend: Blend
    models: tuple[Candidate, ...]
    first: Candidate
    buffers: str
    featurizer_only: bool

    def weights(self, repository: Repository) -> Weights:
        """The result, tensor by tensor."""
        mean = self.blend([self._averaged(Weights.of(repository, c.manifest), c) for c in self.models])
        own, known = Weights.of(repository, self.first.manifest), self.first.manifest.by_name
        shared = averaged(self.first.manifest, featurizer_only=self.featurizer_only)

        def tensor(name: str) -> torch.Tensor:
            return own[name] if name not in shared or is_kept(known[name], self.buffers) else mean[name]

        return Weights(list(own), tensor)

    def _averaged(self, held: Weights, candidate: Candidate) -> Weights:
        wanted = averaged(candidate.manifest, featurizer_only=self.featurizer_only)
        return Weights([name for name in held if name in wanted], held.__getitem__)

    def notes(self) -> tuple[str, ...]:
        """What cannot be averaged and differs."""
        odd = [
            name
            for name, tensor in averaged(self.first.manifest, featurizer_only=self.featurizer_only).items()
            if not tensor.dtype.startswith(("F", "BF"))
            and any(model.manifest.by_name[name].id != tensor.id for model in self.models)
        ]
        names = ", ".join(odd[:3])
        return (f"{len(odd)} integer tensors differ, taken from {self.first.name}: {names}",) if odd else ()

    def how(self) -> dict[str, Any]:
        """As `how` has it."""
        head = {"featurizer_only": True, "head": self.first.commit.id} if self.featurizer_only else {}
        return {"kind": "merge", "buffers": self.buffers, **head, "notes": list(self.notes()), "versions": versions()}


def record(
    repository: Repository,
    mix: Mix,
    parents: Sequence[Parent],
    message: str,
    how: dict[str, Any],
    progress: Progress,
    said: Callable[[Manifest, Weights, Commit], Sequence[Attachment]] = lambda manifest, merged, commit: (),
) -> Commit:
    """Make the average and commit it to the branch, which must still be at the first parent. Raises RefMoved.

    said: what is attached to the commit.
    """
    merged, before = mix.weights(repository), mix.first.manifest
    progress.start("averaging", sum(size_of(t.dtype, t.shape) for t in before.tensors), "B")
    with repository.batch([t.shape for t in before.tensors], commits.room(before, how) + len(dumps(how))) as batch:
        tensors = weights.store(batch, merged, progress, [c.manifest for c in mix.models])
        manifest = Manifest(tensors, before.files, before.spec)
        commit = commits.make(repository, manifest, parents, message, how)
        commits.put(repository, batch, manifest, commit)
        statements = said(manifest, merged, commit)
        commits.record(repository, batch, commit, ref=repository.branch, old=parents[0].commit, said=statements)
    progress.stop()
    return commit


def shared_context(contexts: Sequence[Sequence[Context]], head: Commit | None) -> Context | None:
    """What all models have seen of the one task that they saw last; None where that is not one.

    contexts: of each model, the nearest first.
    head: where only featurizers are averaged, the commit that gives its head: it must be a model of that task itself,
    and nobody may have seen nothing.
    """
    last = {found[0].fingerprint if found else None for found in contexts}
    if head is None:
        last.discard(None)
    else:
        own = Context.read(head.how)
        last.add(None if own is None else own.fingerprint)
    fingerprint = last.pop() if len(last) == 1 else None
    if fingerprint is None:
        return None
    return common([known for found in contexts if (known := of_task(found, fingerprint)) is not None])
