"""Turn the raw figures of merging.py into Markdown: medians, start-up, agreement, goals, and who won each row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from storage_tables import heading, line, mb

EXPORT = "wvc, export"
FASTER = {"linear": 5, "ties": 20}  # times, with start-up
PRIVATE = 300_000_000  # bytes


@dataclass(frozen=True)
class Figure:
    """One merge by one tool in one run, or an export of what wvc merged.

    small: of the small models, whose time is start-up. read: bytes of all models that are read.
    error, ulps, inexact, of: as in merging_oracle.py; None where nobody looked.
    The others are as in storage_measure.Usage.
    """

    dtype: str
    method: str
    tool: str
    run: int
    small: bool
    read: int
    seconds: float = 0.0
    settled: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    private: int = 0
    failure: str | None = None
    error: float | None = None
    ulps: float | None = None
    inexact: int | None = None
    of: int | None = None


@dataclass(frozen=True)
class Cell:
    """A method of one tool over all runs: medians, but the largest memory. `spread`: fastest and slowest run."""

    read: int
    seconds: float
    spread: tuple[float, float]
    start: float
    settled: float
    cpu: float
    rss: int
    private: int
    failure: str | None
    error: float | None
    ulps: float | None
    share: float | None

    @property
    def work(self) -> float | None:
        """Seconds without start-up; None where too little is left to tell."""
        left = self.seconds - self.start
        return left if left > 0.02 * self.seconds else None

    def times(self, own: Cell) -> str:
        """By how much `own` is faster, with start-up and without."""
        without = "-" if self.work is None or own.work is None else f"{self.work / own.work:.1f}"
        return f"{self.seconds / own.seconds:.1f} ({without})"


Rows = Mapping[str, Mapping[str, Cell]]  # method -> tool -> cell


def cell(figures: Sequence[Figure]) -> Cell:
    large = [figure for figure in figures if not figure.small]
    small = [figure.seconds for figure in figures if figure.small]
    seconds = [figure.seconds for figure in large]
    judged = next((figure for figure in large if figure.of), None)
    return Cell(
        read=large[0].read,
        seconds=median(seconds),
        spread=(min(seconds), max(seconds)),
        start=median(small) if small else 0.0,
        settled=median(figure.settled for figure in large),
        cpu=median(figure.cpu for figure in large),
        rss=max(figure.rss for figure in large),
        private=max(figure.private for figure in large),
        failure=next((figure.failure for figure in figures if figure.failure), None),
        error=judged.error if judged else None,
        ulps=judged.ulps if judged else None,
        share=judged.inexact / judged.of if judged and judged.inexact is not None and judged.of else None,
    )


def rows(figures: Sequence[Figure]) -> Rows:
    """The cells of one precision, methods and tools in the order of their first figures."""
    keys = dict.fromkeys((f.method, f.tool) for f in sorted(figures, key=lambda f: f.run))
    table: dict[str, dict[str, Cell]] = {}
    for method, tool in keys:
        table.setdefault(method, {})[tool] = cell([f for f in figures if (f.method, f.tool) == (method, tool)])
    return table


def report(figures: Sequence[Figure], facts: Mapping[str, Any]) -> str:
    """All tables, as Markdown."""
    torch = facts["torch"]
    alone = f"`import torch` alone takes {torch['seconds']:.2f} s and {mb(torch['private'])} private."
    parts = [heading(facts), alone, "\n".join(_commands(facts["commands"]))]
    for dtype in dict.fromkeys(figure.dtype for figure in figures):
        table = rows([figure for figure in figures if figure.dtype == dtype])
        size, count = facts["sizes"][dtype]
        parts.append(
            f"### {dtype}, models of {mb(size)} and {count} tensors; start-up with {mb(facts['small'][dtype])}"
        )
        parts += ["\n".join(_times(table)), "\n".join(_agreement(table)), "\n".join(_verdicts(table, torch["private"]))]
    return "\n\n".join(parts) + "\n"


def _commands(commands: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    yield line("method", "tool", "as")
    yield "|---|---|---|"
    for method, tools in commands.items():
        for tool, command in tools.items():
            yield line(method if tool == next(iter(tools)) else "", tool, f"`{command}`")


def _times(table: Rows) -> Iterator[str]:
    names = ("method", "tool", "seconds", "start-up", "without it", "GB/s of input", "wvc is faster by")
    yield line(*names, "on disk after", "CPU s", "peak RSS", "private")
    yield "|---|---|" + "---:|" * 9
    for method, cells in table.items():
        for tool, one in cells.items():
            yield line(method if tool == next(iter(cells)) else "", tool, *_values(tool, one, cells.get("wvc")))


def _values(tool: str, one: Cell, own: Cell | None) -> list[str]:
    if one.failure:
        return [one.failure] + ["-"] * 8
    low, high = one.spread
    seconds = f"{one.seconds:.2f}" if low == high else f"{one.seconds:.2f} ({low:.2f} to {high:.2f})"
    without = "-" if one.work is None else f"{one.work:.2f}"
    rate = "-" if one.work is None or tool == EXPORT else f"{one.read / one.work / 1e9:.3f}"
    faster = "-" if tool in ("wvc", EXPORT) or own is None or own.failure else one.times(own)
    memory = [mb(one.rss), mb(one.private)]
    return [
        seconds,
        f"{one.start:.2f}",
        without,
        rate,
        faster,
        f"{one.settled:.2f} s",
        f"{one.cpu:.2f}",
        *memory,
    ]


def _agreement(table: Rows) -> Iterator[str]:
    yield line("method", "tool", "largest error, of the largest change", "in ulps", "not the nearest number")
    yield "|---|---|---:|---:|---:|"
    for method, cells in table.items():
        for tool, one in cells.items():
            if one.error is not None and one.ulps is not None and one.share is not None:
                values = (f"{one.error:.2e}", f"{one.ulps:.3g}", f"{100 * one.share:.3g} %")
                yield line(method if tool == next(iter(cells)) else "", tool, *values)


def _verdicts(table: Rows, torch: int) -> Iterator[str]:
    """torch: private bytes of a Python that has imported it."""
    yield line("method", "goal for wvc", "reached", "against the others")
    yield "|---|---|---|---|"
    for method, cells in table.items():
        goals = list(_goals(method, cells, torch))
        wanted = "; ".join(goal for goal, _, _ in goals) or "-"
        reached = "; ".join(value if met else f"{value}: **missed**" for _, value, met in goals) or "-"
        yield line(method, wanted, reached, _contest(cells))


def _goals(method: str, cells: Mapping[str, Cell], torch: int) -> Iterator[tuple[str, str, bool]]:
    """The goals of a method, what was measured, and whether that reaches them."""
    own, peer = cells["wvc"], cells.get("mergekit")
    if own.failure:
        yield "a result", own.failure, False
        return
    if peer and not peer.failure and method in FASTER:
        met = peer.seconds >= FASTER[method] * own.seconds
        yield f">= {FASTER[method]} x as fast as mergekit", peer.times(own), met
    beyond = f"{mb(own.private)}, {mb(own.private - torch)} beyond `import torch`"
    yield f"<= {mb(PRIVATE)} private", beyond, own.private <= PRIVATE
    peers = [one for tool, one in cells.items() if tool.startswith("mergekit") and one.error is not None]
    if peers and own.error is not None and own.ulps is not None:
        least = tuple(min(_rounded(getattr(one, name)) for one in peers) for name in ("error", "ulps", "share"))
        mine = tuple(_rounded(value) for value in (own.error, own.ulps, own.share))
        met = all(value <= bound for value, bound in zip(mine, least, strict=True))
        yield "error never above mergekit's", "never" if met else f"{own.error:.2e}, {own.ulps:.3g} ulps", met


def _rounded(value: float | None) -> float:
    """As far as the table shows it; NaN counts as infinite."""
    return math.inf if value is None or math.isnan(value) else float(f"{value:.2e}")


def _contest(cells: Mapping[str, Cell]) -> str:
    """To whom wvc lost in time, with and without what its result takes to become a file, and in memory."""
    own, export = cells["wvc"], cells.get(EXPORT)
    others = {tool: one for tool, one in cells.items() if tool not in ("wvc", EXPORT) and not one.failure}
    if own.failure or not others:
        return "-"
    whole = own.seconds + (export.seconds if export and not export.failure else 0.0)
    faster = [f"{tool} {one.seconds:.2f} s" for tool, one in others.items() if one.seconds < own.seconds]
    filed = [f"{tool} {one.seconds:.2f} s" for tool, one in others.items() if own.seconds <= one.seconds < whole]
    smaller = [f"{tool} {mb(one.private)}" for tool, one in others.items() if one.private < own.private]
    parts = [f"**lost** in time ({own.seconds:.2f} s) to {', '.join(faster)}" if faster else "fastest"]
    if filed:
        parts.append(f"**lost** to {', '.join(filed)} if an export must follow ({whole:.2f} s)")
    parts.append(f"**lost** in memory to {', '.join(smaller)}" if smaller else "least memory")
    return "; ".join(parts)
