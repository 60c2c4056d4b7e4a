"""Let a remote have another address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.remote import Known


def command(
    name: Annotated[str, typer.Argument(help="Name of the remote")],
    url: Annotated[str, typer.Argument(help="A folder, or http(s)://...")],
) -> None:
    """Let a remote have another address. It must be the same repository: the next command looks."""
    from wvc.verbs import remote

    console.show(remote.move(Repository(), name, url), render)


def render(known: Known) -> str:
    return f"remote [bold]{console.safe(known.name)}[/] is {console.safe(known.url)}"
