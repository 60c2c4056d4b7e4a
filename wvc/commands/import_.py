"""Bring in weights from files."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import BadName, RefExists, UsageError
from wvc.repo import names, sources
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository


def command(
    path: Annotated[
        Path, typer.Argument(help="safetensors file, index of shards, model folder, or PyTorch checkpoint")
    ],
    branch: Annotated[
        str | None, typer.Option("--branch", "-b", help="New branch for it, by default named after PATH")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Dictionary in a PyTorch checkpoint that holds the weights")] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture that the weights belong to")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, max=16384, help="Side of the input images in pixels")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
) -> None:
    """Bring in weights that were made elsewhere, as a history of their own."""
    from wvc.verbs.import_ import import_weights

    repository = Repository()
    title = sources.title(path)
    with sources.open(path, key) as source:  # a file that cannot be read is the first thing to say
        ref = target(repository, branch or title, named=branch is not None)
        spec = None
        if arch is not None:
            from wvc.verbs.describe import describe

            spec = describe(arch, source, image_size)
        made = import_weights(repository, source, ref, message or title, spec, key, console.progress())
    console.show(made, lambda commit: render(commit, names.short(ref)))


def target(repository: Repository, name: str, *, named: bool) -> str:
    """The branch that HEAD names where that has no commit yet, else a new one."""
    if not named and repository.branch not in repository.refs:
        return repository.branch
    try:
        ref = names.branch(name)
    except BadName:
        if named:
            raise
        raise UsageError(f"{name!r} is no name for a branch", "choose one with --branch") from None
    if ref in repository.refs:
        raise RefExists("branch", name, "choose another name")
    return ref


def render(commit: Commit, branch: str) -> str:
    return f"\\[{console.safe(branch)}] [yellow]{commit.id[:10]}[/] {console.safe(commit.subject)}"
