"""What a cook that is going on says of itself, in files that any process of this machine may read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wvc.errors import RecipeProblem
from wvc.repo.repository import Repository

EVERY = 0.5  # seconds between two looks at a piece of work
GLANCE = 0.3
PATIENCE = 90.0  # seconds to wait for the workers of a cook that was killed
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Dish:
    """A step that is being made.

    title, done, total, unit, note: as a Progress knows them. seconds: since this piece of work began.
    memory: resident bytes of its process.
    """

    step: str
    title: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    note: str = ""
    seconds: float = 0.0
    memory: int = 0

    def line(self) -> str:
        """In one line of plain text."""
        amount = f" {self.done}/{self.total} {self.unit}" if self.total else ""
        speed = f", {self.done / self.seconds:.1f}/s" if self.done and self.seconds > 1 else ""
        note = f", {self.note}" if self.note else ""
        return f"{self.step}: {self.title or 'starting'}{amount}{speed}{note}, {self.memory / 1e6:.0f} MB"


@dataclass(frozen=True)
class Cooking:
    """A cook that is going on. done, total: steps. left: seconds that are left, None where that cannot be told yet."""

    recipe: str
    done: int
    total: int
    left: float | None
    dishes: tuple[Dish, ...]

    def line(self) -> str:
        """How far it is, in one line of plain text."""
        left = "" if self.left is None else f", about {duration(self.left)} left"
        return f"cooking {self.recipe}: {self.done} of {self.total} steps{left}"


class Kitchen:
    """The folder runs/cook of a repository while one process cooks in it."""

    def __init__(self, repository: Repository) -> None:
        self.folder = folder_of(repository)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One cook at a time, and none of the workers of the one before. Raises RecipeProblem."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("a") as lock, (self.folder / "workers").open("a") as workers:
            if not _taken(lock.fileno(), GLANCE):  # who only looks holds it for a moment
                raise RecipeProblem("another cook is going on in this repository", "see `wvc status`")
            if not _taken(workers.fileno(), PATIENCE):
                why = "processes of a cook that was killed are still at work"
                raise RecipeProblem(why, "wait for them, or end them")
            fcntl.flock(workers, fcntl.LOCK_UN)
            for old in self.folder.glob("*.json"):
                old.unlink()
            yield

    @property
    def workers(self) -> Path:
        """The file that every worker holds a shared lock on."""
        return self.folder / "workers"

    def say(self, recipe: str, done: int, total: int, left: float | None) -> None:
        """How far all of it is."""
        _replace(self.folder / "cook.json", {"recipe": recipe, "done": done, "total": total, "left": left})

    def dishes(self) -> tuple[Dish, ...]:
        """What is being made."""
        return _dishes(self.folder)


class Report:
    """A Progress that leaves a step's state in the folder of the kitchen."""

    def __init__(self, folder: Path, step: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._step, self._clock = folder / f"step-{os.getpid()}.json", step, clock
        self._written = self._began = clock()
        self.start("", 0)

    def start(self, title: str, total: int, unit: str = "") -> None:
        self._title, self._total, self._unit, self._done, self._note = title, total, unit, 0, ""
        self._began = self._clock()
        self._write()

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        self._note = note or self._note
        if self._clock() - self._written >= EVERY:
            self._write()

    def stop(self) -> None:
        """A piece of work is over; the step may go on with another."""

    def end(self) -> None:
        """The step is over."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        self._written = self._clock()
        seconds = round(self._written - self._began, 3)
        dish = Dish(self._step, self._title, self._done, self._total, self._unit, self._note, seconds, _resident())
        with contextlib.suppress(OSError):  # to tell how far it is must not stop it
            _replace(self._path, asdict(dish))


def look(repository: Repository) -> Cooking | None:
    """The cook that is going on in the repository; None where there is none."""
    folder = folder_of(repository)
    try:
        with (folder / "lock").open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        facts = _read(folder / "cook.json")
    except OSError:
        return None
    try:
        return Cooking(facts["recipe"], facts["done"], facts["total"], facts["left"], _dishes(folder))
    except (KeyError, TypeError):
        return Cooking("?", 0, 0, None, ())  # it has only just begun


def folder_of(repository: Repository) -> Path:
    return repository.folder / "runs" / "cook"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _dishes(folder: Path) -> tuple[Dish, ...]:
    found = []
    for path in sorted(folder.glob("step-*.json")):
        with contextlib.suppress(TypeError):
            found.append(Dish(**_read(path)))
    return tuple(sorted(found, key=lambda dish: dish.step))


def _taken(fd: int, patience: float) -> bool:
    """True once this process alone holds the lock; False where that takes longer than `patience` seconds."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)


def _resident() -> int:
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _read(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _replace(path: Path, facts: Mapping[str, Any]) -> None:
    """No reader must see half of it; nothing depends on it after a crash, so it is not synced."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(facts), encoding="utf-8")
    beside.replace(path)
