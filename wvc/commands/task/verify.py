"""Check the data of a task."""

from typing import Annotated

import typer

from wvc import console
from wvc.errors import TaskProblem
from wvc.repo.repository import Repository


def command(name: Annotated[str, typer.Argument(help="Name of the task")]) -> None:
    """Check that the data of a task are what they were when it was added."""
    from wvc.verbs.task import load

    loaded = load(Repository(), name, console.progress())
    if loaded.changed:
        raise TaskProblem(f"the data of task {name!r} have changed", "restore them, or add them under another name")
    console.show({"task": name, "fingerprint": loaded.task.fingerprint, "ok": True}, render)


def render(facts: dict) -> str:
    return f"[green]ok[/]: {console.safe(facts['task'])} {facts['fingerprint'][:12]}"
