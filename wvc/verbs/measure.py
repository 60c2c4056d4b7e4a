"""What the tables of a recipe measure: a commit, the linear probe that it began with, or an ensemble of several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

from wvc.errors import RecipeProblem
from wvc.learning.ensemble import Space
from wvc.progress import SILENT, Progress
from wvc.recipes import Recipe, Row
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.scores import Score
from wvc.verbs import ensemble
from wvc.verbs.ensemble import EnsembleEvaluation
from wvc.verbs.eval import Evaluation, Options, SeveralSplits, evaluate


@dataclass(frozen=True)
class Look:
    """One measurement. branches: one, or the members of an ensemble.

    probe: of the linear probe that the branch began with. space: of an ensemble, "logit" or "prob", else "".
    test: "all" of the domains held out, or "in": the 80 % of them.
    """

    task: str
    branches: tuple[str, ...]
    probe: bool = False
    space: str = ""
    test: str = "all"

    @property
    def name(self) -> str:
        """For a person who waits for it."""
        what = f"{self.space} ensemble of " if self.space else "probe of " if self.probe else ""
        first, *others = self.branches
        return f"eval {what}{first}{f' and {len(others)} more' if others else ''}{' (80 %)' * (self.test == 'in')}"


@dataclass(frozen=True)
class Seen:
    """Accuracies in [0, 1]. inside: on the pooled validation images; outside: on the domains held out.

    inside is None where no image of the other domains is left to validate on, outside where none was held out; both
    where there is no linear probe.
    """

    inside: Fraction | None
    outside: Fraction | None


def looks(task: str, row: Row, branches: Sequence[str]) -> tuple[Look, ...]:
    """What must be measured for one trial of one cell of a row."""
    if row.ensemble:
        return (Look(task, tuple(branches), False, row.ensemble, row.test),)
    return tuple(Look(task, (branch,), row.probe, "", row.test) for branch in branches)


def every(recipe: Recipe) -> Iterator[Look]:
    """All that the tables of a recipe measure, each once."""
    found = dict.fromkeys(
        look
        for table in recipe.tables
        for row in table.rows
        for cell in row.cells
        for branches in cell
        for look in looks(table.task, row, branches)
    )
    yield from found


def measure(repository: Repository, look: Look, device: str = "auto", progress: Progress = SILENT) -> Seen:
    """The accuracies, from what was recorded and cached before where that will do. Raises as `evaluate` does."""
    ids = [tip(repository, branch) for branch in look.branches]
    if look.probe:
        probes = [repository.commit(id).how["start"]["probe"] for id in ids]
        ids = [probe for probe in probes if probe is not None]
        if not ids:  # it began with a random head
            return Seen(None, None)
    try:
        scores, test = _scores(repository, look, ids, Options(task=look.task, device=device), progress)
    except SeveralSplits:
        return Seen(None, None)
    if look.test == "in" and test:
        options = Options(task=look.task, device=device, domains=test, split="in")
        scores |= _scores(repository, look, ids, options, progress)[0]
    inside, outside = scores.get("val"), scores.get(look.test)
    return Seen(inside.micro if inside else None, outside.micro if outside else None)


def tip(repository: Repository, branch: str) -> str:
    """The commit that a step made. Raises RecipeProblem where somebody took the branch away meanwhile."""
    id = repository.refs.get(names.branch(branch))
    if id is None:
        raise RecipeProblem(f"branch {branch!r} is gone: it was removed or renamed meanwhile", "cook again")
    return id


def _scores(
    repository: Repository, look: Look, ids: Sequence[str], options: Options, progress: Progress
) -> tuple[dict[str, Score], tuple[str, ...]]:
    """By split, and which domains were held out."""
    found: Evaluation | EnsembleEvaluation
    if look.space:
        together = ensemble.Options(space=cast(Space, look.space), **vars(options))
        found = ensemble.ensemble(repository, ids, together, progress)
    else:
        found = evaluate(repository, ids[0], options, progress)
    return {score.circumstances.split: score for score in found.scores}, found.test
