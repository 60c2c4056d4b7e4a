"""Make a blend and commit it, whoever chose the models and however they are weighed."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

from wvc import weights
from wvc.progress import Progress
from wvc.repo import commits
from wvc.repo.objects import Attachment, Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository
from wvc.store.canonical import dumps
from wvc.store.header import size_of
from wvc.strategies import Models, linear
from wvc.verbs.candidates import Candidate, averaged
from wvc.verbs.context import Context, common, of_task
from wvc.verbs.strategy import Strategy
from wvc.verbs.versions import versions
from wvc.weights import LazyTensor, Weights

STATISTICS = ("running_mean", "running_var")
BUFFERS = (*STATISTICS, "num_batches_tracked")


@dataclass(frozen=True)
class Mix:
    """A blend that is to be made. Everything here stands in `how`, so that anybody can make it again.

    models: by weights id, no two with the same. coefficients: one for each, or None where nobody stated any.
    first: gives what is not averaged: spec, side files, integers, and the head where only featurizers are averaged.
    base: what changes are counted from, where the strategy does. buffers: as in Blending.
    taken: (glob, model) of tensors that are one model's own; the first glob that fits counts.
    layers: tensor -> the coefficients of the models, where they differ from tensor to tensor.
    """

    strategy: Strategy
    models: tuple[Candidate, ...]
    first: Candidate
    coefficients: tuple[Fraction, ...] | None = None
    base: Candidate | None = None
    buffers: str = "average"
    featurizer_only: bool = False
    taken: tuple[tuple[str, Candidate], ...] = ()
    layers: Mapping[str, tuple[Fraction, ...]] | None = field(default=None, compare=False)

    @property
    def manifests(self) -> list[Manifest]:
        """Of all models that may be read."""
        sides = [model for _, model in self.taken] + ([] if self.base is None else [self.base])
        return [model.manifest for model in (*self.models, self.first, *sides)]

    def weights(self, repository: Repository) -> Weights:
        """The result, tensor by tensor, read and blended as it is asked for."""
        blended = {**self._blended(repository), **self._statistics(repository)}
        own = self.unblended(repository)
        return Weights({name: blended.get(name) or own[name] for name in Weights.of(repository, self.first.manifest)})

    def unblended(self, repository: Repository) -> dict[str, LazyTensor]:
        """What the strategy does not see: the tensors of one side, and what the first model gives."""
        first = Weights.of(repository, self.first.manifest, self.first.name)
        given = {model.key: Weights.of(repository, model.manifest, model.name) for _, model in self.taken}
        found = {}
        for name in first:
            side = self._side(name)
            if side is not None or name not in self._shared or self._is_kept(name):
                found[name] = (first if side is None else given[side.key]).lazy[name]
        return found

    @property
    def is_one_model(self) -> bool:
        """True if the result is one of the models, as it is."""
        alone = len(self.models) == 1 and self.models[0].key == self.first.key
        return alone and self.strategy.name == "linear" and not self.taken

    @property
    def parents(self) -> dict[str, Fraction]:
        """Commit -> its share in the result: exact where that is a sum of the models, else what was stated of them."""
        shares = dict(zip((model.commit.id for model in self.models), self._nominal, strict=True))
        rest = 1 - sum(shares.values())
        if self.base is not None and rest:
            shares[self.base.commit.id] = shares.get(self.base.commit.id, Fraction(0)) + rest
        return shares

    @property
    def nearest(self) -> tuple[Candidate, ...]:
        """The models that the result is likely to resemble: the base, and the one with the largest share."""
        shares = self._nominal
        largest = max(range(len(shares)), key=lambda i: shares[i])
        return (*(() if self.base is None else (self.base,)), self.models[largest])

    def notes(self) -> tuple[str, ...]:
        """What cannot be averaged and differs, and what was tied and is so no more."""
        return (*self._odd_integers(), *self._untied())

    def _odd_integers(self) -> tuple[str, ...]:
        if self.strategy.name == "three-way":
            return ()
        odd = [
            name
            for name, tensor in averaged(self.first.manifest, featurizer_only=self.featurizer_only).items()
            if not tensor.dtype.startswith(("F", "BF"))
            and any(model.manifest.by_name[name].id != tensor.id for model in self.models)
        ]
        names = ", ".join(odd[:3])
        what = "1 integer tensor differs" if len(odd) == 1 else f"{len(odd)} integer tensors differ"
        return (f"{what}, taken from {self.first.name}: {names}",) if odd else ()

    def _untied(self) -> tuple[str, ...]:
        """Notes on tensors that are the same under two names in every model, of which one side gives only some."""
        groups: dict[tuple[str, ...], list[str]] = {}
        everybody = [*self.models, *(model for _, model in self.taken)]
        for name, tensor in self._shared.items() if self.taken else ():
            if len({model.manifest.by_name[name].id for model in everybody}) > 1 and all(tensor.shape):
                groups.setdefault(tuple(model.manifest.by_name[name].id for model in everybody), []).append(name)
        return tuple(
            f"{' and '.join(sorted(names)[:3])} were one tensor in all models and are so no longer: name all of them"
            for names in groups.values()
            if len({None if (side := self._side(name)) is None else side.key for name in names}) > 1
        )

    def how(self) -> dict[str, Any]:
        """As `how` has it; `replay` makes the mix of it again."""
        coefficients = self.coefficients or (None,) * len(self.models)
        head = {"featurizer_only": True, "head": self.first.commit.id} if self.featurizer_only else {}
        taken = [{"tensors": glob, "commit": model.commit.id} for glob, model in self.taken]
        return {
            "kind": "merge",
            "strategy": self.strategy.name,
            **({"options": self.strategy.json()} if self.strategy.options else {}),
            "ingredients": [
                {"commit": model.commit.id, **({} if share is None else {"coefficient": str(share)})}
                for model, share in zip(self.models, coefficients, strict=True)
            ],
            "first": self.first.commit.id,
            **({} if self.base is None else {"base": self.base.commit.id}),
            "buffers": self.buffers,
            **head,
            **({"taken": taken} if taken else {}),
            **({} if self.layers is None else {"layers": _layers(self.layers)}),
            "notes": list(self.notes()),
            "versions": versions(),
        }

    def _blended(self, repository: Repository) -> dict[str, LazyTensor]:
        """What the strategy makes."""
        names = [name for name in self._shared if not self._is_kept(name) and self._side(name) is None]
        models = Models.of([self._part(repository, model, names) for model in self.models], self.coefficients)
        if self.layers is not None:
            return dict(linear.by_tensor(models, self._layers_of(models)).lazy)
        base = None if self.base is None else self._part(repository, self.base, names)
        return dict(self.strategy.blend(models, base).lazy)

    def _statistics(self, repository: Repository) -> dict[str, LazyTensor]:
        """The BatchNorm statistics where they are averaged, although the strategy does something else with weights.

        They are statistics of activations, not weights: a difference of two variances may be negative. They are
        averaged with the shares of all that took part, those below 0 left out.
        """
        if self.strategy.name in ("linear", "three-way") or self.buffers != "average":
            return {}
        names = [name for name in self._shared if _is_statistic(name) and self._side(name) is None]
        known = {model.commit.id: model for model in [*self.models, *([] if self.base is None else [self.base])]}
        shares = {id: share for id, share in self.parents.items() if share > 0}
        models = [self._part(repository, known[id], names) for id in shares]
        total = sum(shares.values())
        return dict(linear.merge(Models.of(models, [share / total for share in shares.values()])).lazy)

    @cached_property
    def _shared(self) -> Mapping[str, Tensor]:
        return averaged(self.first.manifest, featurizer_only=self.featurizer_only)

    def _is_kept(self, name: str) -> bool:
        """True for what the strategy does not see: integers, and BatchNorm statistics unless it averages."""
        if self.strategy.name == "three-way":
            return False
        other = self.strategy.name != "linear" and _is_statistic(name)
        return other or is_kept(self.first.manifest.by_name[name], self.buffers)

    def _side(self, name: str) -> Candidate | None:
        """The model whose own tensor is taken."""
        return next((model for glob, model in self.taken if fnmatch.fnmatchcase(name, glob)), None)

    @property
    def _nominal(self) -> tuple[Fraction, ...]:
        """One share for each model; what is missing to 1 is the base's."""
        stated = self.coefficients
        if self.strategy.name == "task-arithmetic":
            weights = stated or (Fraction(1),) * len(self.models)
            total = sum(weights) if self.strategy.options["normalize"] else Fraction(1)
            scale = self.strategy.options["scale"]
            return tuple(scale * weight / (total or 1) for weight in weights)
        total = sum(stated or (), Fraction(0))
        if stated is not None and total > 0:
            return tuple(weight / total for weight in stated)
        return (Fraction(1, len(self.models)),) * len(self.models)

    def _layers_of(self, models: Models) -> dict[str, tuple[Fraction, ...]]:
        """`layers` with the coefficients in the order of `models`, which are sorted by what is blended of them."""
        assert self.layers is not None
        keys = [model.key for model in self.models]
        order = [keys.index(member.id) for member in models.members]
        return {name: tuple(shares[i] for i in order) for name, shares in self.layers.items()}

    def _part(self, repository: Repository, candidate: Candidate, names: Sequence[str]) -> Weights:
        whole = Weights.of(repository, candidate.manifest, candidate.name)
        wanted = set(names)
        return Weights({name: whole.lazy[name] for name in whole if name in wanted}, lambda: candidate.key)


