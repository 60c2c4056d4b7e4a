"""Cut the power at any moment of some commands: a program, run under calls.c, that prints what it saw.

The commands run once, and what they change is written down. What the disk may then hold is made from that, image by
image, and opened with the real code.
"""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from .calls import Calls, Change, changes, mark
from .checks import Violation, inspect
from .crash import forked
from .damage import unreported
from .images import Files, Tree, content, images, listing, own, replayed, tree
from .mutants import mutated
from .world import OPERATIONS, Operation, State, command, restore, state

WORKLOADS = {
    "init": ["init"],
    "clone": ["clone"],
    "commit": ["commit", "tag"],
    "merge": ["merge", "switch"],
    "import": ["import", "reset"],
    "task": ["task", "branch-delete"],
    "export": ["export", "export-over"],
}


@dataclass(frozen=True)
class Step:
    """One command of a workload, and the state before and after it."""

    operation: Operation
    before: State
    after: State


class Harness:
    """A workload, and the folder in which it runs and in which the images of it are made."""

    def __init__(self, base: Path, folder: Path, name: str) -> None:
        self.base, self.folder = base, folder
        self.operations = [OPERATIONS[each] for each in WORKLOADS[name]]
        self.steps = self._steps()

    def _steps(self) -> list[Step]:
        restore(self.base, self.folder)
        steps = []
        for operation in self.operations:
            before = state(self.folder, operation)
            self._obey(operation)
            steps.append(Step(operation, before, state(self.folder, operation)))
        return steps

    def _obey(self, operation: Operation) -> None:
        answer = command(self.folder, operation.line)
        if answer.code:
            raise RuntimeError(f"{operation.line}: {answer}")

    def disks(self, every: int, pairs: int = 0, mutant: str | None = None) -> Iterator[tuple[int, Files]]:
        """Different disks after a power cut, and how many commands had been acknowledged by then.

        Every `every`-th of them, and all those at the moment of an acknowledgement: what it promised must be there.
        """
        restore(self.base, self.folder)
        start = tree(self.folder)
        calls = Calls()

        def work(_: io.TextIOBase) -> None:
            with mutated(mutant) if mutant else nullcontext():
                calls.record()
                for operation in self.operations:
                    self._obey(operation)
                    mark("done")
                calls.stop()

        forked(work)
        made = own(start, list(changes()))
        self._check_log(start, made)
        seen = set()
        for image in images(made, pairs=pairs):
            files = content(start, made, image)
            done = _marks(made[: image.cut])
            key = (done, _digest(files))
            if key not in seen:
                seen.add(key)
                if len(seen) % every == 0 or made[image.cut - 1].kind == "m":
                    yield done, files

    def _check_log(self, start: Tree, made: Sequence[Change]) -> None:
        """Raises RuntimeError unless all of the changes together make what is there."""
        told, there = replayed(start, made), listing(self.folder)
        odd = sorted(path for path in told.keys() | there.keys() if told.get(path) != there.get(path))
        if odd:
            raise RuntimeError(f"the log does not tell how these came to be: {odd}")

    def check(self, done: int, files: Files) -> str | None:
        """What is wrong with a disk that is left after `done` acknowledgements, or None."""
        last = done == len(self.steps)
        step = self.steps[-1 if last else done]
        materialise(self.folder, files)
        try:
            inspect(self.folder, step.operation, step.before, step.after, done=last)
        except Violation as error:
            return str(error)[:600]
        except Exception:
            return traceback.format_exc()[-600:]
        return None


def materialise(folder: Path, files: Files) -> None:
    """Make `folder` hold just these."""
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, data in files.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)


def _marks(made: Sequence[Change]) -> int:
    return sum(change.kind == "m" for change in made)


def _digest(files: Files) -> bytes:
    hasher = hashlib.sha256()
    for path in sorted(files):
        data = files[path]
        hasher.update(f"{path}\0{-1 if data is None else len(data)}\0".encode() + (data or b""))
    return hasher.digest()


def main(base: str, name: str, every: str, pairs: str, *mutants: str) -> None:
    """BASE WORKLOAD STEP PAIRS, for every STEP-th image; then names of mutants, to see whether they are noticed."""
    gc.freeze()
    began = time.monotonic()
    harness = Harness(Path(base), Path(os.environ["FAULTS_ROOT"]) / "world", name)
    missed = unreported(harness.folder / "zoo", lambda: restore(harness.base, harness.folder))
    violations = [f"fsck does not report {damage}" for damage in missed]
    found: dict[str, object] = {}
    if mutants:
        found["caught"] = {mutant: _first(harness, int(every), mutant) for mutant in mutants}
    else:
        points = 0
        for done, files in harness.disks(int(every), int(pairs)):
            points += 1
            wrong = harness.check(done, files)
            violations += [] if wrong is None else [f"{name}, image {points}: {wrong}"]
        found["points"] = points
    found |= {"violations": violations, "seconds": round(time.monotonic() - began, 1)}
    sys.stdout.write(json.dumps({**found, "cpu": round(sum(os.times()[:4]), 1)}) + "\n")


def _first(harness: Harness, every: int, mutant: str) -> str | None:
    """The first that is noticed in the images of a workload of a mutant."""
    disks = harness.disks(every, mutant=mutant)
    return next((wrong for done, files in disks if (wrong := harness.check(done, files))), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
