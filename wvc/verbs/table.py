"""The tables at the end of a recipe: accuracies in and out of distribution, mean and error over trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from wvc.errors import RecipeProblem
from wvc.recipes import Recipe, Row, Table
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.verbs.measure import Look, Seen, looks


@dataclass(frozen=True)
class Figure:
    """A mean over trials, and its error: population standard deviation over sqrt(n) (design, Scores). In [0, 1].

    error: None for a single trial.
    """

    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        return cls(mean, math.sqrt(variance / len(values)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Line:
    """inside: accuracy on the pooled validation images, mean over the columns; None where nothing can validate.

    cells: per column, accuracy on the whole of the domain held out, None where none was.
    average: mean over the columns, taken within each trial; None where a cell is missing.
    """

    name: str
    inside: Figure | None
    cells: tuple[Figure | None, ...]
    average: Figure | None


@dataclass(frozen=True)
class Grid:
    """columns: the domains held out in turn. trials: how many a mean is over at most. lines: as in the recipe."""

    recipe: str
    task: str
    columns: tuple[str, ...]
    trials: int
    lines: tuple[Line, ...]


Measured = Callable[[Look], Seen]
Trials = list[tuple[float | None, float | None]]  # per trial: inside, outside


def grids(repository: Repository, recipe: Recipe, measured: Measured) -> list[Grid]:
    """The tables of a recipe, and of several tasks their averages side by side."""
    found = [_grid(repository, recipe, table, measured) for table in recipe.tables]
    return found if len(found) < 2 else [*found, _averages(recipe, found)]


def _grid(repository: Repository, recipe: Recipe, table: Table, measured: Measured) -> Grid:
    lines = []
    for row in table.rows:
        columns = [
            [_chosen(repository, table.task, row, branches, measured) for branches in cell] for cell in row.cells
        ]
        lines.append(_line(row.name, columns))
    trials = max((len(cell) for row in table.rows for cell in row.cells), default=0)
    return Grid(recipe.name, table.task, table.columns, trials, tuple(lines))


def _line(name: str, columns: Sequence[Trials]) -> Line:
    cells = tuple(_figure([outside for _, outside in trials]) for trials in columns)
    together = list(zip(*columns, strict=True)) if len({len(trials) for trials in columns}) == 1 else []
    inside = _figure([_mean([inside for inside, _ in trial]) for trial in together])
    average = _figure([_mean([outside for _, outside in trial]) for trial in together])
    return Line(name, inside, cells, average)


def _averages(recipe: Recipe, found: Sequence[Grid]) -> Grid:
    """One column a task, and their plain mean (protocol of DomainBed)."""
    lines = []
    for i, line in enumerate(found[0].lines):
        cells = tuple(grid.lines[i].average for grid in found)
        mean = _mean([None if cell is None else cell.mean for cell in cells])
        lines.append(Line(line.name, None, cells, None if mean is None else Figure(mean, None)))
    return Grid(
        recipe.name, "all", tuple(grid.task for grid in found), max(grid.trials for grid in found), tuple(lines)
    )


def _chosen(
    repository: Repository, task: str, row: Row, branches: Sequence[str], measured: Measured
) -> tuple[float | None, float | None]:
    """The mean over the branches of a row, or the one that its validation accuracy chooses."""
    seen = [measured(look) for look in looks(task, row, branches)]
    if row.choose == "mean" or row.ensemble:
        return _mean([one.inside for one in seen]), _mean([one.outside for one in seen])
    if row.choose == "best":
        known = [Fraction(-1) if one.inside is None else one.inside for one in seen]
        best = known.index(max(known))
    else:  # sorted ascending and reversed, as the papers' code does: the last among equals
        known = [_recorded(repository, branch) for branch in branches]
        best = max(range(len(known)), key=lambda i: (known[i], i))
    return _mean([seen[best].inside]), _mean([seen[best].outside])


def _recorded(repository: Repository, branch: str) -> Fraction:
    """The macro accuracy by which the training chose its checkpoint."""
    best = repository.commit(repository.refs[names.branch(branch)]).how.get("best")
    if not isinstance(best, dict):
        raise RecipeProblem(f"{branch} was not trained, so no training recorded its validation", 'use choose = "best"')
    return Fraction(best["score"])


def _figure(values: Sequence[float | None]) -> Figure | None:
    known = [value for value in values if value is not None]
    return Figure.of(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[Fraction | float | None]) -> float | None:
    """None where one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return float(sum(known) / len(known))
