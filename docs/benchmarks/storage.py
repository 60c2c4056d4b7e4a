"""Measure how wvc and others store fine-tuned weights: time, memory, bytes, and whether the file comes back.

    python docs/benchmarks/storage.py WORKDIR [--peers git-lfs,dvc,git-theta,xet] [--runs 3] [--size-mb 1200]
        [--series-mb 300] [--only fp32,bf16,real] [--real BASE TUNED...] [--cold] [--output FILE] [--json FILE]

Prints Markdown tables. Step by step, every tool takes its turn, in an order that changes from run to run, so that
whatever else the machine does hits them all. Peers are installed in WORKDIR from PyPI; git and git-lfs must be there.
A second call with the same WORKDIR installs and makes nothing twice; `--prepare` does only that, and `--tables` only
prints again what the JSON file holds. The default sizes need 45 GB of disk.
"""

from __future__ import annotations

import argparse
import dataclasses
import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from storage_measure import Usage, cold, size, timed, warm
from storage_plan import Step, Workload, real, series, synthetic
from storage_tables import Figure, report
from storage_tools import TOOLS, Missing, Tool

HERE = Path(__file__).parent
PEERS = "git-lfs,dvc,git-theta,xet"
DTYPES = ("fp32", "bf16")


class Bench:
    """The tools of one call, and the figures so far.

    absent: why a tool cannot be measured at all.
    out: why it can no longer be measured in this run of this workload.
    """

    def __init__(self, work: Path, peers: list[str], *, cold: bool) -> None:
        self.work, self.cold, self.log = work, cold, work / "log.txt"
        self.tools = [TOOLS[name](work) for name in ("wvc", *peers)]
        self.figures: list[Figure] = []
        self.absent: dict[str, str] = {}
        self.out: dict[str, str] = {}

    def install(self) -> dict[str, str]:
        """Have every tool ready, or know why it is not; their versions."""
        versions = {}
        for tool in self.tools:
            try:
                tool.install()
                versions[tool.name] = tool.version()
            except Missing as error:
                self.absent[tool.name] = str(error)
        return versions

    def measure(self, workload: Workload, run: int) -> None:
        """Take every tool through all steps, one step of each at a time; leave no store behind."""
        tools = [tool for tool in self.tools if tool.patient or not workload.long]
        need, free = workload.room(len(tools)), shutil.disk_usage(self.work).free
        if need > free:
            sys.exit(f"{workload.name}, {workload.dtype}: needs {need / 1e9:.1f} GB of disk, {free / 1e9:.1f} are free")
        self.out = dict(self.absent)
        for tool in tools:
            if tool.name not in self.absent:
                tool.begin()
        for step in workload.steps:
            for tool in tools[run % len(tools) :] + tools[: run % len(tools)]:
                self._step(workload, step, run, tool)
        if workload.floor:
            self._floor(workload, run)
        for tool in tools:
            tool.end()

    def _step(self, workload: Workload, step: Step, run: int, tool: Tool) -> None:
        figure = _figure(workload, step, run, tool.name)
        if tool.name in self.out:
            self.figures.append(dataclasses.replace(figure, failure=self.out[tool.name]))
            return
        before = size(*tool.stores())
        if step.export:
            tool.clear()
            commands = tool.export(step.label)
        else:
            tool.place(step.original, step.parent)
            commands = tool.commit(step.original, step.label)
        self._settle(tool.folder, step.original)
        usage = timed(commands, tool.folder, tool.env, self.log)
        grown = 0 if step.export else size(*tool.stores()) - before
        figure = _with(figure, usage, grown, alone=tool.alone)
        if usage.failure:
            if "not stored" not in usage.failure:
                self.out[tool.name] = usage.failure
        elif step.export:
            figure = dataclasses.replace(figure, identical=self._same(tool, step))
        else:
            tool.mark(step.label)
            if run == 0:
                figure = self._returned(figure, tool, step)
        self.figures.append(figure)
        print(f"{workload.dtype} run {run + 1}: {step.row}, {tool.name}: {usage.seconds:.2f} s", file=sys.stderr)

    def _settle(self, *paths: Path) -> None:
        """Nothing left to be written, and the files in memory, or none of them."""
        os.sync()
        if self.cold:
            cold()
        else:
            warm(*paths)

    def _returned(self, figure: Figure, tool: Tool, step: Step) -> Figure:
        """With whether what was just committed comes back, off the clock."""
        tool.clear()
        usage = timed(tool.export(step.label), tool.folder, tool.env, self.log)
        same = not usage.failure and self._same(tool, step)
        return dataclasses.replace(figure, identical=same, why=usage.failure)

    def _same(self, tool: Tool, step: Step) -> bool:
        same = tool.result.exists() and filecmp.cmp(tool.result, step.original, shallow=False)
        tool.clear()
        return same

    def _floor(self, workload: Workload, run: int) -> None:
        """What it takes to copy the exported file and to hash it, with the programs that everybody has."""
        step, copy = workload.steps[-1], self.work / "copy.safetensors"
        for command in (["cp", str(step.original), str(copy)], ["sha256sum", str(step.original)]):
            self._settle(step.original)
            usage = timed([command], self.work, os.environ, self.log)
            figure = dataclasses.replace(_figure(workload, step, run, "floor"), row=command[0])
            self.figures.append(_with(figure, usage, 0, alone=True))
        copy.unlink()


