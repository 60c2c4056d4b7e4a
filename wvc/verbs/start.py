"""Begin a repository: what every way to begin one shares, and plain tensors, for which torch need not be loaded."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable
from pathlib import Path

from wvc.errors import RepositoryExists, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo import sources
from wvc.repo.config import Config, now
from wvc.repo.location import FOLDER
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository, create
from wvc.store.durable import disk, make_folder, sync_folder
from wvc.store.records import Draft
from wvc.store.scratch import scratch
from wvc.verbs.import_ import Foundation, import_weights

Begin = Callable[[Repository], Commit]


def plain(path: Path, foundation: Foundation, branch: str = "main", progress: Progress = SILENT) -> Repository:
    """Make a repository at `path`, empty or with the weights of an unnamed model. Raises RepositoryExists, BadFile."""
    if foundation.random is not None:
        raise UsageError("--random needs --arch, and no --weights")
    if foundation.key is not None and foundation.weights is None:
        raise UsageError("--key needs --weights")
    source = foundation.weights
    if source is None:
        return start(path, None, branch)

    def begin(repository: Repository) -> Commit:
        with sources.open(source, foundation.key) as opened:
            title = sources.title(source)
            return import_weights(repository, opened, repository.branch, title, None, foundation.key, progress)

    return start(path, begin, branch)


def start(path: Path, begin: Begin | None, branch: str) -> Repository:
    """Make a repository at `path` that holds what `begin` commits. If that fails, nothing is left behind."""
    if (path / FOLDER).exists():
        raise RepositoryExists(path / FOLDER)
    with disk(path):
        created = make_folder(path)
        try:
            _make(path, begin, branch)
        except BaseException:
            if created:
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise
    return Repository(path)


def _make(path: Path, begin: Begin | None, branch: str) -> None:
    """Made aside first: a foundation that cannot be had leaves nothing behind."""
    with scratch(path) as folder:
        made = create(folder / "made", Draft("init", _actor(), now(), default_branch=branch), default=branch)
        if begin is not None:
            begin(made)
        try:
            made.folder.rename(path / FOLDER)
        except OSError as error:
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # somebody else was faster
                raise RepositoryExists(path) from None
            raise
        sync_folder(path)


def _actor() -> str:
    return Config(Path("/")).author()
