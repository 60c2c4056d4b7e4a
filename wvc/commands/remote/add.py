"""Name another repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.remote import Known


def command(
    name: Annotated[str, typer.Argument(help="What to call it")],
    url: Annotated[str, typer.Argument(help="A folder, or http(s)://...")],
) -> None:
    """Name another repository, to fetch from and push to. Nobody is asked yet: `wvc remote probe` tries it."""
    from wvc.verbs import remote

    console.show(remote.add(Repository(), name, url), render)


def render(known: Known) -> str:
    return f"remote [bold]{console.safe(known.name)}[/] is {console.safe(known.url)}"
