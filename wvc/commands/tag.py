"""List, make or remove tags."""

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
class Tag:
    """A line of the list."""

    name: str
    commit: str
    subject: str


def command(
    name: Annotated[str | None, typer.Argument(help="Tag to make or remove; none to list")] = None,
    revision: Annotated[str | None, typer.Argument(metavar="REV", help="Commit to name, HEAD by default")] = None,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Remove the tag")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Move a tag that is there already")] = False,
) -> None:
    """List, make or remove tags.

    A tag names a commit and stays where it is, while branches move on.
    """
    from wvc.verbs import tag as verb

    repository = Repository()
    if name is None:
        if delete:
            raise UsageError("which tag?", "run `wvc tag -d NAME`")
        console.show(tags(repository), render)
    elif delete:
        console.show(verb.delete(repository, name), render_deleted)
    else:
        console.show(verb.create(repository, name, revision or "HEAD", force=force), render_made)


def tags(repository: Repository) -> list[Tag]:
    """All tags by name."""
    nodes = Graph(repository).nodes
    found = sorted((ref, id) for ref, id in repository.refs.items() if ref.startswith(names.TAGS))
    return [Tag(names.short(ref), id, nodes[id].subject if id in nodes else "") for ref, id in found]


def render(tags: Sequence[Tag]) -> str:
    width = max((len(tag.name) for tag in tags), default=0)
    lines = (f"{console.safe(f'{t.name:{width}}')} {short(t.commit)} {console.safe(t.subject)}" for t in tags)
    return "\n".join(line.rstrip() for line in lines)


def render_made(move: Move) -> str:
    moved = f" (was {short(move.old)})" if move.old else ""
    return f"tag {_name(move)} is at {short(move.new or '')}{moved}"


def render_deleted(move: Move) -> str:
    old = (move.old or "")[:10]
    return f"deleted tag {_name(move)} (was {short(old)}); `wvc tag {_name(move)} {console.safe(old)}` brings it back"


def _name(move: Move) -> str:
    return console.safe(names.short(move.ref))