def is_kept(tensor: Tensor, buffers: str) -> bool:
    """True for what the first model gives: integers always, BatchNorm statistics where the policy says so."""
    is_float = tensor.dtype.startswith(("F", "BF"))
    return not is_float or (buffers == "first" and tensor.name.rpartition(".")[2] in BUFFERS)


def record(
    repository: Repository,
    mix: Mix,
    merged: Weights,
    parents: Sequence[Parent],
    message: str,
    how: dict[str, Any],
    progress: Progress,
    said: Callable[[Manifest, Weights, Commit], Sequence[Attachment]] = lambda manifest, merged, commit: (),
) -> Commit:
    """Make `merged`, which comes of `mix`, and commit it to the branch, which must still be at the first parent.

    said: what is attached to the commit. Raises RefMoved, MergeProblem, Damage.
    """
    before = mix.first.manifest
    progress.start("merging", sum(size_of(t.dtype, t.shape) for t in before.tensors), "B")
    with repository.batch([t.shape for t in before.tensors], commits.room(before, how) + len(dumps(how))) as batch:
        tensors = weights.store(batch, merged, progress, [c.manifest for c in mix.nearest])
        progress.stop()
        manifest = Manifest(tensors, before.files, before.spec)
        commit = commits.make(repository, manifest, parents, message, how)
        commits.put(repository, batch, manifest, commit)
        statements = said(manifest, merged, commit)
        commits.record(repository, batch, commit, ref=repository.branch, old=parents[0].commit, said=statements)
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


def _is_statistic(name: str) -> bool:
    return name.rpartition(".")[2] in STATISTICS


def _layers(layers: Mapping[str, tuple[Fraction, ...]]) -> dict[str, list[str]]:
    return {name: [str(share) for share in shares] for name, shares in layers.items()}
