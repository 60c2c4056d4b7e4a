"""Measure how wvc, mergekit and a short script merge models: time, memory, and how near the result is to the truth.

    python docs/benchmarks/merging.py WORKDIR [--size-mb 1217] [--small-mb 8] [--noise 1e-4] [--runs 1]
        [--only fp32,bf16] [--methods linear,ties,slerp,model-stock] [--tools wvc,mergekit,naive] [--mergekit VENV]
        [--output FILE] [--json FILE]

Prints Markdown tables. Method by method, every tool takes its turn, with small models for its start-up and then with
those of --size-mb, in an order that changes from run to run. mergekit 0.1.5 is installed in WORKDIR from PyPI, unless
an environment that has it is named. A second call with the same WORKDIR installs and makes nothing twice; `--tables`
only prints again what the JSON file holds. What is merged in the first run is compared with an oracle in fp64, which
takes longer than the merges and is off the clock (--no-oracle leaves it out). 20 GB of disk are enough for both dtypes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

from merging_tables import EXPORT, Figure, report
from merging_tools import METHODS, Mergekit, Naive, WideMergekit, Wvc
from storage_measure import Usage, timed, warm

HERE = Path(__file__).parent
Spelled = Wvc | Mergekit | Naive
TOOLS: dict[str, tuple[type[Spelled], ...]] = {
    "wvc": (Wvc,),
    "mergekit": (Mergekit, WideMergekit),
    "naive": (Naive,),
}


class Bench:
    """The tools of one call, and the figures so far."""

    def __init__(self, work: Path, options: argparse.Namespace) -> None:
        self.work, self.options, self.log = work, options, work / "log.txt"
        self.tools: list[Spelled] = [tool(work) for name in options.tools for tool in TOOLS[name]]
        self.figures: list[Figure] = []
        for tool in self.tools:
            if isinstance(tool, Mergekit) and options.mergekit:
                tool.environment = options.mergekit.resolve()
            elif not isinstance(tool, WideMergekit):
                tool.install()

    def versions(self) -> dict[str, str]:
        return {tool.name: tool.version() for tool in self.tools if not isinstance(tool, WideMergekit)}

    def commands(self) -> dict[str, dict[str, str]]:
        """How each method is spelled for wvc, and what mergekit is told beside the models."""
        return {
            name: {
                "wvc": shlex.join(("wvc", "merge", *METHODS[name].models, *METHODS[name].options)),
                "mergekit": json.dumps(METHODS[name].config),
            }
            for name in self.options.methods
        }

    def measure(self, dtype: str, method: str, run: int) -> None:
        """Let every tool do one merge, twice: of small models, and of large ones."""
        tools = [tool for tool in self.tools if dtype != "fp32" or not isinstance(tool, WideMergekit)]
        made: dict[str, Spelled] = {}
        for tool in tools[run % len(tools) :] + tools[: run % len(tools)]:
            for small in (True, False):
                if self._merge(tool, dtype, method, run, small=small) and not small:
                    made[tool.name] = tool
        if run == 0 and self.options.oracle and made:
            self._judge(dtype, method, made)
        for tool in tools:
            tool.file.unlink(missing_ok=True)

    def _merge(self, tool: Spelled, dtype: str, method: str, run: int, *, small: bool) -> bool:
        """Whether there is a file now."""
        folder = inputs(self.work, self.options, small=small) / dtype
        paths = [folder / f"{name}.safetensors" for name in METHODS[method].read()]
        tool.prepare(folder, method)
        os.sync()
        warm(tool.folder, *paths)
        read = sum(path.stat().st_size for path in paths)
        figure = Figure(dtype, method, tool.name, run, small, read)
        usage = timed(tool.merge(folder, method), tool.folder, tool.env, self.log)
        self._note(figure, usage)
        export = tool.write()
        if usage.failure or not export:
            return not usage.failure
        warm(tool.folder)
        usage = timed(export, tool.folder, tool.env, self.log)
        self._note(dataclasses.replace(figure, tool=EXPORT), usage)
        return not usage.failure

    def _note(self, figure: Figure, usage: Usage) -> None:
        self.figures.append(dataclasses.replace(figure, **dataclasses.asdict(usage)))
        size = "small" if figure.small else "large"
        said = usage.failure or f"{usage.seconds:.2f} s"
        print(f"{figure.dtype} run {figure.run + 1}: {figure.method}, {figure.tool}, {size}: {said}", file=sys.stderr)

    def _judge(self, dtype: str, method: str, made: dict[str, Spelled]) -> None:
        """Put errors into the figures of this run."""
        results = {name: {"path": str(tool.file), **tool.conventions(dtype)} for name, tool in made.items()}
        folder = inputs(self.work, self.options, small=False) / dtype
        paths = [str(folder / f"{name}.safetensors") for name in METHODS[method].read()]
        command = [sys.executable, str(HERE / "merging_oracle.py"), method, json.dumps(results), *paths]
        judged = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for i, figure in enumerate(self.figures):
            if (figure.dtype, figure.method, figure.small) == (dtype, method, False) and figure.tool in judged:
                self.figures[i] = dataclasses.replace(figure, **judged[figure.tool])


def inputs(work: Path, options: argparse.Namespace, *, small: bool) -> Path:
    size = options.small_mb if small else options.size_mb
    return Path(work / "inputs" / f"{size:g}-{options.noise:g}")


def facts(bench: Bench) -> dict[str, Any]:
    """The machine, and what was asked for."""
    options = bench.options
    machine = [sys.executable, str(HERE / "storage_machine.py"), str(bench.work)]
    found = json.loads(subprocess.run(machine, check=True, capture_output=True, text=True).stdout)
    command = shlex.join(["merging.py", "WORKDIR", *(Path(word).name for word in sys.argv[2:])])
    large, small = (inputs(bench.work, options, small=small) for small in (False, True))
    os.sync()
    torch = timed([[sys.executable, "-c", "import torch, time; time.sleep(0.1)"]], bench.work, os.environ, bench.log)
    return {
        **found,
        "torch": {"seconds": torch.seconds - 0.1, "private": torch.private},
        "runs": options.runs,
        "cold": False,
        "command": command,
        "versions": bench.versions(),
        "commands": bench.commands(),
        "sizes": {dtype: _size(large / dtype / "v0.safetensors") for dtype in options.only},
        "small": {dtype: _size(small / dtype / "v0.safetensors")[0] for dtype in options.only},
    }


def _size(path: Path) -> tuple[int, int]:
    """Bytes of a model, and how many tensors it has."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return path.stat().st_size, len(header) - ("__metadata__" in header)


