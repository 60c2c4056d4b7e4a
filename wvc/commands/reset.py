"""Move the current branch to another commit."""

from __future__ import annotations

from typing import Annotated

import typer

from wvc import console
from wvc.commands._words import short
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.store.records import Move


def command(
    revision: Annotated[str, typer.Argument(metavar="REV", help="Commit that the branch shall name")],
) -> None:
    """Move the current branch to another commit.

    The reflog remembers where it was.
    """
    from wvc.verbs.reset import reset

    console.show(reset(Repository(), revision), render)


def render(move: Move) -> str:
    name, new = console.safe(names.short(move.ref)), short(move.new or "")
    if move.old == move.new:
        return f"{name} is at {new} already"
    undo = f" (was {short(move.old)}; `wvc reset {name}@{{1}}` takes it back)" if move.old else ""
    return f"{name} is now at {new}{undo}"
