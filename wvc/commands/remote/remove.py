"""Forget a remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.remote import Known


def command(name: Annotated[str, typer.Argument(help="Name of the remote")]) -> None:
    """Forget a remote and the branches that were seen there. What came from it stays."""
    from wvc.verbs import remote

    console.show(remote.remove(Repository(), name), render)


def render(known: Known) -> str:
    return f"forgot remote {console.safe(known.name)}"
