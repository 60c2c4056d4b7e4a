"""List, make, remove or rename branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from wvc import console
from wvc.commands._words import short
from wvc.errors import UsageError
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.store.records import Move


@dataclass(frozen=True)
class Branch:
    """A line of the list. ref: the full name; current: HEAD names it."""

    ref: str
    commit: str
    subject: str
    current: bool


def command(
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Branch to make, then where; none to list")
    ] = None,
    all: Annotated[bool, typer.Option("--all", "-a", help="List remote-tracking names too")] = False,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Delete the branches named")] = False,
    move: Annotated[bool, typer.Option("--move", "-m", help="Rename: [OLD] NEW")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Take a name that another branch has")] = False,
) -> None:
    """List, make, remove or rename branches."""
    from wvc.verbs import branch as verb

    words, repository = arguments or [], Repository()
    if delete:
        _count(words, 1, 1000, "--delete takes the branches to delete")
        console.show([verb.delete(repository, name) for name in words], render_deleted)
    elif move:
        _count(words, 1, 2, "--move takes a new name, or an old and a new one")
        old = words[0] if len(words) == 2 else names.short(repository.branch)
        renamed = verb.rename(repository, old, words[-1], force=force)
        console.show(renamed, lambda move: f"renamed {console.safe(old)} to {_name(move)}")
    elif words:
        _count(words, 1, 2, "a branch has a name and a start")
        console.show(verb.create(repository, *words, force=force), render_made)
    else:
        console.show(branches(repository, remotes=all), render)


def branches(repository: Repository, *, remotes: bool) -> list[Branch]:
    """All branches by name, then the remote-tracking names if wanted."""
    prefixes = (names.HEADS, names.REMOTES) if remotes else (names.HEADS,)
    nodes, current = Graph(repository).nodes, repository.branch
    found = []
    for prefix in prefixes:
        for ref, id in sorted(repository.refs.items()):
            if ref.startswith(prefix):
                found.append(Branch(ref, id, nodes[id].subject if id in nodes else "", ref == current))
    return found


def render(branches: Sequence[Branch]) -> str:
    width = max((len(names.short(branch.ref)) for branch in branches), default=0)
    return "\n".join(_line(branch, width) for branch in branches)


def _line(branch: Branch, width: int) -> str:
    mark, colour = ("*", "green") if branch.current else (" ", "red" if branch.ref.startswith(names.REMOTES) else "")
    name = f"{names.short(branch.ref):{width}}"
    shown = f"[{colour}]{console.safe(name)}[/]" if colour else console.safe(name)
    return f"{mark} {shown} {short(branch.commit)} {console.safe(branch.subject)}".rstrip()


def render_made(move: Move) -> str:
    moved = f" (was {short(move.old)})" if move.old else ""
    return f"branch {_name(move)} is at {short(move.new or '')}{moved}"


def render_deleted(moves: Sequence[Move]) -> str:
    return "\n".join(
        f"deleted branch {_name(move)} (was {short(move.old or '')}); "
        f"`wvc branch {_name(move)} {console.safe((move.old or '')[:10])}` brings it back"
        for move in moves
    )


def _name(move: Move) -> str:
    return console.safe(names.short(move.ref))


def _count(words: Sequence[str], least: int, most: int, otherwise: str) -> None:
    if not least <= len(words) <= most:
        raise UsageError(otherwise, "run `wvc branch --help`")
