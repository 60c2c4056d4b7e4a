"""Interrupt a command at its every call that changes a file: a program, run under calls.c, that prints what it saw.

Importing takes seconds, so the program does it once and forks for every kill. An error from the operating system kills
nobody, and many of them are met in one process. It must have one thread when it forks.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import io
import json
import os
import shlex
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wvc.main import run

from . import calls as faults
from .calls import Calls
from .checks import Violation, check_answer, inspect
from .damage import unreported
from .mutants import mutated
from .world import OPERATIONS, Answer, Operation, State, build, command, restore, state

KILLS = {"kill-before": faults.KILL_BEFORE, "kill-after": faults.KILL_AFTER, "torn": faults.TEAR}
ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
MODES = (*KILLS, *(f"{name}{kind}" for name in ERRORS for kind in ("", "-sticky")), "EIO-after")
PER_CHILD = 50  # errors that one process meets


@dataclass
class Seen:
    """points: faults by mode. ends: how the commands ended. violations: what should not have been."""

    points: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Mapping[str, Any]) -> None:
        """What another process saw."""
        self.points.update(other["points"])
        self.ends.update(other["ends"])
        self.violations += other["violations"]


class Harness:
    """One operation, and the world in which it is interrupted."""

    def __init__(self, base: Path, folder: Path, name: str) -> None:
        self.base, self.folder, self.name = base, folder, name
        self.operation: Operation = OPERATIONS[name]
        self.calls = Calls()
        self.seen = Seen()
        self.before, self.after, self.number, self.writes = self._measured()

    def _measured(self) -> tuple[State, State, int, int]:
        """The state before and after, and how many calls and writes there are in between."""
        for _ in range(2):  # the first time, much is imported and made on the way
            restore(self.base, self.folder)
            before = state(self.folder, self.operation)
            self.calls.count()
            answer = command(self.folder, self.operation.line)
            number = self.calls.stop()
            if answer.code:
                raise RuntimeError(f"{self.name}: {answer}")
        return before, state(self.folder, self.operation), number, self.calls.writes

    def check_fsck(self) -> None:
        """What fsck overlooks would be overlooked after every fault."""
        found = unreported(self.folder / "zoo", lambda: restore(self.base, self.folder))
        self.seen.violations += [f"fsck does not report {name}" for name in found]

    def points(self, mode: str, step: int, first: int) -> range:
        """Every step-th call, or write."""
        return range(1 + first % step, (self.writes if mode == "torn" else self.number) + 1, step)

    def kill(self, mode: str, at: int) -> None:
        """Kill a child at one call and look at what it leaves."""
        restore(self.base, self.folder)

        def work(tell: io.TextIOBase) -> None:
            self.calls.arm(KILLS[mode], at)
            with contextlib.redirect_stdout(tell), contextlib.redirect_stderr(io.StringIO()):
                os.chdir(self.folder)
                run(shlex.split(self.operation.line))

        said = forked(work)
        self.calls.stop()
        self.seen.ends["acknowledged" if said else "killed"] += 1
        self._judge(mode, at, Answer(0, said, ""))

    def fail(self, mode: str, at: int) -> None:
        """Let one call fail, or all from there on, and look at what the command says and leaves."""
        restore(self.base, self.folder)
        name, _, kind = mode.partition("-")
        action = faults.LOSE if kind == "after" else faults.FAIL
        self.calls.arm(action, at, error=ERRORS[name], sticky=kind == "sticky")
        answer = command(self.folder, self.operation.line)
        self.calls.stop()
        self.seen.ends["error" if answer.code else "acknowledged"] += 1
        self._judge(mode, at, answer)

    def _judge(self, mode: str, at: int, answer: Answer) -> None:
        self.seen.points[mode] += 1
        try:
            if self.calls.synced_again:
                raise Violation("fsync was tried again on a file after it had failed")
            if answer.code:
                check_answer(answer, self.before, state(self.folder, self.operation))
            inspect(self.folder, self.operation, self.before, self.after, done=bool(answer.out) and not answer.code)
        except Exception as error:
            what = str(error)[:600] if isinstance(error, Violation) else traceback.format_exc()[-600:]
            self.seen.violations.append(f"{self.name}, {mode} at {at} of {self.number}: {what}")

    def fail_many(self, mode: str, points: Sequence[int]) -> None:
        """The same at several calls, in a child."""

        def work(tell: io.TextIOBase) -> None:
            self.seen = Seen()
            for at in points:
                self.fail(mode, at)
            tell.write(json.dumps(vars(self.seen)))

        self.seen.add(json.loads(forked(work)))

    def every(self, modes: Sequence[str], step: int, *, stop: bool = False) -> None:
        """Every mode at every step-th call; other calls for each mode. stop: when something was noticed."""
        for first, mode in enumerate(modes):
            points = self.points(mode, step, first)
            if mode in KILLS:
                for at in points:
                    if not (stop and self.seen.violations):
                        self.kill(mode, at)
            else:
                for begin in range(0, len(points), PER_CHILD):
                    if not (stop and self.seen.violations):
                        self.fail_many(mode, points[begin : begin + PER_CHILD])


def forked(work: Callable[[io.TextIOBase], None]) -> str:
    """What `work` wrote in a child until it ended or was killed."""
    alone()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as tell:
                work(tell)
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a child failed")
    return said


def alone() -> None:
    """Raises RuntimeError unless this process has one thread; one that was joined may take a moment to go."""
    for _ in range(1000):
        if len(list(Path("/proc/self/task").iterdir())) == 1:
            return
        time.sleep(0.001)
    raise RuntimeError("this process has threads: a child would not have them, but their locks")


def caught(harness: Harness, mutants: Sequence[str], step: int) -> Iterator[tuple[str, list[str]]]:
    """For each way to be wrong, the first that was noticed."""
    for name in mutants:

        def work(tell: io.TextIOBase, name: str = name) -> None:
            with mutated(name):
                if name.startswith("fsck"):
                    harness.check_fsck()
                else:
                    harness.every(("EIO", *KILLS), step, stop=True)
            tell.write(json.dumps(harness.seen.violations[:2]))

        yield name, json.loads(forked(work))


def main(what: str, base: str, *arguments: str) -> None:
    """build BASE; crash BASE OPERATION STEP; mutants BASE OPERATION STEP MUTANT..."""
    gc.freeze()
    began = time.monotonic()
    if what == "build":
        build(Path(base))
        sys.stdout.write("{}\n")
        return
    name, step = arguments[0], int(arguments[1])
    harness = Harness(Path(base), Path(os.environ["FAULTS_ROOT"]) / "world", name)
    found: dict[str, object]
    if what == "mutants":
        found = {"caught": dict(caught(harness, arguments[2:], step))}
    else:
        harness.check_fsck()
        harness.every(MODES, step)
        seen = harness.seen
        found = {"points": sum(seen.points.values()), "violations": seen.violations, "ends": seen.ends}
        found |= {"modes": seen.points, "calls": harness.number, "writes": harness.writes}
    cpu = sum(os.times()[:4])
    sys.stdout.write(json.dumps({**found, "seconds": round(time.monotonic() - began, 1), "cpu": round(cpu, 1)}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
