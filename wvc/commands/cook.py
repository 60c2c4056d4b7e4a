"""Cook a recipe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console, recipes
from wvc.commands import log
from wvc.commands._grids import FORMATS, grid, write
from wvc.commands.task.add import pair
from wvc.errors import NotARepository, UsageError
from wvc.progress import NO_BOARD
from wvc.recipes import Recipe
from wvc.repo.config import Config, now
from wvc.repo.kitchen import duration
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft

if TYPE_CHECKING:
    from wvc.verbs.estimate import Estimate
    from wvc.verbs.table import Grid

HISTORY = 30  # steps: the history of more is no picture


def command(
    recipe: Annotated[str, typer.Argument(help="Recipe that comes with wvc, or a TOML file")],
    set_: Annotated[list[str] | None, typer.Option("--set", "-s", help="Option of the recipe, as NAME=VALUE")] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Steps at a time")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto",
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be made, and make nothing")] = False,
    table: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Write the tables too: .csv, .tex, .json or .txt")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph/--no-graph", help="Show the history at the end")] = True,
) -> None:
    """Carry out a recipe: train, merge and measure, skipping what is there already."""
    path = recipes.find(recipe)
    for file in table or []:
        if file.suffix not in FORMATS:
            raise UsageError(f"--table {file} does not end in {', '.join(FORMATS)}")
        if not file.absolute().parent.is_dir():
            raise UsageError(f"--table {file}: there is no folder {file.parent}", "make it first")
    from wvc.verbs import cook, estimate, know

    title, progress = recipes.title(path), console.progress()
    repository = _repository(title)
    read = recipes.read(path, dict(pair(text) for text in set_ or []), know.knower(repository, progress))
    if plan:
        console.show(estimate.estimate(repository, read, jobs, device, progress), render_plan)
        return
    if repository is None:
        author = Config(Path("/")).author()
        repository = create(Path(title), Draft("init", author, now(), default_branch="main"))
    board = console.board() if jobs > 1 else NO_BOARD
    options = cook.Options(jobs, device, progress, board, lambda text: console.note(console.safe(text)))
    made = cook.cook(repository, read, options)
    for file in table or []:
        write(file, made)
    if made:
        console.show(made, render)
    if graph and len(read.steps) <= HISTORY and not console.wants_json():
        _history(repository, read)
    _where(repository, cook.outputs(read), table or [])


def _history(repository: Repository, read: Recipe) -> None:
    last = read.steps[-1].branch
    history = log.entries(repository, [last], None, everything=False)
    console.note(f"history of {console.safe(last)}")
    console.show(history, lambda entries: log.render(entries, "", graph=True, oneline=True))


def _where(repository: Repository, outputs: list[tuple[str, int]], tables: list[Path]) -> None:
    """Say where everything is."""
    for branch, count in outputs:
        console.note(f"{count:5} {console.safe(branch)}")
    for file in tables:
        console.note(f"      {console.safe(file)}")
    console.note(f"in {console.safe(repository.path)}")


def _repository(name: str) -> Repository | None:
    """The repository here, else the one in a folder named after the recipe, if there is one."""
    try:
        return Repository()
    except NotARepository:
        return Repository(name) if (Path(name) / ".wvc").is_dir() else None


def render(grids: "list[Grid]") -> RenderableType:
    note = "ID: validation images pooled; the others: domains held out; mean ± standard error over trials, in %"
    return Group(*(grid(one) for one in grids), f"[dim]{note}[/]")


def render_plan(estimate: "Estimate") -> RenderableType:
    rows = Table("steps", "", box=None, pad_edge=False)
    rows.columns[0].justify = "right"
    rows.add_column("to make", justify="right")
    rows.add_column("made from")
    for group in estimate.groups:
        kind = f"[cyan]{group.kind}[/]"
        rows.add_row(
            str(group.steps), f"{kind} {console.safe(group.branch)}", str(group.missing), console.safe(group.sources)
        )
    lines: list[RenderableType] = [
        f"[bold]{console.safe(estimate.recipe)}[/]: {estimate.steps} steps, {estimate.missing} to make",
        rows,
    ]
    if estimate.seconds is not None:
        how = f"measured here: {1000 * (estimate.step_seconds or 0):.0f} ms an update" if estimate.step_seconds else ""
        jobs = f"{estimate.jobs} {'job' if estimate.jobs == 1 else 'jobs'}"
        lines.append(f"about {duration(estimate.seconds)} with {jobs}{f' ({how})' if how else ''}")
    lines.append(f"about {estimate.bytes / 1e6:.0f} MB on disk, at most")
    return Group(*lines)
