"""Bring a remote's branch and follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wvc import console
from wvc.commands import _merged, _shared, fetch
from wvc.errors import UsageError
from wvc.repo.repository import Repository

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wvc.verbs.pull import Pulled


def command(
    remote: Annotated[str | None, typer.Argument(help="Remote, by default the only one, or origin")] = None,
    branch: Annotated[str | None, typer.Argument(help="Its branch, by default that of the same name")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Merge where both sides have moved")] = False,
    strategy: Annotated[str | None, typer.Option(help="With --merge: how to blend")] = None,
    select: Annotated[str | None, typer.Option(help="With --merge: which to blend")] = None,
    task: Annotated[str | None, typer.Option("--task", "-t", help="With --merge: task that decides")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="With --merge: message of the commit")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N, of evaluations")] = "auto",
) -> None:
    """Fetch, and let the current branch follow the remote's: by fast-forward, or by a merge if you ask for one."""
    from wvc.verbs import terms
    from wvc.verbs.pull import pull

    if not merge and (strategy or select or task or message):
        raise UsageError("--strategy, --select, --task and --message go with --merge", "add --merge, or leave them out")
    repository = Repository()
    merging = terms.Options(strategy=strategy, select=select, task=task, message=message, device=device)
    name = _shared.default(repository, remote)
    console.show(pull(repository, name, branch, merging if merge else None, console.progress()), render)


def render(pulled: Pulled) -> RenderableType:
    from rich.console import Group

    parts: list[RenderableType] = [fetch.render(pulled.fetched)]
    if pulled.merged is not None:
        parts.append(_merged.render(pulled.merged))
    elif pulled.move is not None:
        parts.append(f"Fast-forward to [yellow]{(pulled.move.new or '')[:10]}[/]")
    else:
        parts.append("nothing to pull")
    return Group(*parts)
