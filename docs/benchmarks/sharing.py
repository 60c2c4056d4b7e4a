"""Measure how wvc, git-lfs and DVC share fine-tunes: time and bytes that travel to a remote and back.

    python docs/benchmarks/sharing.py WORKDIR [--size-mb 1200] [--tuned 10] [--tools wvc,git-lfs,dvc]
        [--hubs FOLDER] [--output FILE] [--json FILE]

A base and fine-tunes of it are committed one after another, off the clock, and pushed, on the clock; then the
repository is cloned: its history alone, with one model, with all. wvc does so with a folder and with `wvc serve` on
this machine; git-lfs and DVC with a folder. One tool after another, each with the same files; prints Markdown tables.
Remotes lie in --hubs, which ought to be on another file system than WORKDIR, as what is shared mostly is: within one,
git-lfs gives its files a second name, and nothing travels at all.
DVC is installed in WORKDIR from PyPI; git and git-lfs must be there. 45 GB of disk are enough for the default size.
"""

from __future__ import annotations

import argparse
import dataclasses
import filecmp
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharing_tools import TOOLS, Http, Sharing
from storage_measure import timed, warm

HERE = Path(__file__).parent
CLONES = {"history": "clone, history alone", "one": "clone, one model", "all": "clone, all models"}
BASE, TUNED = "push of the base", "push of one fine-tune"


@dataclass(frozen=True)
class Figure:
    """One thing that was done: seconds until it returned and until all was on the disk, bytes that travelled."""

    tool: str
    row: str
    seconds: float
    settled: float
    travelled: int
    cpu: float
    failure: str | None
    identical: bool | None = None


class Bench:
    """The figures so far."""

    def __init__(self, work: Path, files: list[Path]) -> None:
        self.work, self.files, self.log = work, files, work / "log.txt"
        self.figures: list[Figure] = []

    def measure(self, ways: list[Sharing]) -> None:
        """Push from one store to the remotes of all `ways`, and clone from them."""
        store = ways[0]
        store.begin()
        for way in ways:
            way.drop()
            way.open()
        for number, file in enumerate(self.files):
            store.place(file, "main" if number and store.name == "wvc" else None)
            self._check(timed(store.commit(file, file.stem), store.folder, store.env, self.log).failure)
            if store.name != "wvc":
                store.mark(file.stem)
            for way in ways:
                if number == 0:
                    way.connect()
                self._time(way, TUNED if number else BASE, way.push(), store.folder)
        if store.name != "wvc":
            subprocess.run(["git", "push", "--quiet", "--tags", "origin"], cwd=store.folder, env=store.env, check=True)
        store.end()  # makes room
        for way in ways:
            for kind, row in CLONES.items():
                way.drop()
                self._time(way, row, way.clone(kind), self.work)
            self._compare(way)
            way.drop()
            way.close()

    def _time(self, way: Sharing, row: str, commands: list[list[str]], folder: Path) -> None:
        os.sync()
        warm(way.hub)
        before = way.travelled()
        usage = timed(commands, folder, way.env, self.log)
        self._check(usage.failure)
        travelled = way.travelled() - before
        figure = Figure(way.name, row, usage.seconds, usage.settled, travelled, usage.cpu, usage.failure)
        self.figures.append(figure)
        print(f"{way.name}: {row}, {usage.seconds:.2f} s, {travelled / 1e6:.1f} MB", file=sys.stderr)

    def _compare(self, way: Sharing) -> None:
        """Whether the clone gives every file as it was."""
        same = []
        for file in self.files:
            self._check(timed(way.take(way.branch(file.stem)), self.work, way.env, self.log).failure)
            same.append(filecmp.cmp(way.taken(), file, shallow=False))
            way.taken().unlink()
        self.figures[-1] = dataclasses.replace(self.figures[-1], identical=all(same))

    def _check(self, failure: str | None) -> None:
        if failure:
            sys.exit(f"{failure}; see {self.log}")


def report(figures: list[Figure], facts: Mapping[str, Any]) -> str:
    return "\n".join([*_head(facts), *_table(figures), "", *_goals(figures)]) + "\n"


