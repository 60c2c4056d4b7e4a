"""Tasks of a repository: the description is everybody's, the data and their place are the user's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wvc import tasks
from wvc.errors import TaskProblem, WvcWarning
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.objects import TaskDescription
from wvc.repo.repository import Repository
from wvc.store.canonical import Json
from wvc.store.records import Move


@dataclass(frozen=True)
class Loaded:
    """A task with its data at hand.

    id: of its description in the repository.
    changed: True if the data are not what they were when the task was added.
    """

    task: tasks.Task
    id: str
    changed: bool


def add(
    repository: Repository,
    name: str,
    path: Path | None,
    kind: str = "folder",
    parameters: Mapping[str, Json] | None = None,
    *,
    force: bool = False,
    progress: Progress = SILENT,
) -> tasks.Task:
    """Describe the data at `path` as task `name`, and remember where they are. Raises TaskProblem.

    A task that is here already must have the same data, unless `force`.
    """
    ref = names.task(name)
    where = None if path is None else path.expanduser().resolve()
    task = tasks.load(kind, name, where, parameters or {}, repository.folder / "cache", progress)
    description = task.description()
    old = repository.refs.get(ref)
    if old is not None and repository.task(old).fingerprint != description.fingerprint and not force:
        raise TaskProblem(f"task {name!r} has other data already", "choose another name, or --force to replace it")
    if old != description.id:
        with repository.batch(objects=len(description.data)) as batch:
            batch.put(description.data)
            repository.record(batch, [Move(ref, old, description.id)], f"task: {name}")
    repository.config.set(None if where is None else str(where), "tasks", name, "path")
    return task


def load(repository: Repository, name: str, progress: Progress = SILENT) -> Loaded:
    """Task `name` with its data. Raises TaskProblem where it is unknown or nobody said where its data are.

    Data that have changed since `add` are taken, with a WvcWarning, and described anew: what is made from them must
    not say that it was made from others.
    """
    id, description = describe(repository, name)
    where = repository.config.get("tasks", name, "path")
    if where is None and description.kind == "folder":
        raise TaskProblem(f"the data of task {name!r} are not on this machine", f"run `wvc task add {name} PATH`")
    path = None if where is None else Path(where)
    task = tasks.load(description.kind, name, path, description.parameters, repository.folder / "cache", progress)
    if task.fingerprint == description.fingerprint:
        return Loaded(task, id, changed=False)
    warnings.warn(f"the data of task {name!r} have changed since `wvc task add`", WvcWarning, stacklevel=2)
    described = task.description()
    if not repository.packs_with(described.id):
        with repository.batch(objects=len(described.data)) as batch:
            batch.put(described.data)
            repository.record(batch, [], f"task changed: {name}")
    return Loaded(task, described.id, changed=True)


def describe(repository: Repository, name: str) -> tuple[str, TaskDescription]:
    """Id and description of task `name`. Raises TaskProblem."""
    id = repository.refs.get(names.task(name))
    if id is None:
        known = sorted(ref.removeprefix(names.TASKS) for ref in repository.refs if ref.startswith(names.TASKS))
        hint = f"there are {', '.join(known)}" if known else "run `wvc task add NAME DATA`"
        raise TaskProblem(f"unknown task {name!r}", hint)
    return id, repository.task(id)


def remove(repository: Repository, name: str) -> None:
    """Forget task `name`; commits keep its description, the data stay where they are."""
    id, _ = describe(repository, name)
    repository.record(None, [Move(names.task(name), id, None)], f"task remove: {name}")
    repository.config.set(None, "tasks", name)
