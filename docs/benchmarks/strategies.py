"""Merge the runs of a repository by every strategy and every selection, and measure what comes out.

    python docs/benchmarks/strategies.py REPOSITORY 'run/*' --task TASK [--from main] [--pair run/0 run/1]

Prints a Markdown table: accuracy on the validation images (ID) and on the domains held out (OOD), and the seconds that
`wvc merge` took, start included. Each merge begins at --from, on a branch of its own, try/NUMBER. --pair: the models of
strategies that take two; by default the first two that the glob matches.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

# Name of the row -> options of `wvc merge`.
ROWS = {
    "linear": ["--strategy", "linear", "--select", "all"],
    "linear, recalibrated": ["--strategy", "linear", "--select", "all", "--recalibrate", "2000"],
    "task-arithmetic, scale 0.3": ["--strategy", "task-arithmetic", "-o", "scale=0.3"],
    "ties": ["--strategy", "ties"],
    "ties, per tensor": ["--strategy", "ties", "-o", "trim=tensor"],
    "ties, scale 1.5": ["--strategy", "ties", "-o", "scale=1.5"],
    "dare": ["--strategy", "dare", "-o", "normalize=true"],
    "della": ["--strategy", "della"],
    "breadcrumbs": ["--strategy", "breadcrumbs", "-o", "normalize=true"],
    "slerp (two)": ["--strategy", "slerp"],
    "multi-slerp": ["--strategy", "multi-slerp"],
    "karcher": ["--strategy", "karcher"],
    "model-stock": ["--strategy", "model-stock"],
    "greedy": ["--strategy", "linear", "--select", "greedy"],
    "greedy, random order": ["--strategy", "linear", "--select", "greedy", "--order", "random"],
    "greedy, with replacement": ["--strategy", "linear", "--select", "greedy-replacement"],
    "greedy by ensemble": ["--strategy", "linear", "--select", "greedy-ensemble"],
    "greedy over ties": ["--strategy", "ties", "--select", "greedy"],
    "learned": ["--select", "learned"],
    "learned, per layer": ["--select", "learned", "--per", "layer"],
}


def wvc(repository: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "wvc", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def accuracies(repository: Path, revision: str) -> tuple[float, float]:
    """ID (validation images) and OOD (domains held out), micro, in percent."""
    scores = json.loads(wvc(repository, "--json", "eval", revision))["scores"]
    found = {score["split"]: 100 * score["micro"] for score in scores}
    return found["val"], found["all"]


def measure(repository: Path, start: str, models: list[str], options: list[str], branch: str) -> list[str]:
    wvc(repository, "switch", "-c", branch, start)
    began = time.perf_counter()
    merged = json.loads(wvc(repository, "--json", "merge", *models, *options, "-m", branch))
    seconds = time.perf_counter() - began
    kept = len({row["commit"] for row in merged["candidates"] if row["accepted"]})
    known, unknown = accuracies(repository, branch)
    return [str(kept), f"{known:.2f}", f"{unknown:.2f}", f"{seconds:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("repository", type=Path)
    parser.add_argument("models")
    parser.add_argument("--from", dest="start", default="main")
    parser.add_argument("--pair", nargs=2)
    parser.add_argument("--task", required=True)
    given = parser.parse_args()
    branches = json.loads(wvc(given.repository, "--json", "branch"))
    prefix = given.models.removesuffix("*")
    names = sorted(name for b in branches if (name := b["ref"].removeprefix("refs/heads/")).startswith(prefix))
    print("| merge | models | ID % | OOD % | seconds |\n|---|---:|---:|---:|---:|", flush=True)
    for name in names:
        known, unknown = accuracies(given.repository, name)
        print(f"| {name} alone | 1 | {known:.2f} | {unknown:.2f} | |", flush=True)
    for number, (row, options) in enumerate(ROWS.items()):
        models = (given.pair or names[:2]) if "(two)" in row else [given.models]
        chosen = [*options, "--task", given.task] if "--select" in options and "all" not in options else options
        cells = measure(given.repository, given.start, models, chosen, f"try/{number}")
        print(f"| {row} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
