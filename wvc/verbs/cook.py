"""Cook a recipe: make every commit that is not there yet, as many at a time as there are jobs, then the tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wvc import architectures
from wvc.errors import Interrupted, ModelProblem, RecipeProblem, TrainingProblem, UsageError
from wvc.learning import hparams
from wvc.learning.parallel import Engine, Here, Processes
from wvc.learning.settings import Settings
from wvc.progress import NO_BOARD, SILENT, Board, Progress
from wvc.recipes import Recipe, Step
from wvc.repo import kitchen, names
from wvc.repo.history import ever_named
from wvc.repo.kitchen import Kitchen
from wvc.repo.repository import Repository
from wvc.verbs import make, table, task
from wvc.verbs.data import NONE
from wvc.verbs.measure import Look, Seen, every, measure, tip

EVERY = 1.0  # seconds between two looks at what is going on
SMALL = 20  # what a step costs that is no training, in updates; only ETAs rest on it


@dataclass(frozen=True)
class Options:
    """jobs: how many steps at a time. device: as in training. progress: of the one step, where there is one job."""

    jobs: int = 1
    device: str = "auto"
    progress: Progress = SILENT
    board: Board = NO_BOARD
    say: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Node:
    """A piece of work: a commit to make, or something to measure.

    needs: names of nodes that come first. cost: in updates, roughly.
    """

    name: str
    work: Step | Look
    needs: frozenset[str]
    cost: int = SMALL


def nodes(recipe: Recipe) -> list[Node]:
    """All work, in an order in which it can be done. A training measures itself; the rest is measured for tables."""
    trained = {step.branch for step in recipe.steps if step.kind == "train"}
    found = [Node(step.branch, step, frozenset(step.needs), SMALL + updates(recipe, step)) for step in recipe.steps]
    for look in every(recipe):
        known = look.branches[0] in trained and not look.probe and not look.space and look.test == "all"
        if not known:
            name = f"{look.name} of {len(found)}" if look.name in {node.name for node in found} else look.name
            found.append(Node(name, look, frozenset(look.branches)))
    return found


def updates(recipe: Recipe, step: Step) -> int:
    """Of the whole network, which a step makes."""
    protocol = recipe.data.get(str(step.options.get("task")))
    if step.kind == "train":
        return int(step.options.get("steps", protocol.steps if protocol else Settings.steps))
    return 0


def cook(repository: Repository, recipe: Recipe, options: Options | None = None) -> list[table.Grid]:
    """Make what is missing, resume what is unfinished, leave the rest alone; return the tables.

    Raises RecipeProblem where a branch holds what cook did not make, or where another cook is going on.
    """
    options = options or Options()
    check(repository, recipe)
    with Kitchen(repository).locked():
        for entry in recipe.tasks:
            path = None if entry.path is None else Path(entry.path)
            task.add(repository, entry.name, path, entry.kind, entry.parameters)
        check(repository, recipe)  # of the tasks that were added the domains are known now
        shift = _Shift(repository, recipe, options)
        try:
            shift.work()
        finally:
            options.board.stop()
            shift.engine.close()
        return _tables(repository, recipe, options)


def check(repository: Repository | None, recipe: Recipe) -> None:
    """What the file alone cannot tell. Raises RecipeProblem.

    Domains of tasks that are still to be added are checked where the recipe knows them.
    """
    known: dict[str, tuple[str, ...]] = {task: facts.domains for task, facts in recipe.data.items()}
    if repository is not None:
        for name in {str(step.options["task"]) for step in recipe.steps if "task" in step.options} - set(known):
            if names.task(name) in repository.refs:
                known[name] = tuple(domain for domain, _ in task.describe(repository, name)[1].domains)
    for step in recipe.steps:
        if step.kind in ("probe", "train"):
            try:
                make.training(step.options, "cpu")
                drawn = (step.options.get("hparams_seed", 0), step.options.get("trial", 0))
                hparams.draw(*drawn, step.options.get("space", "mild"))
                _check_domains(step, known)
            except (UsageError, TrainingProblem) as error:
                raise RecipeProblem(f"step {step.branch!r}: {error}", error.hint) from None
        _check_create(step)
        if repository is None:
            continue
        if step.reuse and "arch" not in step.options and names.branch(step.branch) not in repository.refs:
            raise RecipeProblem(
                f"there is no branch {step.branch!r} to begin at",
                "make it with `wvc init`, or name an architecture: --set arch=NAME [--set weights=FILE]",
            )


def _check_domains(step: Step, known: Mapping[str, tuple[str, ...]]) -> None:
    """Raises UsageError where a domain is to be held out that the task has not."""
    name = str(step.options.get("task"))
    for domain in step.options.get("test_domains", []):
        if name in known and domain not in (*known[name], NONE):
            raise UsageError(f"task {name!r} has no domain {domain!r}", f"it has {', '.join(known[name])}")


def _check_create(step: Step) -> None:
    """Raises RecipeProblem where the foundation cannot be made."""
    if step.kind != "create" or "arch" not in step.options:
        return
    try:
        architectures.describe(step.options["arch"])
    except ModelProblem as error:
        raise RecipeProblem(f"step {step.branch!r}: {error}", error.hint) from None
    weights = step.options.get("weights", "random")
    if weights not in ("random", "pretrained") and not Path(weights).expanduser().exists():
        raise RecipeProblem(f"step {step.branch!r}: {weights}: no such file")


def missing(repository: Repository, recipe: Recipe) -> Iterator[Node]:
    """The work that is still to be done, as far as it can be told before it begins."""
    gone: set[str] = set()
    for node in nodes(recipe):
        there = isinstance(node.work, Step) and not (node.needs & gone) and _is_there(repository, recipe, node.work)
        if not there:
            gone.add(node.name)
            yield node


def _is_there(repository: Repository, recipe: Recipe, step: Step) -> bool:
    if names.branch(step.branch) not in repository.refs:
        return False
    return make.is_made(repository, step, make.facts(repository, recipe.name, step)["key"])


def _tables(repository: Repository, recipe: Recipe, options: Options) -> list[table.Grid]:
    known: dict[Look, Seen] = {}

    def measured(look: Look) -> Seen:
        if look not in known:
            known[look] = measure(repository, look, options.device, options.progress)
        return known[look]

    return table.grids(repository, recipe, measured)


@dataclass
class _Shift:
    """One cook at work."""

    repository: Repository
    recipe: Recipe
    options: Options
    done: set[str] = field(default_factory=set)
    running: dict[str, str | None] = field(default_factory=dict)  # name -> the key of its commit
    keys: dict[str, str] = field(default_factory=dict)  # of what could begin

    def __post_init__(self) -> None:
        self.nodes = nodes(self.recipe)
        self.kitchen = Kitchen(self.repository)
        self.known = _known(self.repository)
        self.began = time.monotonic()
        self.worked = 0
        jobs = self.options.jobs
        gpus = torch.cuda.device_count()
        self.engine: Engine = Here() if jobs == 1 else Processes(jobs, self.kitchen.workers, gpus)
        self.threads = self.recipe.threads or (None if jobs == 1 else max(1, torch.get_num_threads() // jobs))

    def work(self) -> None:
        """Until all is done. Raises what a step raises, Interrupted on Ctrl-C."""
        try:
            while len(self.done) < len(self.nodes):
                self._begin_what_can_begin()
                self._show()
                if not self.running:
                    continue
                for name, _ in self.engine.finished(EVERY):
                    self._finish(name)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what was made is kept", "cook again to go on") from None

    def _begin_what_can_begin(self) -> None:
        for node in self.nodes:
            if node.name in self.done or node.name in self.running or not node.needs <= self.done:
                continue
            if isinstance(node.work, Look):
                if self.engine.free:
                    self._submit(node, None, make.look, node.work)
                continue
            key = self._key(node, node.work)
            if key is None:
                self._say(node, "already there")
            elif key in self.known:
                make.point(self.repository, self.recipe.name, node.work, self.known[key])
                self._say(node, f"already there as {self.known[key][:10]}")
            elif self.engine.free and key not in self.running.values():
                self._submit(node, key, make.make, self.recipe.name, node.work)

    def _key(self, node: Node, step: Step) -> str | None:
        """Of the commit that is to be made; None where it is there. Looked up once: nobody else makes it meanwhile."""
        if node.name not in self.keys:
            self.keys[node.name] = str(make.facts(self.repository, self.recipe.name, step)["key"])
            if make.is_made(self.repository, step, self.keys[node.name]):
                return None
        return self.keys[node.name]

    def _submit(self, node: Node, key: str | None, work: Callable[..., None], *what: object) -> None:
        self.running[node.name] = key
        progress = self.options.progress if isinstance(self.engine, Here) else None
        self.engine.submit(node.name, work, self.repository.path, *what, self.options.device, self.threads, progress)
        self._show()

    def _finish(self, name: str) -> None:
        key = self.running.pop(name)
        node = next(node for node in self.nodes if node.name == name)
        self.worked += node.cost
        if key is not None:
            self.known[key] = tip(self.repository, name)
        self._say(node, "made" if isinstance(node.work, Step) else "measured")

    def _say(self, node: Node, what: str) -> None:
        self.done.add(node.name)
        left = None if what.startswith("already") else self._left()
        rest = f", about {kitchen.duration(left)} left" if left else ""
        self.options.say(f"[{len(self.done)}/{len(self.nodes)}] {node.name}: {what}{rest}")

    def _left(self) -> float | None:
        """Seconds; None before anything was made."""
        rest = sum(node.cost for node in self.nodes if node.name not in self.done)
        seconds = time.monotonic() - self.began
        dishes = self.kitchen.dishes()
        partly = sum(dish.done for dish in dishes if dish.title == "training" and dish.step in self.running)
        worked = self.worked + partly
        return None if worked < SMALL else seconds * max(0.0, rest - partly) / worked

    def _show(self) -> None:
        left = self._left()
        self.kitchen.say(self.recipe.name, len(self.done), len(self.nodes), left)
        dishes = self.kitchen.dishes()
        together = kitchen.Cooking(self.recipe.name, len(self.done), len(self.nodes), left, dishes)
        self.options.board.draw([dish.line() for dish in dishes], together.line())


def _known(repository: Repository) -> dict[str, str]:
    """Key -> commit, of all that recipes made here, also where no branch names it any more."""
    made = {id: make.key_of(repository.commit(id)) for id in ever_named(repository, names.HEADS)}
    return {key: id for id, key in made.items() if key is not None}


def outputs(recipe: Recipe) -> list[tuple[str, int]]:
    """Where everything is: what the recipe calls its branches, and how many there are of each."""
    counts: dict[int, int] = {}
    for step in recipe.steps:
        counts[step.place] = counts.get(step.place, 0) + 1
    return [(recipe.places[place], count) for place, count in sorted(counts.items())]
