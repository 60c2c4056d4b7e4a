"""What a recipe is made of, once it is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """A task that the steps use. path: where its data are, or None for kinds that bring their own.

    known: it is a task of the repository already, and need not be added.
    """

    name: str
    kind: str = "folder"
    path: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    known: bool = False


@dataclass(frozen=True)
class Facts:
    """What a recipe needs to know of a dataset to say which steps there are.

    fingerprint: the identity of the data. counts: images, per domain. own_size: the side in pixels that all images
    share, or None. steps, evaluate_every: what its protocol says of a training.
    """

    task: Task
    domains: tuple[str, ...]
    fingerprint: str
    counts: tuple[int, ...] = ()
    own_size: int | None = None
    steps: int = 5001
    evaluate_every: int = 100


Know = Callable[[str], Facts]


@dataclass(frozen=True)
class Step:
    """One commit to make, on `branch`.

    kind: "create", "probe", "train", "blend" or "merge". start: the branch that it begins at, None for create.
    models: branches that are averaged; BRANCH@probe is the linear probe that the branch began with.
    options: as the command line has them.
    after: branches that must be there before, though nothing is made from them.
    reuse: where the branch is there already it is taken as it is, whoever made it.
    place: which of the recipe's [[step]] tables it is from.
    """

    kind: str
    branch: str
    start: str | None
    models: tuple[str, ...]
    options: Mapping[str, Any]
    after: tuple[str, ...] = ()
    reuse: bool = False
    place: int = 0

    @property
    def inputs(self) -> tuple[str, ...]:
        """Branches that it is made from."""
        return (*((self.start,) if self.start else ()), *(model.partition("@")[0] for model in self.models))

    @property
    def needs(self) -> tuple[str, ...]:
        """Branches that must be there before it begins."""
        return (*self.inputs, *self.after)


Cell = tuple[tuple[str, ...], ...]  # per trial, the branches that a figure is about


@dataclass(frozen=True)
class Row:
    """One row of a table.

    cells: per column, per trial, the branches that the row is about. Where no branch depends on the trial there is one.
    choose: "mean" over the branches; the "best" by validation accuracy, the first among equals; or "domainbed": the
    best by the macro accuracy that the training recorded, the last among equals.
    probe: their linear probes instead. ensemble: "logit" or "prob" to measure the ensemble of the branches, else "".
    test: "all" of a domain held out, or "in": the 80 % of it that DomainBed reports.
    """

    name: str
    cells: tuple[Cell, ...]
    choose: str = "mean"
    probe: bool = False
    ensemble: str = ""
    test: str = "all"


@dataclass(frozen=True)
class Table:
    """What is printed at the end, of one task. columns: the domains held out in turn; "" where no axis is named."""

    task: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Recipe:
    """A checked recipe.

    threads: of torch, or None for its default. places: what each [[step]] calls its branches. data: what is known of
    the datasets that its options name, by task.
    """

    name: str
    summary: str
    text: str
    threads: int | None
    tasks: tuple[Task, ...]
    steps: tuple[Step, ...]
    tables: tuple[Table, ...]
    places: tuple[str, ...] = ()
    data: Mapping[str, Facts] = field(default_factory=dict)
