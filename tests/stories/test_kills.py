"""Killed, or out of disk, at any moment: the old state or the new one, nothing acknowledged lost, and work goes on.

Importing torch takes seconds, so a process that has done so forks a child for every kill. It is this very file, run as
a program, because forking is safest where nothing else has run before; it prints what it saw as JSON.
"""

from __future__ import annotations

import contextlib
import errno
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

EVERY = 25  # kills before the repository is made anew, as checking takes longer the more it holds
FILES = ("pwrite", "write", "fsync", "fchmod", "ftruncate", "link", "unlink", "rename", "replace", "mkdir", "rmdir")
FREES = ("unlink", "rmdir", "fchmod", "rename", "replace")  # work on a full disk


# The tests


@pytest.fixture
def harness(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Function (what, *arguments) that runs this file as a program in memory-backed storage, if there is any."""

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

    found = harness("random", kills, 0)

    assert found["violations"] == []
    assert found["points"] == kills
    assert found["killed in the middle"] > kills // 3
    assert found["acknowledged"] > 0


@pytest.fixture
def steps(request: pytest.FixtureRequest) -> list[str]:
    """The operations, and of how many calls one is tried: of each, but for the long ones in the short form."""
    long = request.config.getoption("--long")
    return [f"{name}:{4 if name in ('clone', 'init') and not long else 1}" for name in OPERATIONS]


def test_a_kill_at_every_call_that_changes_something_leaves_the_old_state_or_the_new(harness, steps):
    found = harness("kill", *steps)

    assert found["violations"] == []
    assert found["points"] > 100
    assert found["seen"] == {}  # nobody lived to say a word


def test_a_disk_that_fills_up_at_any_call_is_one_clear_error(harness, steps):
    found = harness("full", *steps)

    assert found["violations"] == []
    assert found["seen"]["error"] > 100


@pytest.mark.parametrize("mutant", ["log-first", "in-place"])
def test_the_harness_notices_a_store_that_writes_in_the_wrong_order(harness, mutant):
    found = harness(mutant, "commit:1")

    assert found["violations"]


def test_the_harness_notices_a_commit_that_is_acknowledged_too_early(harness):
    found = harness("random", 4, 0, "early")

    assert found["violations"]


# The program


@dataclass
class World:
    """A small repository to spoil: `base` stays as it is, `zoo` is copied from it.

    points: how many faults there were. violations: what should not have been. seen: what the children said, by kind.
    """

    folder: Path
    points: int = 0
    violations: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    @property
    def base(self) -> Path:
        return self.folder / "base"

    @property
    def zoo(self) -> Path:
        return self.folder / "zoo"

    def restore(self) -> None:
        for name in ("zoo", "copy", "new"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.base, self.zoo)

    def blame(self, where: str, what: object) -> None:
        self.violations.append(f"{where}: {what}")


def save(path: Path, seed: int) -> Path:
    """Three tensors of a few bytes, a function of the seed."""
    import numpy as np
    from safetensors.numpy import save_file

    numbers = np.random.default_rng(seed)
    tensors = {name: numbers.normal(size=5).astype(np.float32) for name in ("a.weight", "a.bias", "b")}
    save_file(tensors, path)
    return path


def build_plain(world: World) -> None:
    """main with two commits, and two branches beside it, of plain tensors; a task."""
    from wvc.repo.repository import Repository
    from wvc.verbs import branch, commit, init, task
    from wvc.verbs.import_ import Foundation

    init.init(world.base, Foundation(weights=save(world.folder / "0.safetensors", 0)))
    repository = Repository(world.base)
    for seed, name in enumerate(("left", "right"), start=1):
        branch.create(repository, name)
        commit.commit_weights(repository.on(f"refs/heads/{name}"), save(world.folder / "x.safetensors", seed), name)
    commit.commit_weights(repository, save(world.folder / "x.safetensors", 3), "main")
    task.add(repository, "known", None, "digits", {"rotations": [0, 15]})


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


# Operations: each returns the id of the commit that it acknowledges, if it makes one


def op_commit(world: World, seed: int = 77) -> str:
    from wvc.repo.repository import Repository
    from wvc.verbs.commit import commit_weights

    return commit_weights(Repository(world.zoo), save(world.folder / "new.safetensors", seed), "new").id


def op_merge(world: World) -> str | None:
    from wvc.repo.repository import Repository
    from wvc.verbs import judge, merge

    commit = merge.merge(Repository(world.zoo), ["left", "right"], judge.Options(select="all")).commit
    return commit and commit.id


def op_branch(world: World) -> None:
    from wvc.repo.repository import Repository
    from wvc.verbs import branch

    branch.create(Repository(world.zoo), "fresh", force=True)


def op_task(world: World) -> None:
    from wvc.repo.repository import Repository
    from wvc.verbs import task

    task.add(Repository(world.zoo), "digits", None, "digits", {"rotations": [0, 30]})


def op_clone(world: World) -> None:
    from wvc.verbs.clone import clone

    clone(world.zoo, world.folder / "copy")


def op_init(world: World) -> None:
    from wvc.verbs import init
    from wvc.verbs.import_ import Foundation

    init.init(world.folder / "new", Foundation(weights=world.folder / "0.safetensors"))


OPERATIONS: dict[str, Callable[[World], str | None]] = {
    "commit": op_commit, "merge": op_merge, "branch": op_branch, "task": op_task, "clone": op_clone, "init": op_init,
}  # fmt: skip


# Faults


def arm(k: int, fault: str) -> Callable[[], int]:
    """From the k-th mutating call on, counted from 1: die there, half-way through a write; or the disk is full.

    Returns how many there have been. k = 0 only counts.
    """
    calls = itertools.count(1)
    count = [0]

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **options)
            count[0] = n = next(calls)
            if fault == "kill" and n == k:
                if name in ("pwrite", "write"):
                    data = memoryview(args[1]).cast("B")
                    real(args[0], data[: len(data) // 2], *args[2:])
                os._exit(9)
            if fault == "full" and 0 < k <= n and name not in FREES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        return call

    for name in (*FILES, "open"):
        setattr(os, name, wrap(name, getattr(os, name)))
    return lambda: count[0]


def fork(work: Callable[[Callable[[str], None]], None]) -> tuple[int, int]:
    """Run `work(tell)` in a child; return its process id and the descriptor from which its words can be read."""
    reading, writing = os.pipe()
    say = os.write  # as it was before anything was armed
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    status = 3
    try:
        os.close(reading)
        work(lambda text: (say(writing, (text + "\n").encode()), None)[1])
        status = 0
    except BaseException:
        say(writing, ("crash " + repr(traceback.format_exc()[-1500:]) + "\n").encode())
    os._exit(status)


def heard(child: int, reading: int) -> list[str]:
    """What the child said until it ended."""
    with os.fdopen(reading, "rb") as file:
        text = file.read().decode()
    os.waitpid(child, 0)
    return text.splitlines()


def count_calls(world: World, operation: Callable[[World], str | None]) -> int:
    world.restore()

    def work(tell: Callable[[str], None]) -> None:
        calls = arm(0, "kill")
        operation(world)
        tell(str(calls()))

    return int(heard(*fork(work))[-1])


def attempt(world: World, operation: Callable[[World], str | None], k: int, fault: str) -> list[str]:
    from wvc.errors import WvcError

    def work(tell: Callable[[str], None]) -> None:
        arm(k, fault)
        try:
            tell(f"done {operation(world)}")
        except WvcError as error:
            tell(f"error {type(error).__name__} {error.message}")

    return heard(*fork(work))


def every_call(world: World, name: str, fault: str, step: int) -> None:
    """The fault at each mutating call of one operation in turn, or at every step-th."""
    operation = OPERATIONS[name]
    last = count_calls(world, operation)
    for k in range(1, last + 1, step):
        world.restore()
        before = refs_of(world.zoo)
        words = attempt(world, operation, k, fault)
        world.points += 1
        where = f"{name}, {fault} at call {k} of {last}"
        for word in words:
            world.seen[word.split()[0]] += 1
            if word.startswith("crash"):
                world.blame(where, word)
        if fault == "full" and not words:
            world.blame(where, "no word of it")
        acknowledged = [word.split()[1] for word in words if word.startswith("done")]
        with blamed(world, where):
            check_after(world, name, before, acknowledged)


@contextlib.contextmanager
def blamed(world: World, where: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        world.blame(where, traceback.format_exc()[-900:])


def check_after(world: World, name: str, before: dict[str, str], acknowledged: Sequence[str]) -> None:
    """What must hold after a fault during operation `name`."""
    place = {"clone": world.folder / "copy", "init": world.folder / "new"}.get(name, world.zoo)
    if (place / ".wvc").exists():
        check_whole(place, [id for id in acknowledged if id != "None"])
    elif acknowledged:
        raise AssertionError("acknowledged, but not there")
    after = refs_of(world.zoo)
    moved = {ref for ref in before.keys() | after.keys() if before.get(ref) != after.get(ref)}
    assert len(moved) <= 1, f"more than one ref moved: {moved}"
    for ref in moved & before.keys():
        assert before[ref] in parents_of(world.zoo, after[ref]), f"{ref} lost what it named"
    leftovers = [path for path in (world.folder / "zoo" / ".wvc" / "tmp").iterdir() if path.stat().st_size]
    assert not leftovers, f"not swept: {leftovers}"
    if not (name in ("clone", "init") and (place / ".wvc").exists()):  # there already: to be refused
        OPERATIONS[name](world)  # the next command works
    check_whole(place, [])


def refs_of(path: Path) -> dict[str, str]:
    from wvc.repo.repository import Repository

    return dict(Repository(path).refs)


def parents_of(path: Path, id: str) -> list[str]:
    from wvc.repo.repository import Repository

    return [parent.commit for parent in Repository(path).commit(id).parents]


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
    from wvc.repo import files
    from wvc.repo.repository import Repository
    from wvc.verbs import judge, merge
    from wvc.verbs.commit import commit_weights

    weights = world.folder / "weights.safetensors"
    origin = Repository(world.base)
    files.export(origin, origin.manifest(origin.head()), weights)

    def commit(repository: Repository, n: int) -> str:
        data = bytearray(weights.read_bytes())
        data[-4:] = n.to_bytes(4, "little")
        (world.folder / "new.safetensors").write_bytes(data)
        return commit_weights(repository, world.folder / "new.safetensors", "elsewhere").id

    def soup(repository: Repository, n: int) -> str:
        made = merge.merge(repository.on("refs/heads/soup"), ["one", "two"], judge.Options(select="all")).commit
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


# Mutants


def mutate(name: str) -> None:
    """Make the store wrong in one way."""
    from wvc.store.durable import Draft, sync_folder

    publish = Draft.publish
    waiting: list[tuple[Draft, Path]] = []

    def log_first(self: Draft, target: Path) -> None:
        if target.suffix == ".safetensors":
            waiting.append((self, target))
            return
        publish(self, target)
        while waiting:
            publish(*waiting.pop())

    def in_place(self: Draft, target: Path) -> None:
        data = self.path.read_bytes()
        fd = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(fd, data)
        os.close(fd)
        sync_folder(target.parent)

    Draft.publish = {"log-first": log_first, "in-place": in_place}[name]  # type: ignore[method-assign]


def main(folder: str, what: str, *arguments: str) -> None:
    import torch

    torch.set_num_threads(1)
    gc.disable()  # or every child would copy the pages that it counts on
    world = World(Path(folder))
    extra: dict[str, Any] = {}
    if what == "random":
        build_digits(world)
        extra = random_kills(world, int(arguments[0]), int(arguments[1]), early="early" in arguments)
    else:
        build_plain(world)
        if what not in ("kill", "full"):
            mutate(what)
        for argument in arguments:
            name, step = argument.split(":")
            every_call(world, name, "full" if what == "full" else "kill", int(step))
    sys.stdout.write(
        json.dumps({"points": world.points, "violations": world.violations[:5], "seen": world.seen, **extra}) + "\n"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
