"""Show how two models differ."""

from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.commands._shared import bring
from wvc.errors import UsageError
from wvc.repo import diff as differences
from wvc.repo import revisions
from wvc.repo.diff import Change
from wvc.repo.repository import Repository


def command(
    old: Annotated[str, typer.Argument(help="Commit or branch, or OLD..NEW")],
    new: Annotated[str, typer.Argument(help="Commit or branch, by default HEAD")] = "HEAD",
    stat: Annotated[bool, typer.Option("--stat", help="One line for each layer")] = False,
) -> None:
    """Show which tensors differ between two commits, and by how much."""
    if ".." in old:
        if new != "HEAD":
            raise UsageError("name either OLD..NEW or OLD NEW")
        old, new = (part or "HEAD" for part in old.split("..", 1))
    repository = Repository()
    one, two = (repository.manifest(repository.commit(revisions.resolve(repository, r))) for r in (old, new))
    bring(repository, [one, two])
    changes = differences.diff(repository, one, two, console.progress())
    console.show(changes, layers if stat else render)


def render(changes: list[Change]) -> RenderableType:
    """Every tensor, grouped by layer."""
    if not changes:
        return "no difference"
    table = Table(box=None, pad_edge=False)
    for column in ("tensor", "shape"):
        table.add_column(column)
    for column in ("L2", "relative", "cosine", "largest"):
        table.add_column(column, justify="right")
    for layer, members in grouped(changes).items():
        table.add_row(f"[bold]{console.safe(layer)}[/]", end_section=False)
        for change in members:
            table.add_row(*row(change))
    return Group(table, summary(changes))


def row(change: Change) -> tuple[str, ...]:
    name = f"  {console.safe(change.name.removeprefix(change.layer + '.'))}"
    shape = "x".join(map(str, change.shape)) or "scalar"
    if change.l2 is None:
        return name, f"{change.dtype} {shape}", f"[yellow]{change.status}[/]"
    figures = (change.l2, change.relative, change.cosine, change.largest)
    return name, f"{change.dtype} {shape}", *(f"{figure:.4g}" for figure in figures)


def layers(changes: list[Change]) -> RenderableType:
    """One line for each layer: the norm of the whole change in it."""
    if not changes:
        return "no difference"
    table = Table(box=None, pad_edge=False)
    table.add_column("layer")
    for column in ("tensors", "numbers changed", "L2", "largest"):
        table.add_column(column, justify="right")
    for layer, members in grouped(changes).items():
        l2 = sum((c.l2 or 0.0) ** 2 for c in members) ** 0.5
        largest = max(c.largest or 0.0 for c in members)
        changed = sum(c.changed if c.changed is not None else c.numbers for c in members)
        table.add_row(console.safe(layer), str(len(members)), str(changed), f"{l2:.4g}", f"{largest:.4g}")
    return Group(table, summary(changes))


def grouped(changes: list[Change]) -> dict[str, list[Change]]:
    """By layer, in the order of the names."""
    found: dict[str, list[Change]] = defaultdict(list)
    for change in changes:
        found[change.layer].append(change)
    return found


def summary(changes: list[Change]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for change in changes:
        counts[change.status] += 1
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
