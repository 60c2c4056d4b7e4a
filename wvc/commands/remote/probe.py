"""Try a remote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wvc import console
from wvc.commands import _shared
from wvc.errors import RemoteProblem
from wvc.repo.repository import Repository


def command(
    name: Annotated[str | None, typer.Argument(help="Name of the remote, by default the only one, or origin")] = None,
) -> None:
    """Try whether a remote can be reached and keeps the promises that pushing rests on."""
    from wvc.verbs import remote

    repository = Repository()
    name = _shared.default(repository, name)
    found = remote.probe(repository, name)
    console.show([{"step": step, "ok": ok} for step, ok in found], lambda _: render(found))
    if not all(ok for _, ok in found):
        raise RemoteProblem(f"{name} does not keep its promises", "it can be read from, but must not be pushed to")


def render(found: Sequence[tuple[str, bool]]) -> str:
    return "\n".join(f"{'[green]ok[/]    ' if ok else '[red]failed[/]'}  {console.safe(step)}" for step, ok in found)
