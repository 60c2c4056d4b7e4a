"""Killed at a random moment of its work, trainings included: nothing acknowledged is lost, and work goes on.

tests/faults goes through the calls one by one; this is the same by the clock, which needs to know of no calls.
Importing torch takes seconds, so a process that has done so forks a child for every kill. It is this very file, run as
a program, because forking is safest where nothing else has run before; it prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

EVERY = 25  # kills before the repository is made anew, as checking takes longer the more it holds


# The tests


@pytest.fixture
def harness(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Function (kills, seed, *early) that runs this file as a program in memory-backed storage, if there is any."""

    def run(*arguments: object) -> dict[str, Any]:
        shared = Path("/dev/shm")
        place = shared if shared.is_dir() and os.access(shared, os.W_OK) else tmp_path
        with tempfile.TemporaryDirectory(prefix="wvc-kills-", dir=place) as folder:
            env = os.environ | {
                "OMP_NUM_THREADS": "1",
                "TMPDIR": folder,
                "XDG_CONFIG_HOME": folder,
                "XDG_CACHE_HOME": folder,
            }
            command = [sys.executable, __file__, folder, *map(str, arguments)]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(json.dumps(found) + "\n")
        return found

    return run


def test_random_kills_lose_nothing(harness, request):
    kills = 2000 if request.config.getoption("--long") else 200

    found = harness(kills, 0)

    assert found["violations"] == []
    assert found["points"] == kills
    assert found["killed in the middle"] > kills // 3
    assert found["acknowledged"] > 0


def test_the_harness_notices_a_commit_that_is_acknowledged_too_early(harness):
    found = harness(4, 0, "early")

    assert found["violations"]


# The program


@dataclass
class World:
    """A small repository to spoil: `base` stays as it is, `zoo` is copied from it.

    points: how many kills there were. violations: what should not have been.
    """

    folder: Path
    points: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def zoo(self) -> Path:
        return self.folder / "zoo"

    def restore(self) -> None:
        shutil.rmtree(self.zoo, ignore_errors=True)
        shutil.copytree(self.base, self.zoo)

    def blame(self, where: str, what: object) -> None:
        self.violations.append(f"{where}: {what}")


def build_digits(world: World) -> None:
    """A trained foundation on main, `one` and `two` fine-tuned from it, `soup` at the foundation."""
    from wvc.repo.repository import Repository
    from wvc.verbs import branch, init, task
    from wvc.verbs.import_ import Foundation

    init.init(world.base, Foundation("digits_cnn", random=0))
    repository = Repository(world.base)
    task.add(repository, "digits", None, "digits", {"rotations": [0, 15]})
    fine_tune(repository, "main", 0)
    for seed, name in enumerate(("one", "two", "soup"), start=1):
        branch.create(repository, name)
        if name != "soup":
            fine_tune(repository, name, seed)


def fine_tune(repository: Any, branch: str, seed: int) -> str:
    from wvc.verbs import train

    options = train.Options(task="digits", steps=2, batch_size=2, evaluate_every=1, limit=20, seed=seed)
    return str(train.train(repository.on(f"refs/heads/{branch}"), options).commit.id)


# Children


