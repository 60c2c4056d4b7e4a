"""Show the best common ancestors of commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from wvc import console
from wvc.errors import MergeProblem, UsageError
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.repo.revisions import expand, resolve


def command(
    revisions: Annotated[list[str], typer.Argument(metavar="REV", help="Commits, or globs over branches")],
) -> None:
    """Show the best common ancestors of commits."""
    repository = Repository()
    ids = [resolve(repository, text) for text in expand(repository, revisions)]
    if len(ids) < 2:
        raise UsageError("one commit has no common ancestor", "name two or more")
    graph = Graph(repository)
    graph.check(ids)
    bases = graph.bases(ids)
    if not bases:
        raise MergeProblem("these commits have no common ancestor", "run `wvc lineage` to see where each comes from")
    console.show(bases, render)


def render(bases: Sequence[str]) -> str:
    return "\n".join(bases)
