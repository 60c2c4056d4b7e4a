"""Describe a dataset as a task."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo.objects import TaskDescription
from wvc.repo.repository import Repository


def command(
    name: Annotated[str, typer.Argument(help="Name of the task")],
    data: Annotated[
        Path | None, typer.Argument(help="Folder or tar of domain/class/image or class/image, or folder of MNIST")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="Kind of dataset: folder, digits or domainbed:NAME, as domainbed:PACS")
    ] = "",
    layout: Annotated[str | None, typer.Option(help="domain/class or class, where it cannot be told")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="Parameter of the kind, as NAME=VALUE")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a task that has other data")] = False,
) -> None:
    """Describe the data at a place as a task; they stay where they are."""
    from wvc.verbs.task import add

    parameters = dict(pair(text) for text in set_ or [])
    if layout is not None:
        parameters["layout"] = layout
    chosen = kind or ("folder" if data is not None else name if name == "digits" else "folder")
    repository = Repository()
    task = add(repository, name, data, chosen, parameters, force=force, progress=console.progress())
    console.show(task.description(), render)


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE, taken apart. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text} is not NAME=VALUE", "for example --set rotations=0,30")
    return name, value


def render(task: TaskDescription) -> str:
    images = sum(count for _, count in task.domains)
    domains = ", ".join(f"{console.safe(name)} {count}" for name, count in task.domains)
    return f"task [bold]{console.safe(task.name)}[/]: {images} images, {len(task.classes)} classes; {domains}"
