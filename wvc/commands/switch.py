"""Switch to another branch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import names
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.switch import Switched


def command(
    branch: Annotated[str, typer.Argument(help="Branch to switch to, - for the one before")],
    start: Annotated[str | None, typer.Argument(help="Where a new branch starts, HEAD by default")] = None,
    create: Annotated[bool, typer.Option("--create", "-c", help="Make the branch first")] = False,
) -> None:
    """Switch to another branch.

    It is the one that the next commit or merge will move. No file changes.
    """
    from wvc.verbs.switch import begin, switch

    if start is not None and not create:
        raise UsageError("a start needs a branch to make", f"`wvc switch -c {branch} {start}`")
    repository = Repository()
    switched = begin(repository, branch, start or "HEAD") if create else switch(repository, branch)
    console.show(switched, render)


def render(switched: Switched) -> str:
    name = f"[green]{console.safe(names.short(switched.branch))}[/]"
    if switched.source is not None:
        return f"switched to new branch {name}, from {console.safe(switched.source)}"
    return f"already on {name}" if switched.branch == switched.previous else f"switched to {name}"
