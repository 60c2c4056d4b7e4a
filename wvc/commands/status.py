"""Show where HEAD is and what is unfinished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from wvc import console
from wvc.commands._words import percent, short
from wvc.repo import kitchen, names, scores
from wvc.repo.graph import Graph
from wvc.repo.kitchen import Cooking
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository


@dataclass(frozen=True)
class Run:
    """An unfinished training. What its plan does not say is "" or None."""

    id: str
    branch: str
    task: str
    steps: int | None


@dataclass(frozen=True)
class Tracking:
    """A remote's branch of the same name: commits that only we have, commits that only it has."""

    name: str
    ahead: int
    behind: int


@dataclass(frozen=True)
class Status:
    """branch: short name. head: None on a branch without commits. validation: of head, None if not measured.

    cooking: the cook that is going on in another process, None where there is none.
    """

    branch: str
    head: Commit | None
    validation: Fraction | None
    runs: Sequence[Run]
    remotes: Sequence[Tracking]
    cooking: Cooking | None = None


def command() -> None:
    """Show where HEAD is and what is unfinished."""
    console.show(status(Repository()), render)


def status(repository: Repository) -> Status:
    id = repository.refs.get(repository.branch)
    head = None if id is None else repository.commit(id)
    validation = None if id is None else scores.validation(scores.of_commit(repository, id))
    return Status(
        names.short(repository.branch),
        head,
        validation,
        runs(repository),
        tracking(repository, id),
        kitchen.look(repository),
    )


def runs(repository: Repository) -> list[Run]:
    """The unfinished trainings whose plans can be read, by id."""
    plans = ((path.parent.name, _plan(path)) for path in sorted((repository.folder / "runs").glob("*/plan.json")))
    return [_run(id, plan) for id, plan in plans if plan is not None]


def tracking(repository: Repository, id: str | None) -> list[Tracking]:
    """How far the current branch at `id` is from the remotes' branches of its name."""
    name = names.short(repository.branch)
    theirs = {
        names.short(ref): their
        for ref, their in sorted(repository.refs.items())
        if ref.startswith(names.REMOTES) and names.short(ref).partition("/")[2] == name
    }
    if not theirs or id is None:
        return []
    graph = Graph(repository)
    ours = graph.ancestors([id])
    both = ((name, graph.ancestors([their])) for name, their in theirs.items())
    return [Tracking(name, len(ours - ancestors), len(ancestors - ours)) for name, ancestors in both]


def render(status: Status) -> str:
    lines = [f"on branch [green]{console.safe(status.branch)}[/]"]
    if status.head is None:
        lines.append("no commit yet")
    else:
        score = f", validation {percent(status.validation)}" if status.validation is not None else ""
        head = status.head
        lines.append(
            f"{short(head.id)} {console.safe(head.kind)}{_task(head.how)}{score}: {console.safe(head.subject)}"
        )
    lines += [_distance(remote) for remote in status.remotes]
    if status.cooking is not None:
        lines.append(console.safe(status.cooking.line()))
        lines += [f"  {console.safe(dish.line())}" for dish in status.cooking.dishes]
    if status.runs:
        lines.append(f"{len(status.runs)} unfinished training{'s' if len(status.runs) > 1 else ''}:")
        lines += [_unfinished(run) for run in status.runs]
    return "\n".join(lines)


def _unfinished(run: Run) -> str:
    steps = f", {run.steps} steps" if run.steps is not None else ""
    what = f"{console.safe(names.short(run.branch))}: {console.safe(run.task)}{steps}"
    return f"  {what} (go on with `wvc commit --resume {console.safe(run.id)}`)"


def _distance(remote: Tracking) -> str:
    name = f"[red]{console.safe(remote.name)}[/]"
    if not remote.ahead and not remote.behind:
        return f"up to date with {name}"
    words = [f"{n} {word}" for n, word in ((remote.ahead, "ahead of"), (remote.behind, "behind")) if n]
    return f"{', '.join(words)} {name}"


def _task(how: Mapping[str, Any]) -> str:
    task = how.get("task")
    return f" on {console.safe(task['name'])}" if isinstance(task, Mapping) and "name" in task else ""


def _plan(path: Path) -> Mapping[str, Any] | None:
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def _run(id: str, plan: Mapping[str, Any]) -> Run:
    how = plan.get("how")
    how = how if isinstance(how, Mapping) else {}
    settings, task = how.get("settings"), how.get("task")
    steps = settings.get("steps") if isinstance(settings, Mapping) else None
    name = task.get("name") if isinstance(task, Mapping) else ""
    return Run(id, str(plan.get("branch", "")), str(name), steps if isinstance(steps, int) else None)
