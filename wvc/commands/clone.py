"""Copy a repository."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import names
from wvc.repo.repository import Repository


def command(
    source: Annotated[str, typer.Argument(help="Folder of the repository to copy")],
    path: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Folder of the copy")] = None,
    branch: Annotated[str | None, typer.Option("--branch", "-b", help="Branch to begin on")] = None,
) -> None:
    """Copy a repository with its history, every byte checked."""
    from wvc.verbs.clone import clone

    if "://" in source:
        raise UsageError(f"cannot clone {source}", "name a folder: other places are not supported yet")
    place = path or Path(Path(source).resolve().name)
    console.show(clone(Path(source), place, branch, console.progress()), render)


def render(made: Repository) -> str:
    return f"Cloned into {console.safe(made.path)}, on branch {console.safe(names.short(made.branch))}"
