"""Copy a repository."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import names
from wvc.repo.repository import Repository


def command(
    source: Annotated[str, typer.Argument(help="Repository to copy: a folder, or http(s)://...")],
    path: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Folder of the copy")] = None,
    branch: Annotated[str | None, typer.Option("--branch", "-b", help="Branch to begin on")] = None,
    no_weights: Annotated[
        bool, typer.Option("--no-weights", help="Copy the history alone; weights come when something needs them")
    ] = False,
) -> None:
    """Copy a repository with its history, every byte checked."""
    from wvc.verbs.clone import clone

    name = source.rstrip("/").rpartition("/")[2] if "://" in source else Path(source).resolve().name
    if path is None and not names.WORD.fullmatch(name):
        raise UsageError("what shall the copy be called?", f"wvc clone {source} DIR")
    place = path or Path(name)
    console.show(clone(source, place, branch, weights=not no_weights, progress=console.progress()), render)


def render(made: Repository) -> str:
    return f"Cloned into {console.safe(made.path)}, on branch {console.safe(names.short(made.branch))}"
