"""Time `wvc log -n 20` and its relatives in a repository of 10,000 commits.

    python docs/benchmarks/history.py [--commits 10000] [--together] [--keep FOLDER]

One transaction per commit, as real work makes them (a minute or two of fsync), or all of them --together in one.
Every 50th commit is a merge of five branches of three commits each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
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
)


def commits(manifest: Manifest, count: int) -> Iterator[tuple[Commit, str]]:
    """`count` commits and the branch that each is on: runs of 30, then five branches and their merge."""
    head: Commit | None = None
    made = 0
    while made < count:
        tips = [_commit(manifest, made, [head] if head else [], "train")]
        yield tips[0], "main"
        head, made = tips[0], made + 1
        if made % 50 != 34:
            continue
        tips = []
        for branch in range(5):
            tip = head
            for _ in range(3):
                tip, made = _commit(manifest, made, [tip], "train"), made + 1
                yield tip, f"run/{branch}"
            tips.append(tip)
        head, made = _commit(manifest, made, [head, *tips], "merge"), made + 1
        yield head, "main"


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


def build(path: Path, count: int, *, together: bool) -> Repository:
    """A repository with `count` commits that share one tiny manifest."""
    repository = create(path, Draft("init", "Ada", 1_700_000_000))
    with repository.batch([(2,)], 4096) as batch:
        manifest = Manifest((Tensor("w", "F32", (2,), batch.add("F32", (2,), [bytes(8)])),))
        batch.put(manifest.data)
        repository.record(batch, [], "weights")
    everything = list(commits(manifest, count))
    steps = [everything] if together else [[one] for one in everything]
    for step in steps:
        with repository.batch(objects=700 * len(step)) as batch:
            for commit, _ in step:
                batch.put(commit.data)
            new = {"refs/heads/" + branch: commit.id for commit, branch in step}
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
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        if not (folder / ".wvc").exists():
            start = time.perf_counter()
            build(folder, options.commits, together=options.together)
            print(f"built in {time.perf_counter() - start:.1f} s")
        measure(folder)


if __name__ == "__main__":
    main()
