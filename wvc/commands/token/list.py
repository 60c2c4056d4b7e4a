"""List the tokens."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from wvc import console
from wvc.repo.repository import Repository


def command() -> None:
    """List the tokens of this repository; the tokens themselves are stored nowhere."""
    from wvc.web.tokens import read

    hidden = ("hash",)
    rows = [{k: v for k, v in vars(token).items() if k not in hidden} for token in read(Repository().folder)]
    console.show(rows, render)


def render(rows: Sequence[dict]) -> RenderableType:
    if not rows:
        return "no tokens: wvc token create NAME"
    table = Table(box=None, pad_edge=False)
    for column in ("name", "scope", "refs", "writes as", "made", "expires"):
        table.add_column(column)
    for row in rows:
        names = ", ".join((row["name"], *row["actors"]))
        ends = "never" if row["expires"] is None else _day(row["expires"])
        cells = (row["name"], row["scope"], ", ".join(row["refs"]), names, _day(row["created"]), ends)
        table.add_row(*(console.safe(cell) for cell in cells))
    return table


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))