def _figure(workload: Workload, step: Step, run: int, tool: str) -> Figure:
    raw = step.original.stat().st_size
    return Figure(workload.name, workload.dtype, step.row, step.label, run, tool, raw)


def _with(figure: Figure, usage: Usage, stored: int, *, alone: bool) -> Figure:
    values = dataclasses.asdict(usage)
    return dataclasses.replace(figure, **values | {"stored": stored, "private": usage.private if alone else None})


def workloads(work: Path, options: argparse.Namespace) -> Iterator[Workload]:
    """What shall be measured; makes its files."""
    dtypes = [dtype for dtype in DTYPES if dtype in options.only]
    if dtypes:
        folder = _made(work, "synthetic", f"synthetic-{options.size_mb:g}", f"{options.size_mb:g}")
        yield from (synthetic(folder, dtype) for dtype in dtypes)
    if dtypes and options.series_mb:
        folder = _made(work, "series", f"series-{options.series_mb:g}", f"{options.series_mb:g}")
        yield from (series(folder, dtype) for dtype in dtypes)
    for paths in options.real if "real" in options.only else []:
        folder = _made(work, "real", f"real/{paths[0].stem}", *(str(path.resolve()) for path in paths))
        yield from (real(folder, dtype) for dtype in DTYPES)


def _made(work: Path, kind: str, name: str, *arguments: str) -> Path:
    folder = work / "inputs" / name
    subprocess.run([sys.executable, str(HERE / "storage_inputs.py"), kind, str(folder), *arguments], check=True)
    return folder


def facts(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The machine, and what was asked for."""
    machine = [sys.executable, str(HERE / "storage_machine.py"), str(work)]
    found = json.loads(subprocess.run(machine, check=True, capture_output=True, text=True).stdout)
    command = shlex.join(["storage.py", "WORKDIR", *(Path(word).name for word in sys.argv[2:])])
    return {**found, "runs": options.runs, "cold": options.cold, "command": command}


def main() -> None:
    options = arguments()
    work = options.workdir.resolve()
    path = options.json or work / "storage.json"
    if not options.tables:
        work.mkdir(parents=True, exist_ok=True)
        measure(work, options, path)
    if options.prepare:
        return
    raw = json.loads(path.read_text())
    text = report([Figure(**figure) for figure in raw["figures"]], raw["facts"])
    print(text)
    if options.output:
        options.output.write_text(text)


def measure(work: Path, options: argparse.Namespace, path: Path) -> None:
    """Carry out all runs; the raw figures go to `path` after each workload."""
    bench = Bench(work, options.peers, cold=options.cold)
    versions = bench.install()
    plan = list(workloads(work, options))
    if options.prepare:
        return
    known = {**facts(work, options), "versions": versions}
    known["head_bytes"] = {f"{workload.name} {workload.dtype}": workload.head_bytes() for workload in plan}
    for run in range(options.runs):
        for workload in plan:
            bench.measure(workload, run)
            figures = [dataclasses.asdict(figure) for figure in bench.figures]
            path.write_text(json.dumps({"facts": known, "figures": figures}, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--peers", type=_words, default=PEERS, help="some of %(default)s, or none")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--size-mb", type=float, default=1200, help="of the synthetic model in fp32, in 10^6 bytes")
    parser.add_argument("--series-mb", type=float, default=300, help="likewise, of the ten versions; 0 for none")
    parser.add_argument("--only", type=_words, default="fp32,bf16,real", help="some of %(default)s")
    parser.add_argument("--real", type=Path, nargs="+", action="append", default=[], metavar=("BASE", "TUNED"))
    parser.add_argument("--cold", action="store_true", help="drop the page cache before each step (as root)")
    parser.add_argument("--prepare", action="store_true", help="install the peers, make the files, and stop")
    parser.add_argument("--tables", action="store_true", help="print the tables of the JSON file again")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--json", type=Path, help="file for the raw figures, by default WORKDIR/storage.json")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word and word != "none"]


if __name__ == "__main__":
    main()
