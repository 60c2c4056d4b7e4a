"""Tasks of a repository: the description is everybody's, the data and their place are the user's own."""

from __future__ import annotations

import shlex
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

PATH = "path"  # in the section of config.toml of a task, beside its local parameters


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

    kind: "folder", "digits", "domainbed:PACS" ... A task that is here already must have the same data, unless `force`.
    """
    ref = names.task(name)
    where = None if path is None else path.expanduser().resolve()
    kind, named = tasks.parse_kind(kind)
    task = tasks.load(kind, name, where, {**named, **(parameters or {})}, repository.folder / "cache", progress)
    description = task.description()
    old = repository.refs.get(ref)
    if old is not None and repository.task(old).fingerprint != description.fingerprint and not force:
        raise TaskProblem(f"task {name!r} has other data already", "choose another name, or --force to replace it")
    if old != description.id:
        with repository.batch(objects=len(description.data)) as batch:
            batch.put(description.data)
            repository.record(batch, [Move(ref, old, description.id)], f"task: {name}")
    _keep(repository, name, {PATH: None if where is None else str(where), **task.local})
    return task


def load(repository: Repository, name: str, progress: Progress = SILENT) -> Loaded:
    """Task `name` with its data. Raises TaskProblem where it is unknown or nobody said where its data are.

    Data that have changed since `add` are taken, with a WvcWarning, and described anew: what is made from them must
    not say that it was made from others.
    """
    id, description = describe(repository, name)
    where = repository.config.get("tasks", name, PATH)
    if where is None and tasks.needs_data(description.kind):
        hint = f"run `wvc task add {name} PATH{_option(description)}`"
        raise TaskProblem(f"the data of task {name!r} are not on this machine", hint)
    path = None if where is None else Path(where)
    parameters = _parameters(repository, name, description)
    task = tasks.load(description.kind, name, path, parameters, repository.folder / "cache", progress)
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


def _option(description: TaskDescription) -> str:
    """How the command line says the kind again."""
    dataset = description.parameters.get("dataset")
    kind = description.kind if dataset is None else f"{description.kind}:{dataset}"
    return "" if kind == "folder" else f" --kind {shlex.quote(kind)}"


def _parameters(repository: Repository, name: str, description: TaskDescription) -> dict[str, Json]:
    """What everybody may know, and what config.toml says of files of this machine; others may not name any."""
    local = tasks.local_parameters(description.kind)
    ours = {key: repository.config.get("tasks", name, key) for key in local}
    theirs = {key: value for key, value in description.parameters.items() if key not in local}
    return theirs | {key: value for key, value in ours.items() if value is not None}


def _keep(repository: Repository, name: str, values: Mapping[str, str | None]) -> None:
    """Let config.toml say `values` of the task, and nothing that an earlier `add` said."""
    section = repository.config.get("tasks", name)
    stale = dict.fromkeys(section) if isinstance(section, Mapping) else {}
    for key, value in {**stale, **values}.items():
        repository.config.set(value, "tasks", name, key)
