"""Cook a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table as Grid

from wvc import console, recipes
from wvc.commands import log
from wvc.commands.task.add import pair
from wvc.errors import NotARepository
from wvc.repo.config import Config, now
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft

if TYPE_CHECKING:
    from wvc.verbs.table import Figure, Table


def command(
    recipe: Annotated[str, typer.Argument(help="Recipe that comes with wvc, or a TOML file")],
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="Option of the recipe, as NAME=VALUE")] = None,
    graph: Annotated[bool, typer.Option("--graph/--no-graph", help="Show the history at the end")] = True,
) -> None:
    """Carry out a recipe: train, merge and measure, skipping what is there already."""
    read = recipes.read(recipes.find(recipe), dict(pair(text) for text in set_ or []))
    repository = _repository(read.name)
    from wvc.verbs.cook import cook

    made = cook(repository, read, console.progress(), lambda text: console.note(console.safe(text)))
    if made is not None:
        console.show(made, render)
    if graph and not console.wants_json():
        last = read.steps[-1].branch
        history = log.entries(repository, [last], None, everything=False)
        console.note(f"history of {console.safe(last)}")
        console.show(history, lambda entries: log.render(entries, "", graph=True, oneline=True))
    console.note(f"in {console.safe(repository.path)}")


def _repository(name: str) -> Repository:
    """The repository here, else a new one in a folder named after the recipe."""
    try:
        return Repository()
    except NotARepository:
        folder = Path(name)
        if (folder / ".wvc").is_dir():
            return Repository(folder)
        return create(folder, Draft("init", Config(Path("/")).author(), now(), default_branch="main"))


def render(table: "Table") -> RenderableType:
    grid = Grid(f"{console.safe(table.task)}, {table.trials} seeds", box=None, pad_edge=False)
    grid.add_column("ID accuracy", justify="right")
    grid.add_column("OOD accuracy", justify="right")
    for line in table.lines:
        grid.add_row(console.safe(line.name), figure(line.inside), figure(line.outside))
    return Group(grid, "[dim]ID: validation images pooled; OOD: the domains held out; mean ± standard error, in %[/]")


def figure(value: "Figure | None") -> str:
    return "" if value is None else f"{100 * value.mean:.1f} ± {100 * value.error:.1f}"
