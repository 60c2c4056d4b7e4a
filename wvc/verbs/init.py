"""Begin a repository, with or without the foundation model in it."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from wvc import architectures, weights
from wvc.errors import RepositoryExists, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo import commits
from wvc.repo.config import Config, now
from wvc.repo.location import FOLDER
from wvc.repo.objects import Commit, Manifest, ModelSpec
from wvc.repo.repository import Repository, create
from wvc.store.durable import disk, sync_folder
from wvc.store.records import Draft
from wvc.verbs.import_ import Foundation, import_weights
from wvc.verbs.versions import versions


def init(path: Path, foundation: Foundation, branch: str = "main", progress: Progress = SILENT) -> Repository:
    """Make a repository at `path`; with a foundation it begins with one commit. Raises RepositoryExists, BadFile."""
    if foundation.random is not None and (foundation.weights or not foundation.architecture):
        raise UsageError("--random needs --arch, and no --weights")
    if (path / FOLDER).exists():
        raise RepositoryExists(path / FOLDER)
    created = not path.exists()
    # Made elsewhere first: a foundation that cannot be had leaves nothing behind.
    with disk(path), tempfile.TemporaryDirectory(prefix=".wvc-", dir=_existing(path)) as scratch:
        place = Path(scratch) / "repository"
        made = create(place, Draft("init", _actor(), now(), default_branch=branch), default=branch)
        if foundation.architecture or foundation.weights:
            _begin(made, foundation, progress)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (place / FOLDER).rename(path / FOLDER)
            sync_folder(path)
        except OSError as error:
            if created:
                with contextlib.suppress(OSError):
                    path.rmdir()
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else was faster
                raise RepositoryExists(path) from None
            raise
    return Repository(path)


def _begin(repository: Repository, foundation: Foundation, progress: Progress) -> Commit:
    if foundation.weights is not None:
        return import_weights(repository, foundation, repository.branch, foundation.weights.stem, progress)
    assert foundation.architecture is not None
    if foundation.random is not None:
        return create_random(repository, repository.branch, foundation, progress=progress)
    spec = architectures.describe(foundation.architecture)
    tensors, classes = architectures.pretrained(foundation.architecture)
    spec = replace(spec, classes=classes, outputs=len(classes), image_size=foundation.image_size)
    how: dict[str, object] = {"kind": "create", "weights": "pretrained", "versions": versions()}
    return _create(repository, repository.branch, spec, tensors, how, progress)


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


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that is there, on the same file system as what will be made."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())


def _actor() -> str:
    return Config(Path("/")).author()
