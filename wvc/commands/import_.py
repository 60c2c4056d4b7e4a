"""Bring in weights from a file."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.repo import files, names
from wvc.repo.objects import Commit
from wvc.repo.repository import Repository


def command(
    file: Annotated[Path, typer.Argument(help="safetensors file")],
    branch: Annotated[
        str | None, typer.Option("--branch", "-b", help="New branch for it, by default named after the file")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture that the weights belong to")] = None,
    image_size: Annotated[int | None, typer.Option(min=1, max=16384, help="Side of the input images in pixels")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Message of the commit")] = None,
) -> None:
    """Bring in weights that were made elsewhere, as a history of their own."""
    from wvc.verbs.import_ import Foundation, import_weights

    repository = Repository()
    foundation = Foundation(arch, file, None, image_size)
    files.Source(file).close()  # a file that cannot be read is the first thing to say
    ref = target(repository, branch or file.stem, named=branch is not None)
    made = import_weights(repository, foundation, ref, message or file.stem, console.progress())
    console.show(made, lambda commit: render(commit, names.short(ref)))


def target(repository: Repository, name: str, *, named: bool) -> str:
    """The branch that HEAD names where that has no commit yet, else a new one."""
    from wvc.errors import RefExists

    if not named and repository.branch not in repository.refs:
        return repository.branch
    ref = names.branch(name)
    if ref in repository.refs:
        raise RefExists("branch", name, "choose another name")
    return ref


def render(commit: Commit, branch: str) -> str:
    return f"\\[{console.safe(branch)}] [yellow]{commit.id[:10]}[/] {console.safe(commit.subject)}"
