"""Start a repository."""

from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.repo.repository import Repository


def command(
    path: Annotated[Path, typer.Argument(help="Folder of the new repository")] = Path(),
    arch: Annotated[str | None, typer.Option(help="Architecture, such as mobilenet_v2 or resnet50")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Weights to begin with: a file, an index or a model folder")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Dictionary in a PyTorch checkpoint that holds the weights")] = None,
    random: Annotated[bool, typer.Option("--random", help="Begin with random weights")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the random weights")] = 0,
    image_size: Annotated[int | None, typer.Option(min=1, max=16384, help="Side of the input images in pixels")] = None,
    branch: Annotated[str, typer.Option("--branch", "-b", help="Name of the first branch")] = "main",
) -> None:
    """Start a repository, with a foundation model in it or empty."""
    from wvc.verbs.import_ import Foundation
    from wvc.verbs.start import plain as begin

    if arch is not None:
        from wvc.verbs.init import init as begin

    foundation = Foundation(arch, weights, seed if random else None, image_size, key)
    console.show(begin(path, foundation, branch, console.progress()), render)


def render(made: Repository) -> str:
    tip = made.refs.get(made.branch)
    place = console.safe(made.folder)
    if tip is None:
        return f"Initialized an empty wvc repository in {place}"
    return f"Initialized a wvc repository in {place}\n[yellow]{tip[:10]}[/] {console.safe(made.commit(tip).subject)}"
