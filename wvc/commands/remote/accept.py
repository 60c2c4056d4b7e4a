"""Take a remote as it is, whatever it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.remote import Known


def command(name: Annotated[str, typer.Argument(help="Name of the remote")]) -> None:
    """Take a remote as it is now, although its history is not what it was.

    For after it was restored from a backup, say. Ask whoever keeps it first.
    """
    from wvc.verbs import remote

    console.show(remote.accept(Repository(), name), render)


def render(known: Known) -> str:
    return f"remote {console.safe(known.name)} will be taken as it is the next time"
