"""Time `wvc log -n 20` and its relatives in a repository of 10,000 commits.

    python docs/benchmarks/history.py [--commits 10000] [--tensors 300] [--together] [--keep FOLDER]

One transaction per commit, as real work makes them (a minute or two of fsync), or a hundred --together in one. Every
50th commit is a merge of five branches of three commits each. Every commit changes all its tensors but the head, which
changes with every tenth. Tensors are named in manifests and stored nowhere: no command here reads one.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

from wvc.repo.objects import Commit, Manifest, Parent, Tensor
from wvc.repo.repository import Repository, create
from wvc.store.records import Draft, Move

COMMANDS = (
    "--help",
    "log -n 20",
    "log -n 20 --graph",
    "log -n 20 --all",
    "log --oneline",
    "status",
    "branch",
    "merge-base HEAD HEAD~40",
    "log -n 20 -- head.*",
    "log --oneline -- head.*",
    "log --oneline --graph -- *",
    "blame",
    "du -n 20",
)


def model(number: int, tensors: int) -> Manifest:
    """The model of commit `number`."""
    named = {f"features.{i:04}.weight": number for i in range(tensors - 1)} | {"head.weight": number // 10}
    texts = {name: f"{name} {value}".encode() for name, value in named.items()}
    return Manifest(tuple(Tensor(n, "F32", (64, 64), hashlib.sha256(text).hexdigest()) for n, text in texts.items()))


def commits(count: int, tensors: int) -> Iterator[tuple[Commit, Manifest, str]]:
    """`count` commits, their models, and the branch that each is on: runs of 30, then five branches and their merge."""
    head: Commit | None = None
    made = 0

    def commit(parents: list[Commit], kind: str, branch: str) -> tuple[Commit, Manifest, str]:
        nonlocal made
        manifest = model(made, tensors)
        made += 1
        return _commit(manifest, made - 1, parents, kind), manifest, branch

    while made < count:
        yield (one := commit([head] if head else [], "train", "main"))
        head = one[0]
        if made % 50 != 34:
            continue
        tips = []
        for branch in range(5):
            tip = head
            for _ in range(3):
                yield (one := commit([tip], "train", f"run/{branch}"))
                tip = one[0]
            tips.append(tip)
        yield (one := commit([head, *tips], "merge", "main"))
        head = one[0]


def _commit(manifest: Manifest, number: int, parents: list[Commit], kind: str) -> Commit:
    shares = [
        Parent(p.id, Fraction(0 if i == 0 < len(parents) - 1 else 1, max(1, len(parents) - 1)))
        for i, p in enumerate(parents)
    ]
    generation = 1 + max((p.generation for p in parents), default=0)
    how = {"kind": kind, "task": {"name": "pacs"}}
    return Commit(
        manifest.id,
        manifest.weights,
        tuple(shares),
        "Ada",
        1_700_000_000 + 60 * number,
        generation,
        f"commit {number}",
        how,
    )


def build(path: Path, count: int, tensors: int, *, together: bool) -> Repository:
    """A repository with `count` commits."""
    repository = create(path, Draft("init", "Ada", 1_700_000_000))
    todo = commits(count, tensors)
    while step := list(islice(todo, 100 if together else 1)):
        with repository.batch(objects=(700 + 150 * tensors) * len(step)) as batch:
            for commit, manifest, _ in step:
                batch.put(manifest.data)
                batch.put(commit.data)
            new = {"refs/heads/" + branch: commit.id for commit, _, branch in step}
            moves = [Move(ref, repository.refs.get(ref), id) for ref, id in new.items()]
            repository.record(batch, moves, "benchmark")
    return repository


def measure(folder: Path) -> None:
    """Print the best and the median of seven runs of every command."""
    for command in COMMANDS:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "wvc", "-C", str(folder), *command.split()], check=True, capture_output=True
            )
            times.append(time.perf_counter() - start)
        times.sort()
        print(f"wvc {command:<26} best {times[0]:.3f} s, median {times[3]:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--tensors", type=int, default=300)
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        if not (folder / ".wvc").exists():
            start = time.perf_counter()
            build(folder, options.commits, options.tensors, together=options.together)
            print(f"built in {time.perf_counter() - start:.1f} s")
        measure(folder)


if __name__ == "__main__":
    main()
