"""Unfinished trainings on disk: the plan of each, and the state to go on from."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wvc.errors import TrainingProblem, WvcWarning
from wvc.learning.state import State
from wvc.repo.repository import Repository
from wvc.store.canonical import digest, dumps, loads
from wvc.store.durable import disk, replace, sync_folder

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One folder below .wvc/runs; its name is the hash of the plan, so the same plan is the same run."""

    folder: Path
    plan: Plan

    @property
    def id(self) -> str:
        return self.folder.name

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else may go on with this run meanwhile. Raises TrainingProblem if somebody does."""
        try:
            fd = os.open(self.folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise TrainingProblem(f"run {self.id} was finished by another process", "look at `wvc log`") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise TrainingProblem(f"run {self.id} is going on in another process", "wait for it") from None
        finally:
            os.close(fd)

    def save(self, state: State) -> None:
        """Replace the state on disk, whole or not at all."""
        temporary = self.folder / f"state.{secrets.token_hex(4)}"
        try:
            with disk(self.folder):
                save_file(state.tensors(), temporary, {"facts": json.dumps(state.facts())})
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                temporary.replace(self.folder / "state.safetensors")
                sync_folder(self.folder)
        except SafetensorError as error:
            raise TrainingProblem(f"the state could not be saved: {error}", "free some space, then --resume") from None
        finally:
            temporary.unlink(missing_ok=True)

    def state(self) -> State | None:
        """The state saved last; None if there is none yet, or if it was damaged."""
        path = self.folder / "state.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads(file.metadata()["facts"])
                return State.read({name: file.get_tensor(name) for name in file.keys()}, facts)  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError, TypeError):
            warnings.warn(f"the state of run {self.id} is damaged: it begins anew", WvcWarning, stacklevel=2)
            return None

    def remove(self) -> None:
        """The run is over."""
        shutil.rmtree(self.folder, ignore_errors=True)


def begin(repository: Repository, plan: Plan) -> Run:
    """The run of `plan`, as new or as it was left."""
    data = dumps(plan)
    folder = repository.folder / "runs" / digest(data)[:12]
    with disk(folder):
        folder.mkdir(exist_ok=True)
        if not (folder / "plan.json").exists():
            replace(folder / "plan.json", data, repository.folder / "tmp")
    return Run(folder, plan)


def unfinished(repository: Repository) -> list[Run]:
    """All runs with a plan that can be read, oldest first."""
    found = []
    for folder in (repository.folder / "runs").glob("*/plan.json"):
        with contextlib.suppress(ValueError, OSError):
            found.append((folder.stat().st_mtime, Run(folder.parent, loads(folder.read_bytes()))))
    return [run for _, run in sorted(found, key=lambda pair: (pair[0], pair[1].id))]


def choose(repository: Repository, name: str | None) -> Run:
    """The unfinished run whose id begins with `name`, or the only one. Raises TrainingProblem with the list."""
    runs = [run for run in unfinished(repository) if run.id.startswith(name or "")]
    if len(runs) == 1:
        return runs[0]
    if not runs:
        raise TrainingProblem("there is no unfinished run" + (f" {name!r}" if name else ""), "`wvc status` lists them")
    listed = "; ".join(f"{run.id} ({describe(run)})" for run in runs)
    raise TrainingProblem(f"{len(runs)} runs are unfinished", f"name one: wvc commit --resume ID, of {listed}")


def describe(run: Run) -> str:
    """One line for a list."""
    how = run.plan["how"]
    branch = str(run.plan["branch"]).removeprefix("refs/heads/")
    return f"{branch}: {how['task']['name']}, {how['settings']['steps']} steps"
