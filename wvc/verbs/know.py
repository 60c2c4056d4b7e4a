"""What a recipe must know of the datasets that its options name: which domains there are, and whose data they are."""

from __future__ import annotations

from pathlib import Path

from wvc import tasks
from wvc.errors import TaskProblem
from wvc.progress import SILENT, Progress
from wvc.recipes import Facts, Know, Task, slug
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.verbs import task


def knower(repository: Repository | None, progress: Progress = SILENT) -> Know:
    """A function from the name of a task of `repository`, PATH or NAME=PATH to the facts. It raises TaskProblem."""

    def know(item: str) -> Facts:
        if repository is not None and names.TASKS + item in repository.refs:
            return _facts(task.load(repository, item, progress).task, known=True)
        name, _, where = item.rpartition("=")
        path = Path(where).expanduser()
        if not path.exists():
            raise TaskProblem(f"{item}: neither a task of this repository nor a folder or tar", "see `wvc task list`")
        cache = None if repository is None else repository.folder / "cache"
        return _facts(tasks.load("folder", name or title(path), path.resolve(), {}, cache, progress), where)

    return know


def title(path: Path) -> str:
    """What a dataset is called after the place where it lies: pacs-64 for ../pacs-64.tar.gz."""
    name = path.resolve().name
    for end in (".tar.gz", ".tgz", ".tar"):
        name = name.removesuffix(end)
    return slug(name)


def _facts(loaded: tasks.Task, where: str | None = None, *, known: bool = False) -> Facts:
    counts = tuple(len(labels) for labels in loaded.labels)
    described = Task(loaded.name, loaded.kind, where, known=known)
    protocol = loaded.benchmark or tasks.Benchmark(loaded.name)
    return Facts(
        described, loaded.domains, loaded.fingerprint, counts, loaded.own_size, protocol.steps, protocol.evaluate_every
    )
