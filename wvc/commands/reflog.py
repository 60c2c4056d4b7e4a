"""Show where a ref has been."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wvc import console
from wvc.commands._words import short, when
from wvc.errors import UnknownRevision
from wvc.repo import names
from wvc.repo.history import Line, reflog
from wvc.repo.repository import Repository
from wvc.repo.revisions import ref


def command(
    name: Annotated[str, typer.Argument(metavar="REF", help="Branch or tag, also a deleted one")] = "HEAD",
) -> None:
    """Show where a branch or tag has been.

    The newest place comes first. `wvc reset main@{1}` goes back by one.
    """
    console.show(moves(Repository(), name), render)


def moves(repository: Repository, name: str) -> list[Line]:
    """The reflog of `name`, in short or in full. Raises UnknownRevision."""
    known = ref(repository, name)
    for candidate in (known, names.HEADS + name, names.TAGS + name, name):
        lines = reflog(repository, candidate) if candidate else []
        if lines:
            return lines
    raise UnknownRevision(name)


def render(lines: Sequence[Line]) -> str:
    return "\n".join(_line(line) for line in lines)


def _line(line: Line) -> str:
    where = f"{console.safe(names.short(line.ref))}@{{{line.back}}}"
    id = short(line.new) if line.new else "[red]deleted   [/]"
    return f"{id} {where} {when(line.created)} {console.safe(line.actor)}: {console.safe(line.message)}"
