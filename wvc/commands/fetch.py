"""Bring what a remote has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.commands import _shared
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.fetch import Fetched


def command(
    remote: Annotated[str | None, typer.Argument(help="Remote, by default the only one, or origin")] = None,
    branches: Annotated[list[str] | None, typer.Argument(metavar="BRANCH", help="Branches, all by default")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Forget branches that are no longer there")] = False,
    weights: Annotated[
        bool, typer.Option("--weights", help="Bring the weights, too, of a history that came without them")
    ] = False,
) -> None:
    """Bring a remote's branches, tags and tasks, with all that they need. No branch of yours moves."""
    from wvc.verbs.fetch import complete, fetch

    repository, progress = Repository(), console.progress()
    name = _shared.default(repository, remote)
    if weights:
        console.show(complete(repository, name, branches or (), progress), render)
    else:
        console.show(fetch(repository, name, branches or (), prune=prune, progress=progress), render)


def render(fetched: Fetched) -> str:
    if not fetched.moves and not fetched.received:
        lines = [f"up to date with {console.safe(fetched.remote)}"]
    else:
        lines = [f"from {console.safe(fetched.remote)}, {_shared.size(fetched.received)} of weights"]
    return "\n".join([*lines, *_shared.moved(fetched.moves), *map(console.safe, fetched.notes)])
