"""Turn revisions into ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UnknownRevision
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.revisions import expand, ref, resolve


def command(
    revisions: Annotated[list[str], typer.Argument(metavar="REV", help="Revisions, or globs over branches")],
    short: Annotated[bool, typer.Option("--short", help="Show the beginning of the id only")] = False,
    abbreviate: Annotated[bool, typer.Option("--abbrev-ref", help="Show the short name of the ref")] = False,
) -> None:
    """Turn revisions into ids."""
    repository = Repository()
    texts = expand(repository, revisions)
    if abbreviate:
        found = [_name(repository, text) for text in texts]
    else:
        found = [resolve(repository, text)[: 10 if short else None] for text in texts]
    console.show(found, render)


def render(found: Sequence[str]) -> str:
    return "\n".join(console.safe(text) for text in found)


def _name(repository: Repository, text: str) -> str:
    name = ref(repository, text)
    if name is None:
        raise UnknownRevision(text)
    return names.short(name)
