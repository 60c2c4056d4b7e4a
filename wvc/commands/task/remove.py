"""Forget a task."""

from typing import Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository


def command(name: Annotated[str, typer.Argument(help="Name of the task")]) -> None:
    """Forget a task; its data and the commits that used it stay."""
    from wvc.verbs.task import remove

    remove(Repository(), name)
    console.show({"removed": name}, lambda facts: f"forgot task {console.safe(facts['removed'])}")