def fork(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Run `work(tell)` in a child; return its process id and the descriptor from which its words can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 3
    try:
        os.close(reading)
        work(lambda text: (os.write(writing, (text + "\n").encode()), None)[1])
        status = 0
    except BaseException:
        os.write(writing, ("crash " + repr(traceback.format_exc()[-1500:]) + "\n").encode())
    os._exit(status)


def heard(child: int, reading: int) -> list[str]:
    """What the child said until it ended."""
    with os.fdopen(reading, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text.splitlines()


@contextlib.contextmanager
def blamed(world: World, where: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        world.blame(where, traceback.format_exc()[-900:])


def check_whole(path: Path, acknowledged: Sequence[str]) -> None:
    """fsck is content, and what was acknowledged can be reached and read."""
    from wvc.repo.fsck import fsck
    from wvc.repo.graph import Graph
    from wvc.repo.repository import Repository

    repository = Repository(path)
    problems = fsck(repository).problems
    assert not problems, problems
    reachable = Graph(repository).ancestors(repository.refs.values())
    for id in acknowledged:
        assert id in reachable, f"acknowledged {id[:12]} is lost"
        for part in repository.manifest(repository.commit(id)).ids():
            repository.read(part)


# Kills at random moments


Random = Callable[[Any, int], str]  # (repository, number that nobody else has) -> id of the commit


def random_operations(world: World) -> list[Random]:
    """Commit weights from elsewhere, merge, fine-tune: on three branches, so that none moves under another."""
    from wvc.repo.export import export
    from wvc.repo.repository import Repository
    from wvc.verbs import merge, terms
    from wvc.verbs.commit import commit_weights

    weights = world.folder / "weights.safetensors"
    origin = Repository(world.base)
    export(origin, origin.manifest(origin.head()), weights)

    def commit(repository: Repository, n: int) -> str:
        data = bytearray(weights.read_bytes())
        data[-4:] = n.to_bytes(4, "little")
        (world.folder / "new.safetensors").write_bytes(data)
        return commit_weights(repository, world.folder / "new.safetensors", "elsewhere").id

    def soup(repository: Repository, n: int) -> str:
        made = merge.merge(repository.on("refs/heads/soup"), ["one", "two"], terms.Options(select="all")).commit
        assert made is not None
        return made.id

    def tune(repository: Repository, n: int) -> str:
        return fine_tune(repository, "one", n)

    return [commit, soup, commit, tune]


def random_kills(world: World, kills: int, seed: int, *, early: bool) -> dict[str, Any]:
    """Kill a child at a random moment of its work, again and again. early: children acknowledge what is not there."""
    operations = random_operations(world)
    world.restore()
    durations = {operation: measured(world, operation) for operation in operations}
    choice = random.Random(seed)
    acknowledged: list[str] = []
    total = middle = 0
    for n in range(kills):
        if n % EVERY == 0:
            world.restore()
            acknowledged = []
        operation = operations[n % len(operations)]
        delay = choice.uniform(0, 1.4 * durations[operation])
        said = kill_after(world, operation, delay, 1000 * n, early=early)
        where = f"kill {n}, {operation.__name__} after {delay * 1000:.1f} of {durations[operation] * 1000:.1f} ms"
        done = [word.split()[1] for word in said if word.startswith("done")]
        middle += not done
        total += len(done)
        acknowledged += done
        for word in said:
            if word.startswith("crash"):
                world.blame(where, word)
        with blamed(world, where):
            check_whole(world.zoo, acknowledged)
            acknowledged += go_on(world)
    return {"acknowledged": total, "killed in the middle": middle}


def kill_after(world: World, operation: Random, delay: float, number: int, *, early: bool) -> list[str]:
    """What a child said that repeated `operation` and was killed `delay` seconds after it began."""
    from wvc.repo.repository import Repository

    def work(tell: Callable[[str], None]) -> None:
        repository = Repository(world.zoo)
        tell("go")
        if early:
            tell("done " + "0" * 64)
        for again in itertools.count(number):
            tell(f"done {operation(repository, again)}")

    child, reading = fork(work)
    os.read(reading, len("go\n"))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    world.points += 1
    return heard(child, reading)


def go_on(world: World) -> list[str]:
    """The next command works, and unfinished trainings are finished; their commits."""
    from wvc.repo.repository import Repository
    from wvc.verbs import branch, runs, train

    repository = Repository(world.zoo)
    branch.create(repository, "next", force=True)
    finished = [train.resume(repository, run.id).commit.id for run in runs.unfinished(repository)]
    assert not runs.unfinished(repository)
    return finished


def measured(world: World, operation: Random) -> float:
    """Seconds that it takes in a child."""
    from wvc.repo.repository import Repository

    def work(tell: Callable[[str], None]) -> None:
        began = time.perf_counter()
        operation(Repository(world.zoo), 10**6)
        tell(str(time.perf_counter() - began))

    return max(float(heard(*fork(work))[-1]) for _ in range(2))


def main(folder: str, kills: str, seed: str, *early: str) -> None:
    import torch

    torch.set_num_threads(1)
    gc.disable()  # or every child would copy the pages that it counts on
    world = World(Path(folder))
    build_digits(world)
    seen = random_kills(world, int(kills), int(seed), early=bool(early))
    sys.stdout.write(json.dumps({"points": world.points, "violations": world.violations[:5], **seen}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
