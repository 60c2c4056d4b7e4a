"""Where work is done: in this process, or on several processes of this machine.

A cluster's engine has the same methods. torch is not loaded here, so that a new process can choose its GPU first.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol

from wvc.errors import TrainingProblem, WvcError
from wvc.process import end_with, keep_freed_memory

Work = Callable[..., Any]
Finished = list[tuple[str, Any]]
PATIENCE = 60.0  # seconds that a worker has to save what it learnt


class Engine(Protocol):
    """Takes work and gives back what came of it, in any order."""

    @property
    def free(self) -> int:
        """How many pieces of work it would begin at once."""
        ...

    def submit(self, name: str, work: Work, *arguments: Any) -> None:
        """Begin `work(*arguments)`, a function of a module; there must be a place free."""

    def finished(self, seconds: float) -> Finished:
        """What has come to its end, waiting up to `seconds` for it. Raises what the work raised."""
        ...

    def close(self) -> None:
        """End all of it; trainings save their state first."""


class Here:
    """One piece of work at a time, in this process, when its result is asked for."""

    def __init__(self) -> None:
        self._due: tuple[str, Work, tuple[Any, ...]] | None = None

    @property
    def free(self) -> int:
        return 0 if self._due else 1

    def submit(self, name: str, work: Work, *arguments: Any) -> None:
        self._due = name, work, arguments

    def finished(self, seconds: float) -> Finished:
        if self._due is None:
            return []
        (name, work, arguments), self._due = self._due, None
        return [(name, work(*arguments))]

    def close(self) -> None:
        self._due = None


class Processes:
    """Several pieces of work at a time, each in a process that ends with this one.

    jobs: how many. lock: a file that every worker holds a shared lock on as long as it lives.
    gpus: how many there are; the workers share them in turn.
    """

    def __init__(self, jobs: int, lock: Path, gpus: int = 0) -> None:
        self._jobs, self._lock, self._gpus = jobs, lock, gpus
        self._workers: list[_Worker] = []

    @property
    def free(self) -> int:
        return self._jobs - sum(worker.name is not None for worker in self._workers)

    def submit(self, name: str, work: Work, *arguments: Any) -> None:
        worker = next((worker for worker in self._workers if worker.name is None), None)
        if worker is None:
            i = len(self._workers)
            worker = _Worker(self._lock, str(i % self._gpus) if self._gpus > 1 else None)
            self._workers.append(worker)
        worker.begin(name, work, arguments)

    def finished(self, seconds: float) -> Finished:
        busy = {worker.pipe: worker for worker in self._workers if worker.name is not None}
        if not busy:
            return []
        return [busy[pipe].end() for pipe in connection.wait(list(busy), timeout=seconds) if pipe in busy]

    def close(self) -> None:
        until = time.monotonic() + PATIENCE
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join(until)
        self._workers = []


class _Worker:
    """A process, and the end of a pipe to it. name: of the work that it is at, None while it waits for some."""

    def __init__(self, lock: Path, gpu: str | None) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_serve, args=(theirs, os.getpid(), lock, gpu), daemon=True)
        self.process.start()
        theirs.close()
        self.name: str | None = None

    def begin(self, name: str, work: Work, arguments: tuple[Any, ...]) -> None:
        self.name = name
        self.pipe.send((work, arguments))

    def end(self) -> tuple[str, Any]:
        """Its result. Raises what the work raised, TrainingProblem where the process died."""
        name, self.name = str(self.name), None
        try:
            error, result = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join()
            hint = "perhaps memory ran out: try fewer --jobs; cooking again goes on where it stopped"
            raise TrainingProblem(f"the process that made {name} died", hint) from None
        if error is None:
            return name, result
        kind, message, why = error
        raise kind(message, why)

    def stop(self) -> None:
        """A worker at work is told to end, one that waits sees that nobody is left."""
        if self.name is not None and self.process.is_alive():
            self.process.terminate()
        self.pipe.close()

    def join(self, until: float) -> None:
        self.process.join(max(0.0, until - time.monotonic()))
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class Failed(WvcError):
    """What a worker could not do, as it said it."""


def _serve(pipe: connection.Connection, parent: int, lock: Path, gpu: str | None) -> None:
    """Do what comes through the pipe until nobody is at its other end."""
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process decides what becomes of it
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[int(gpu)] if visible else gpu
    keep_freed_memory()
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        while True:
            try:
                work, arguments = pipe.recv()
            except (EOFError, OSError):
                return
            try:
                answer: object = (None, work(*arguments))
            except WvcError as error:
                answer = ((Failed, error.message, error.hint), None)
            except Exception as error:
                answer = ((Failed, f"internal error: {type(error).__name__}: {error}", None), None)
            try:
                pipe.send(answer)
            except (BrokenPipeError, ConnectionResetError):  # nobody waits for it any more
                return