def _head(facts: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    yield (
        f"{facts['date']}; {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB of memory, "
        f"{facts['system']}, Python {facts['python']}, load {facts['load']} before the start."
    )
    yield f"{versions}."
    yield f"`{facts['command']}`: a base and {facts['tuned']} fine-tunes of {facts['size_mb']:.0f} MB each."
    yield ""


def _table(figures: list[Figure]) -> Iterator[str]:
    yield "| what | tool | seconds | on disk after | CPU s | MB that travelled | every file as it was |"
    yield "|---|---|---:|---:|---:|---:|---|"
    for row in (BASE, TUNED, *CLONES.values()):
        for tool in dict.fromkeys(figure.tool for figure in figures):
            some = [figure for figure in figures if (figure.row, figure.tool) == (row, tool)]
            times = [figure.seconds for figure in some]
            span = f" ({min(times):.2f}-{max(times):.2f})" if len(times) > 1 else ""
            settled, cpu = _median(some, "settled"), _median(some, "cpu")
            same = {True: "yes", False: "**no**", None: ""}[some[-1].identical]
            yield (
                f"| {row} | {tool} | {statistics.median(times):.2f}{span} | {settled:.2f} | {cpu:.1f} "
                f"| {_median(some, 'travelled') / 1e6:.1f} | {same} |"
            )


def _median(figures: list[Figure], what: str) -> float:
    return float(statistics.median(getattr(figure, what) for figure in figures))


def _goals(figures: list[Figure]) -> Iterator[str]:
    """wvc's bytes and seconds as shares of each peer's."""
    tools = list(dict.fromkeys(figure.tool for figure in figures))
    peers = [tool for tool in tools if not tool.startswith("wvc")]
    yield "| share of the peer's | " + " | ".join(f"{peer}: bytes | seconds | on disk" for peer in peers) + " |"
    yield "|---|" + "---:|---:|---:|" * len(peers)
    for ours in (tool for tool in tools if tool.startswith("wvc")):
        for row in (TUNED, *CLONES.values()):
            shares = []
            for peer in peers:
                for what in ("travelled", "seconds", "settled"):
                    pair = [_median([f for f in figures if (f.row, f.tool) == (row, t)], what) for t in (ours, peer)]
                    shares.append(f"{pair[0] / pair[1]:.2f}" if pair[1] else "-")
            yield f"| {row}, {ours} | " + " | ".join(shares) + " |"


def main() -> None:
    options = arguments()
    work = options.workdir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    name = f"tuned-{options.size_mb:g}"
    make = [str(HERE / "storage_inputs.py"), "tuned", str(work / "inputs" / name), f"{options.size_mb:g}"]
    subprocess.run([sys.executable, *make, str(options.tuned)], check=True)
    files = [work / "inputs" / name / "fp32" / f"v{number}.safetensors" for number in range(options.tuned + 1)]
    hubs = options.hubs.resolve() if options.hubs else work / "hubs"
    wvc = Sharing(work, hubs)
    ours: list[Sharing] = [wvc, Http(work, hubs, wvc)]
    groups = [ours if tool == "wvc" else [TOOLS[tool](work, hubs)] for tool in options.tools.split(",")]
    for first, *_ in groups:
        first.install()
    machine = [sys.executable, str(HERE / "storage_machine.py"), str(work)]
    facts = json.loads(subprocess.run(machine, check=True, capture_output=True, text=True).stdout)
    facts["command"] = shlex.join(["sharing.py", "WORKDIR", *(Path(word).name for word in sys.argv[2:])])
    facts |= {"versions": {first.name: first.version() for first, *_ in groups}, "tuned": options.tuned}
    facts["size_mb"] = files[0].stat().st_size / 1e6
    bench = Bench(work, files)
    for group in groups:
        bench.measure(group)
    text = report(bench.figures, facts)
    print(text)
    if options.output:
        options.output.write_text(text)
    if options.json:
        figures = [dataclasses.asdict(figure) for figure in bench.figures]
        options.json.write_text(json.dumps({"facts": facts, "figures": figures}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--size-mb", type=float, default=1200, help="of the model in fp32, in 10^6 bytes")
    parser.add_argument("--tuned", type=int, default=10, help="fine-tunes")
    parser.add_argument("--tools", default="wvc,git-lfs,dvc")
    parser.add_argument("--hubs", type=Path, help="folder for the remotes, by default in WORKDIR")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
