"""Send branches to a remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.commands import _shared
from wvc.errors import UsageError
from wvc.repo import names
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from wvc.verbs.push import Pushed


def command(
    remote: Annotated[str | None, typer.Argument(help="Remote, by default the only one, or origin")] = None,
    refs: Annotated[
        list[str] | None, typer.Argument(metavar="BRANCH", help="Branches or tags, or HERE:THERE; HEAD's by default")
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Push all branches")] = False,
    tags: Annotated[bool, typer.Option("--tags", help="Push all tags")] = False,
    delete: Annotated[bool, typer.Option("--delete", "-d", help="Remove the branches named from the remote")] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace what is there, whatever it is")] = False,
    lease: Annotated[
        bool, typer.Option("--force-with-lease", help="Replace what is there if it is still where you saw it")
    ] = False,
    upstream: Annotated[bool, typer.Option("--set-upstream", "-u", help="Push there by default from now on")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be pushed and change nothing")] = False,
) -> None:
    """Send branches, and all that they need, to a remote: all of them arrive, or none."""
    from wvc.verbs.push import Options, push

    if force and lease:
        raise UsageError("--force does not look, --force-with-lease does", "give one of them")
    if delete and not refs:
        raise UsageError("--delete needs the branches to remove", "wvc push --delete REMOTE BRANCH")
    repository = Repository()
    name = _shared.default(repository, remote)
    prefix = f"{names.REMOTES}{name}/"
    seen = {names.HEADS + ref.removeprefix(prefix): id for ref, id in repository.refs.items() if ref.startswith(prefix)}
    options = Options(tuple(refs or ()), all, tags, delete, force, seen if lease else None, dry_run)
    pushed = push(repository, name, options, console.progress())
    if upstream and not dry_run:
        repository.config.set(name, "branches", names.short(repository.branch), "remote")
    console.show(pushed, render)


def render(pushed: Pushed) -> str:
    place = f"{console.safe(pushed.remote)} ({console.safe(pushed.url)})"
    if not pushed.moves:
        lines = [f"{place} has all of it already"]
    elif pushed.dry:
        lines = [f"would push to {place}, about {_shared.size(pushed.sent)}"]
    else:
        lines = [f"to {place}, {_shared.size(pushed.sent)}"]
    return "\n".join([*lines, *_shared.moved(pushed.moves), *map(console.safe, pushed.notes)])
