"""Show which commit last set each tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from wvc import console
from wvc.commands._columns import columns, shortened, size
from wvc.commands._dashes import behind_dashes
from wvc.commands._words import percent, when
from wvc.errors import UsageError
from wvc.repo import blame as find
from wvc.repo.blame import Line, Total
from wvc.repo.graph import Node
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve

AUTHOR, SUBJECT = 16, 40  # characters that are shown of them


@dataclass(frozen=True)
class Blame:
    """lines: one for each tensor. totals: what their commits changed as a whole, None if nothing was measured."""

    lines: Sequence[Line]
    totals: Sequence[Total] | None

    def json(self) -> dict[str, object]:
        commits = {line.commit.id: line.commit for line in self.lines}
        facts = {"tensors": [_facts(line, measured=self.totals is not None) for line in self.lines]}
        totals = {} if self.totals is None else {"totals": list(self.totals)}
        return {**facts, "commits": list(commits.values()), **totals}


@dataclass(frozen=True)
class Row:
    """What is shown in one line: a tensor, or those of a layer that one commit set.

    l2, share: as of a Line; None where there is nothing to subtract.
    """

    name: str
    commit: Node
    tensors: int
    bytes: int
    l2: float | None
    share: float | None


def command(
    revision: Annotated[str, typer.Argument(metavar="REV", help="Commit whose tensors to look at")] = "HEAD",
    globs: Annotated[
        list[str] | None, typer.Option("--tensors", metavar="GLOB", help="Only tensors with such a name; or behind --")
    ] = None,
    stat: Annotated[bool, typer.Option("--stat", help="Measure each tensor's share in its commit's change")] = False,
    layers: Annotated[bool, typer.Option("--layers", help="One line for each layer and commit")] = False,
    sort: Annotated[str, typer.Option(help="name, or change: the largest first, measured as by --stat")] = "name",
) -> None:
    """Show which commit last set each tensor.

    Followed are the parents that the weights were made of: those whose coefficient is not 0. A tensor that one of
    them has too comes from there; if several have it, from the first.

    With --stat, a tensor's share is its part of the squared L2 norm of all that its commit changed in the first of
    these parents. Every tensor that was changed is read for it.
    """
    if sort not in ("name", "change"):
        raise UsageError(f"--sort {sort} is not one of name, change")
    repository = Repository()
    with behind_dashes(repository, "blame", [revision]):
        start = resolve(repository, revision)
    lines, totals = find.blame(repository, start, globs or []), None
    if stat or sort == "change":
        lines, totals = find.measure(repository, lines, console.progress())
    console.show(Blame(lines, totals), lambda blame: render(blame, layers=layers, sort=sort))


def render(blame: Blame, *, layers: bool = False, sort: str = "name") -> str:
    measured = blame.totals is not None
    rows = _layers(blame.lines) if layers else [_row([line], line.tensor.name) for line in blame.lines]
    if sort == "change":
        rows.sort(key=_rank)
    lines = columns(
        [*_head(layers=layers, measured=measured), *(_cells(row, layers=layers, measured=measured) for row in rows)],
        right=range(4, 4 + layers + 3 * measured),
        styles={0: "yellow"},
    )
    return "\n".join([*lines, *_totals(blame)])


def _head(*, layers: bool, measured: bool) -> list[list[str]]:
    """Titles, where there are figures that need some."""
    figures = ["tensors"] * layers + ["bytes", "L2", "share"] * measured
    what = "layer" if layers else "tensor"
    return [["commit", "author", "date", "subject", *figures, what]] if figures else []


def _rank(row: Row) -> float:
    """The largest change first, NaN before all, what has none last."""
    if row.l2 is None:
        return math.inf
    return -math.inf if math.isnan(row.l2) else -row.l2


def _cells(row: Row, *, layers: bool, measured: bool) -> list[str]:
    node = row.commit
    cells = [node.id[:10], shortened(node.author, AUTHOR), when(node.created), shortened(node.subject, SUBJECT)]
    if layers:
        cells.append(str(row.tensors))
    if measured:
        l2 = "" if row.l2 is None else f"{row.l2:.4g}"
        cells += [size(row.bytes), l2, "" if row.share is None else percent(row.share)]
    return [*cells, row.name]


def _layers(lines: Sequence[Line]) -> list[Row]:
    """Lines of one layer that one commit set, together; in the order of the names."""
    groups: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.layer, line.commit.id), []).append(line)
    return [_row(group, layer) for (layer, _), group in groups.items()]


def _row(lines: Sequence[Line], name: str) -> Row:
    norms = [line.change.l2 for line in lines if line.change is not None and line.change.l2 is not None]
    shares = [line.share for line in lines if line.share is not None]
    return Row(
        name,
        lines[0].commit,
        len(lines),
        sum(line.bytes for line in lines),
        math.hypot(*norms) if norms else None,
        sum(shares) if shares else None,
    )


def _totals(blame: Blame) -> list[str]:
    """A line for each commit that was measured: what it set of all this, and what it changed."""
    if not blame.totals:
        return []
    rows = [["commit", "set here", "bytes", "tensors changed", "numbers changed", "L2", "relative"]]
    for total in blame.totals:
        mine = [line for line in blame.lines if line.commit.id == total.commit.id]
        numbers = percent(total.changed / total.numbers) if total.numbers else ""
        figures = [numbers, f"{total.l2:.4g}", f"{total.relative:.4g}"]
        set_here = [str(len(mine)), size(sum(line.bytes for line in mine))]
        rows.append([total.commit.id[:10], *set_here, str(total.tensors), *figures])
    return ["", *columns(rows, right=range(1, 7), styles={0: "yellow"})]


def _facts(line: Line, *, measured: bool) -> dict[str, object]:
    facts = {**vars(line.tensor), "bytes": line.bytes, "commit": line.commit.id}
    return {**facts, "change": line.change, "share": line.share} if measured else facts
