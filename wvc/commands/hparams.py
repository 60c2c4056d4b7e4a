"""Show the hyperparameters that a seed draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table

from wvc import console
from wvc.errors import UsageError
from wvc.learning import hparams
from wvc.learning.hparams import SPACES, Hparams
from wvc.learning.spaces import GRIDS

COUNT = 20  # the papers' number of runs
HEADINGS = {"warmup_steps": "warm-up", "learning_rate": "lr", "batch_size": "batch"}


def command(
    space: Annotated[str, typer.Option(metavar="NAME", help=", ".join(SPACES))] = "mild",
    seed: Annotated[int, typer.Option(metavar="H", min=0, help="Seed of the hyperparameters, or the first one")] = 0,
    trial_seed: Annotated[int, typer.Option(metavar="T", min=0, help="Which 80/20 split; grids ignore it")] = 0,
    list_: Annotated[bool, typer.Option("--list", help="List the draws of several seeds")] = False,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"How many to list, {COUNT} or all points of a grid")
    ] = None,
) -> None:
    """Show the hyperparameters that a seed draws.

    They are what `wvc commit --hparams-seed H` trains with, before what is given there. Seed 0 of mild, domainbed and
    eoa has the defaults. A seed of a soups grid is a place in it.
    """
    if count is not None and not list_:
        raise UsageError("--count is how many to list", "add --list")
    seeds = _seeds(space, seed, count) if list_ else range(seed, seed + 1)
    drawn = {h: hparams.draw(h, trial_seed, space) for h in seeds}
    if console.wants_json():
        entries = facts(drawn, space, trial_seed)
        console.show(entries if list_ else entries[0], str)
    else:
        console.show(drawn, table if len(drawn) > 1 else one)


def _seeds(space: str, first: int, count: int | None) -> range:
    """The seeds to list: never beyond a grid, but always the first, which is wrong there and says so."""
    if space not in GRIDS:
        return range(first, first + (count or COUNT))
    size = len(hparams.grid(space))
    return range(first, max(first + 1, min(size, first + (count or size))))


def facts(drawn: Mapping[int, Hparams], space: str, trial_seed: int) -> list[dict[str, object]]:
    """One entry per seed."""
    same = {"trial_seed": trial_seed, "space": space}
    return [{"hparams_seed": seed, **same, **asdict(draw)} for seed, draw in drawn.items()]


def one(drawn: Mapping[int, Hparams]) -> RenderableType:
    """A line per hyperparameter of the only seed, with all digits."""
    (draw,) = drawn.values()
    lines = Table(box=None, pad_edge=False, show_header=False)
    for name, value in asdict(draw).items():
        if value is not None:
            lines.add_row(name.replace("_", " "), _text(value, exact=True))
    return lines


def table(drawn: Mapping[int, Hparams]) -> RenderableType:
    """A line per seed with what differs between them, and below what they share."""
    rows = [asdict(draw) for draw in drawn.values()]
    differing = [name for name in rows[0] if any(row[name] != rows[0][name] for row in rows)]
    grid = Table(box=None, pad_edge=False)
    grid.add_column("h", justify="right")
    for name in differing:
        grid.add_column(HEADINGS.get(name, name.replace("_", " ")))
    for h, row in zip(drawn, rows, strict=True):
        grid.add_row(f"[yellow]{h}[/]", *(_text(row[name]) for name in differing))
    return Group(grid, f"[dim]{_shared(rows[0], differing)}[/]")


def _shared(row: Mapping[str, object], differing: Sequence[str]) -> str:
    same = {name: value for name, value in row.items() if name not in differing and value is not None}
    return "all: " + ", ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in same.items())


def _text(value: object, *, exact: bool = False) -> str:
    if isinstance(value, tuple):
        return "n{} m{}".format(*value)
    if isinstance(value, float):
        return repr(value).removesuffix(".0") if exact else f"{value:.4g}"
    return "" if value is None else str(value)
