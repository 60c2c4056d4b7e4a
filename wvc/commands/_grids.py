"""Tables of accuracies: on a terminal, as CSV, as LaTeX, as JSON, as text."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from wvc import console
from wvc.store.durable import disk

if TYPE_CHECKING:
    from wvc.verbs.table import Figure, Grid, Line

TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}  # fmt: skip


def grid(made: "Grid") -> Table:
    """For a terminal."""
    title = f"{console.safe(made.task)}, {made.trials} trial{'s' if made.trials > 1 else ''}"
    table = Table(title, box=None, pad_edge=False)
    for name in headings(made):
        table.add_column(console.safe(name), justify="right")
    for line in made.lines:
        table.add_row(console.safe(line.name), *(text(figure) for figure in figures(made, line)))
    return table


def headings(made: "Grid") -> list[str]:
    """Of the columns but the first: domains, their average, the validation accuracy."""
    columns = [name or "OOD" for name in made.columns]
    return [*(["ID"] if _has_id(made) else []), *columns, *(["Avg"] if len(columns) > 1 else [])]


def figures(made: "Grid", line: "Line") -> "list[Figure | None]":
    """In the order of `headings`."""
    average = [line.average] if len(made.columns) > 1 else []
    return [*([line.inside] if _has_id(made) else []), *line.cells, *average]


def _has_id(made: "Grid") -> bool:
    return any(line.inside is not None for line in made.lines)


def text(figure: "Figure | None", between: str = " ± ") -> str:
    """In %, with one decimal, from unrounded values; nothing where nothing was measured."""
    if figure is None:
        return ""
    error = "" if figure.error is None else f"{between}{100 * figure.error:.1f}"
    return f"{100 * figure.mean:.1f}{error}"


def as_csv(grids: "Sequence[Grid]") -> str:
    """A line for each figure: task, row, column, mean and error, both unrounded and in [0, 1]."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["recipe", "task", "row", "column", "mean", "error", "trials"])
    for made in grids:
        for line in made.lines:
            for name, figure in zip(headings(made), figures(made, line), strict=True):
                if figure is not None:
                    error = "" if figure.error is None else repr(figure.error)
                    row = [made.recipe, made.task, line.name, name, repr(figure.mean), error]
                    writer.writerow([*row, made.trials if figure.error is not None else 1])
    return out.getvalue()


def as_tex(grids: "Sequence[Grid]") -> str:
    """A tabular for each table, in the form of the papers; needs no package."""
    return "\n".join(_tabular(made) for made in grids)


def _tabular(made: "Grid") -> str:
    names = headings(made)
    rows = [[_tex(made.task), *map(_tex, names)]]
    for line in made.lines:
        rows.append([_tex(line.name), *(_cell(figure) for figure in figures(made, line))])
    head, *body = (" & ".join(row) + r" \\" for row in rows)
    columns = "l" + "c" * len(names)
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", head, r"\hline", *body, r"\end{tabular}", ""])


def _cell(figure: "Figure | None") -> str:
    return "" if figure is None else "$" + text(figure, r" \pm ") + "$"


def _tex(words: str) -> str:
    return "".join(TEX.get(c, c) for c in words)


def as_json(grids: "Sequence[Grid]") -> str:
    return json.dumps(console.plain(list(grids)), indent=2) + "\n"


def as_text(grids: "Sequence[Grid]") -> str:
    """Columns of equal width."""
    lines = []
    for made in grids:
        rows = [[made.task, *headings(made)]]
        rows += [[line.name, *(text(figure) for figure in figures(made, line))] for line in made.lines]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            first, *rest = row
            cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(rest, widths[1:], strict=True))]
            lines.append("  ".join(cells).rstrip())
        lines.append("")
    return "\n".join(lines)


FORMATS: Mapping[str, "Callable[[Sequence[Grid]], str]"] = {
    ".csv": as_csv, ".tex": as_tex, ".json": as_json, ".txt": as_text,
}  # fmt: skip


def write(path: Path, grids: "Sequence[Grid]") -> None:
    """The tables in the format that the end of the name says."""
    with disk(path):
        path.write_text(FORMATS[path.suffix](grids), encoding="utf-8")
