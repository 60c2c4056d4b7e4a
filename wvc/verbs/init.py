"""Begin a repository with a model of a known architecture in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from wvc import architectures, weights
from wvc.errors import UsageError
from wvc.progress import SILENT, Progress
from wvc.repo import commits, sources
from wvc.repo.objects import Commit, Manifest, ModelSpec
from wvc.repo.repository import Repository
from wvc.verbs.describe import describe
from wvc.verbs.import_ import Foundation, import_weights
from wvc.verbs.start import plain, start
from wvc.verbs.versions import versions


def init(path: Path, foundation: Foundation, branch: str = "main", progress: Progress = SILENT) -> Repository:
    """Make a repository at `path`; with a foundation it begins with one commit. Raises RepositoryExists, BadFile."""
    if foundation.architecture is None:
        return plain(path, foundation, branch, progress)
    if foundation.random is not None and foundation.weights:
        raise UsageError("--random needs --arch, and no --weights")
    if foundation.key is not None and foundation.weights is None:
        raise UsageError("--key needs --weights")
    return start(path, lambda made: begin(made, foundation, progress), branch)


def begin(repository: Repository, foundation: Foundation, progress: Progress = SILENT) -> Commit:
    """The commit of a model of a known architecture on the current branch. Raises ModelProblem, BadFile, UsageError."""
    if foundation.weights is not None:
        return _import(repository, foundation, foundation.weights, progress)
    assert foundation.architecture is not None
    if foundation.random is not None:
        return create_random(repository, repository.branch, foundation, progress=progress)
    spec = architectures.describe(foundation.architecture)
    tensors, classes = architectures.pretrained(foundation.architecture)
    spec = replace(spec, classes=classes, outputs=len(classes), image_size=foundation.image_size)
    how: dict[str, object] = {"kind": "create", "weights": "pretrained", "versions": versions()}
    return _create(repository, repository.branch, spec, tensors, how, progress)


def _import(repository: Repository, foundation: Foundation, path: Path, progress: Progress) -> Commit:
    assert foundation.architecture is not None
    with sources.open(path, foundation.key) as source:
        spec = describe(foundation.architecture, source, foundation.image_size)
        title = sources.title(path)
        return import_weights(repository, source, repository.branch, title, spec, foundation.key, progress)


def create_random(
    repository: Repository,
    ref: str,
    foundation: Foundation,
    cook: Mapping[str, object] | None = None,
    progress: Progress = SILENT,
) -> Commit:
    """A commit without parents of random weights, a function of the seed, as the new value of `ref`.

    cook: which step of which recipe this is. Raises ModelProblem.
    """
    assert foundation.architecture is not None and foundation.random is not None
    spec = replace(architectures.describe(foundation.architecture), image_size=foundation.image_size)
    how: dict[str, object] = {"kind": "create", "weights": "random", "seed": foundation.random, "versions": versions()}
    if cook is not None:
        how["cook"] = dict(cook)
    return _create(repository, ref, spec, _random(spec, foundation.random), how, progress)


def _create(
    repository: Repository,
    ref: str,
    spec: ModelSpec,
    tensors: Mapping[str, torch.Tensor],
    how: Mapping[str, object],
    progress: Progress,
) -> Commit:
    progress.start("storing", sum(t.nbytes for t in tensors.values()), "B")
    message = f"{spec.architecture.split('/')[-1]}, {how['weights']}"
    with repository.batch([tuple(t.shape) for t in tensors.values()], 200 * len(tensors) + 20_000) as batch:
        manifest = Manifest(weights.store(batch, dict(tensors), progress), spec=spec)
        commit = commits.make(repository, manifest, [], message, how)
        commits.put(repository, batch, manifest, commit)
        commits.record(repository, batch, commit, ref=ref, old=repository.refs.get(ref))
    progress.stop()
    return commit


def _random(spec: ModelSpec, seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return dict(architectures.build(spec).state_dict())
