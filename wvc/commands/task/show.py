"""Show one task."""

from typing import Annotated

import typer

from wvc import console
from wvc.repo.objects import TaskDescription
from wvc.repo.repository import Repository


def command(name: Annotated[str, typer.Argument(help="Name of the task")]) -> None:
    """Show what the repository knows of a task."""
    from wvc.verbs.task import describe

    console.show(describe(Repository(), name)[1], render)


def render(task: TaskDescription) -> str:
    domains = "\n".join(f"  {console.safe(name):<20} {count:>7}" for name, count in task.domains)
    classes = ", ".join(console.safe(name) for name in task.classes)
    parameters = "".join(f"\n{console.safe(k)}: {console.safe(v)}" for k, v in task.parameters.items())
    return (
        f"[bold]{console.safe(task.name)}[/] ({console.safe(task.kind)})\n"
        f"fingerprint {task.fingerprint}\nmetric {console.safe(task.metric)}\n"
        f"domains\n{domains}\nclasses {classes}{parameters}"
    )
