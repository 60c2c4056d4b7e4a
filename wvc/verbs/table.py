"""The table at the end of a recipe: accuracies in and out of distribution, mean and error over trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from wvc.progress import SILENT, Progress
from wvc.recipes import Recipe, Row
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.verbs.eval import Options, evaluate


@dataclass(frozen=True)
class Figure:
    """A mean over trials, and its error: population standard deviation over sqrt(n) (design, Scores). In [0, 1]."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        return cls(mean, math.sqrt(variance / len(values)))


@dataclass(frozen=True)
class Line:
    """inside: accuracy on the pooled validation images; outside: on the whole of the domains held out."""

    name: str
    inside: Figure
    outside: Figure | None


@dataclass(frozen=True)
class Table:
    """lines: as the recipe orders them. trials: how many each mean is over."""

    recipe: str
    task: str
    trials: int
    lines: tuple[Line, ...]

    def json(self) -> dict[str, Any]:
        rows = [
            {
                "name": line.name,
                "id": vars(line.inside),
                "ood": None if line.outside is None else vars(line.outside),
            }
            for line in self.lines
        ]
        return {"recipe": self.recipe, "task": self.task, "trials": self.trials, "rows": rows}


Scores = tuple[Fraction, Fraction | None]


def make(repository: Repository, recipe: Recipe, progress: Progress = SILENT) -> Table:
    """Measure what nobody has measured yet, and put it together."""
    known: dict[str, Scores] = {}

    def scores(branch: str, probe: bool) -> Scores:
        id = repository.refs[names.branch(branch)]
        if probe:
            id = str(repository.commit(id).how["start"]["probe"])
        if id not in known:
            known[id] = _scores(repository, id, recipe.table_task, progress)
        return known[id]

    lines = []
    for row in recipe.rows:
        trials = [_chosen(row, [scores(branch, row.probe) for branch in branches]) for branches in row.trials]
        outside = [value for _, value in trials if value is not None]
        inside = Figure.of([value for value, _ in trials])
        lines.append(Line(row.name, inside, Figure.of(outside) if len(outside) == len(trials) else None))
    return Table(recipe.name, str(recipe.table_task), len(recipe.rows[0].trials), tuple(lines))


def _scores(repository: Repository, id: str, task: str | None, progress: Progress) -> Scores:
    """(inside, outside) of one commit."""
    found = {s.circumstances.split: s.micro for s in evaluate(repository, id, Options(task=task), progress).scores}
    return found["val"], found.get("all")


def _chosen(row: Row, scores: Sequence[Scores]) -> tuple[float, float | None]:
    """The mean over the branches of a row, or the one with the best validation accuracy, the earliest among equals."""
    if row.choose == "best":
        inside, outside = max(scores, key=lambda pair: pair[0])
        return float(inside), None if outside is None else float(outside)
    outsides = [outside for _, outside in scores if outside is not None]
    mean = sum(outsides, Fraction(0)) / len(outsides) if outsides else None
    return float(sum((inside for inside, _ in scores), Fraction(0)) / len(scores)), None if mean is None else float(
        mean
    )