def measure(work: Path, options: argparse.Namespace, path: Path) -> None:
    """Carry out all runs; the raw figures go to `path` after each method."""
    work.mkdir(parents=True, exist_ok=True)
    for small in (True, False):
        size = options.small_mb if small else options.size_mb
        folder = inputs(work, options, small=small)
        make = [sys.executable, str(HERE / "merging_inputs.py"), str(folder), f"{size:g}", f"{options.noise:g}"]
        subprocess.run(make, check=True)
    shutil.rmtree(work / "stores", ignore_errors=True)
    bench = Bench(work, options)
    known = facts(bench)
    for dtype in options.only:
        for run in range(options.runs):
            for method in options.methods:
                bench.measure(dtype, method, run)
                figures = [dataclasses.asdict(figure) for figure in bench.figures]
                path.write_text(json.dumps({"facts": known, "figures": figures}, indent=1))
        shutil.rmtree(work / "stores", ignore_errors=True)


def main() -> None:
    options = arguments()
    work = options.workdir.resolve()
    path = options.json or work / "merging.json"
    if not options.tables:
        measure(work, options, path)
    raw = json.loads(path.read_text())
    text = report([Figure(**figure) for figure in raw["figures"]], raw["facts"])
    print(text)
    if options.output:
        options.output.write_text(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--size-mb", type=float, default=1217, help="of a model in fp32, in 10^6 bytes")
    parser.add_argument("--small-mb", type=float, default=8, help="of a model whose merge is start-up, likewise")
    parser.add_argument("--noise", type=float, default=1e-4, help="deviation of what the fine-tunes change")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", type=_words, default="fp32,bf16", help="some of %(default)s")
    parser.add_argument("--methods", type=_words, default=",".join(METHODS), help="some of %(default)s")
    parser.add_argument("--tools", type=_words, default=",".join(TOOLS), help="some of %(default)s")
    parser.add_argument("--mergekit", type=Path, help="a virtual environment that has mergekit 0.1.5")
    parser.add_argument("--no-oracle", dest="oracle", action="store_false", help="measure no errors")
    parser.add_argument("--tables", action="store_true", help="print the tables of the JSON file again")
    parser.add_argument("--output", type=Path, help="file for the tables")
    parser.add_argument("--json", type=Path, help="file for the raw figures, by default WORKDIR/merging.json")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    main()
