"""Make a token."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from wvc import console
from wvc.repo.repository import Repository


def command(
    name: Annotated[str, typer.Argument(help="Whose it is")],
    scope: Annotated[
        Literal["read", "push", "admin"], typer.Option(help="What it allows; each also what is before it")
    ] = "read",
    refs: Annotated[list[str] | None, typer.Option(help="Only these branches may be moved, as a glob")] = None,
    actor: Annotated[list[str] | None, typer.Option(help="Names it may write into the log, as a glob")] = None,
    expires: Annotated[float | None, typer.Option(help="Days until it ends")] = None,
) -> None:
    """Make a token, and print it: it is shown this once."""
    from wvc.web.tokens import create

    token, secret = create(Repository().folder, name, scope, refs or (), actor or (), expires)
    facts: dict[str, object] = {"name": token.name, "scope": token.scope, "expires": token.expires, "token": secret}
    console.show(facts, render)


def render(facts: dict[str, object]) -> str:
    console.note(f"{facts['scope']} token for {console.safe(facts['name'])}; keep it safe, it is not shown again")
    return str(facts["token"])
