"""Turn the raw figures of storage.py into Markdown: medians, ratios, goals, and who won each row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

BASELINE = "git-lfs"
REAL = "fine-tunes of "
SHARES = {"fp32": 0.62, "bf16": 0.30}
BOOKKEEPING = 200_000  # bytes of names, shapes, history and log in a commit, beside the weights


@dataclass(frozen=True)
class Figure:
    """One step of one tool in one run.

    workload, dtype, row, label: which step; the labels of one row are added up.
    raw: bytes of the file.
    seconds, settled, cpu, rss, failure: as in storage_measure.Usage.
    private: likewise; None where child processes do the work.
    stored: bytes by which the store grew.
    identical: whether the file came back byte for byte; None if this run did not look.
    why: what the export said when it failed and so nothing came back.
    """

    workload: str
    dtype: str
    row: str
    label: str
    run: int
    tool: str
    raw: int
    seconds: float = 0.0
    settled: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    private: int | None = None
    stored: int = 0
    identical: bool | None = None
    why: str | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Cell:
    """A row of one tool over all runs: medians, but the largest memory. `spread` is the fastest and slowest run."""

    raw: int
    seconds: float
    spread: tuple[float, float]
    settled: float
    cpu: float
    rss: int
    private: int | None
    stored: int
    identical: bool | None
    why: str | None
    failure: str | None


Rows = Mapping[str, Mapping[str, Cell]]  # row -> tool -> cell


def cell(figures: Sequence[Figure]) -> Cell:
    """Figures of one row and tool, from one or more runs."""
    runs = sorted({figure.run for figure in figures})

    def totals(name: str) -> list[float]:
        return [sum(getattr(f, name) for f in figures if f.run == run) for run in runs]

    seconds = totals("seconds")
    looked = [f.identical for f in figures if f.identical is not None]
    return Cell(
        raw=int(totals("raw")[0]),
        seconds=median(seconds),
        spread=(min(seconds), max(seconds)),
        settled=median(totals("settled")),
        cpu=median(totals("cpu")),
        rss=max(f.rss for f in figures),
        private=max((f.private for f in figures if f.private is not None), default=None),
        stored=int(median(totals("stored"))),
        identical=all(looked) if looked else None,
        why=next((f.why for f in figures if f.why), None),
        failure=next((f.failure for f in figures if f.failure), None),
    )


def rows(figures: Sequence[Figure]) -> Rows:
    """The cells of one workload in one precision, rows and tools in the order of their first figures."""
    keys = dict.fromkeys((f.row, f.tool) for f in sorted(figures, key=lambda f: f.run))
    table: dict[str, dict[str, Cell]] = {}
    for row, tool in keys:
        table.setdefault(row, {})[tool] = cell([f for f in figures if (f.row, f.tool) == (row, tool)])
    return table


def report(figures: Sequence[Figure], facts: Mapping[str, Any]) -> str:
    """All tables, as Markdown."""
    parts = [heading(facts)]
    some: dict[tuple[str, str], Rows] = {}
    for workload, dtype in dict.fromkeys((f.workload, f.dtype) for f in figures):
        some[workload, dtype] = rows([f for f in figures if (f.workload, f.dtype) == (workload, dtype)])
    for (workload, dtype), table in some.items():
        if not workload.startswith(REAL):
            parts.append(_section(workload, dtype, table, facts))
    real = {key: table for key, table in some.items() if key[0].startswith(REAL)}
    if real:
        parts.append("### Real fine-tunes\n\n" + "\n".join(_summary(real)))
    return "\n\n".join(parts) + "\n"


def heading(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{tool} {version}" for tool, version in facts["versions"].items())
    rates = ", ".join(f"{name} {rate / 1e9:.2f} GB/s" for name, rate in facts["speeds"].items())
    return (
        f"{facts['date']}; {facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB of memory, "
        f"{facts['system']}, Python {facts['python']}, load {facts['load']} before the start.\n"
        f"{versions}.\n"
        f"One thread reaches: {rates}.\n"
        f"Runs: {facts['runs']}, with a {'cold' if facts['cold'] else 'warm'} page cache: `{facts['command']}`"
    )


def _section(workload: str, dtype: str, table: Rows, facts: Mapping[str, Any]) -> str:
    floor = {row: cells["floor"].seconds for row, cells in table.items() if "floor" in cells}
    steps = {row: cells for row, cells in table.items() if "floor" not in cells}
    raw = next(iter(next(iter(steps.values())).values())).raw
    parts = [f"### {workload}, {dtype}, {mb(raw)} a file", "\n".join(_lines(steps))]
    if floor:
        singles = ", ".join(f"`{row}` {seconds:.2f} s" for row, seconds in floor.items())
        parts.append(f"The floor, on the same file: {singles}; together {sum(floor.values()):.2f} s.")
    head = facts["head_bytes"].get(f"{workload} {dtype}", 0)
    parts.append("\n".join(_verdicts(steps, dtype, sum(floor.values()), head)))
    return "\n\n".join(parts)


def _lines(table: Rows) -> Iterator[str]:
    names = ("step", "tool", "seconds", f"of {BASELINE}'s", "on disk after", "CPU s", "peak RSS", "private")
    yield line(*names, "stored", "of raw", "byte-identical")
    yield "|---|---|" + "---:|" * 8 + "---|"
    for row, cells in table.items():
        for tool, one in cells.items():
            yield line(row if tool == next(iter(cells)) else "", tool, *_values(one, cells.get(BASELINE)))


def line(*values: str) -> str:
    return "| " + " | ".join(values) + " |"


def _values(one: Cell, baseline: Cell | None) -> list[str]:
    if one.failure:
        return ["-"] * 8 + [one.failure]
    low, high = one.spread
    seconds = f"{one.seconds:.2f}" if low == high else f"{one.seconds:.2f} ({low:.2f} to {high:.2f})"
    ratio = f"{one.seconds / baseline.seconds:.2f}" if baseline and not baseline.failure else "-"
    private = "-" if one.private is None else mb(one.private)
    stored = [mb(one.stored), f"{one.stored / one.raw:.3f}"] if one.stored else ["-", "-"]
    came = {True: "yes", False: f"**no**{f' ({one.why})' if one.why else ''}", None: "-"}[one.identical]
    return [seconds, ratio, f"{one.settled:.2f} s", f"{one.cpu:.2f}", mb(one.rss), private, *stored, came]


def mb(size: int) -> str:
    """Megabytes of 10^6 bytes."""
    return f"{size / 1e6:.0f} MB" if abs(size) >= 10e6 else f"{size / 1e6:.2f} MB"


def _verdicts(table: Rows, dtype: str, floor: float, head: int) -> Iterator[str]:
    yield line("step", "goal for wvc", "reached", "against the others")
    yield "|---|---|---|---|"
    for row, cells in table.items():
        goals = list(_goals(row, cells, dtype, floor, head))
        wanted = "; ".join(goal for goal, _, _ in goals) or "-"
        reached = "; ".join(value if met else f"{value}: **missed**" for _, value, met in goals) or "-"
        yield line(row, wanted, reached, _contest(cells))


def _goals(row: str, cells: Mapping[str, Cell], dtype: str, floor: float, head: int) -> Iterator[tuple[str, str, bool]]:
    """The goals of a row, what was measured, and whether that reaches them."""
    own, baseline = cells["wvc"], cells.get(BASELINE)
    if own.failure:
        return
    if row == "all tensors changed":
        if baseline and not baseline.failure:
            ratio = own.seconds / baseline.seconds
            yield f"<= 0.40 of {BASELINE}'s time", f"{ratio:.2f}", ratio <= 0.4
        share = own.stored / own.raw
        yield f"<= {SHARES[dtype]:.2f} of raw", f"{share:.3f}", share <= SHARES[dtype]
    if row == "head changed":
        yield "<= 1.5 s", f"{own.seconds:.2f} s", own.seconds <= 1.5
        most = head + BOOKKEEPING
        yield f"<= the head and 0.2 MB ({mb(most)})", mb(own.stored), own.stored <= most
    if row == "export" and floor:
        yield f"<= 1.5 x the floor ({1.5 * floor:.2f} s)", f"{own.seconds:.2f} s", own.seconds <= 1.5 * floor


def _contest(cells: Mapping[str, Cell]) -> str:
    """To whom wvc lost in time and in size."""
    own = cells["wvc"]
    if own.failure:
        return f"**lost**: {own.failure}"
    others = {tool: one for tool, one in cells.items() if tool != "wvc" and not one.failure}
    if not others:
        return "-"
    faster = [f"{tool}{_flaw(one)} {one.seconds:.2f} s" for tool, one in others.items() if one.seconds < own.seconds]
    smaller = [f"{tool}{_flaw(one)} {mb(one.stored)}" for tool, one in others.items() if one.stored < own.stored]
    parts = [f"**lost** in time ({own.seconds:.2f} s) to {', '.join(faster)}" if faster else "fastest"]
    if own.stored:
        parts.append(f"**lost** in size ({mb(own.stored)}) to {', '.join(smaller)}" if smaller else "smallest")
    return "; ".join(parts)


def _flaw(one: Cell) -> str:
    return " (not byte-identical)" if one.identical is False else ""


def _summary(real: Mapping[tuple[str, str], Rows]) -> Iterator[str]:
    """One line per model, precision and step; a column of size and seconds per tool."""
    tools = list(dict.fromkeys(tool for table in real.values() for cells in table.values() for tool in cells))
    yield line("base", "dtype", "step", "raw", *tools, "against the others")
    yield "|---|---|---|---:|" + "---|" * (len(tools) + 1)
    for (workload, dtype), table in real.items():
        for row, cells in table.items():
            values = [_brief(cells[tool]) if tool in cells else "-" for tool in tools]
            raw = mb(next(iter(cells.values())).raw)
            yield line(workload.removeprefix(REAL), dtype, row, raw, *values, _contest(cells))


def _brief(one: Cell) -> str:
    if one.failure:
        return one.failure
    share = f"{one.stored / one.raw:.3f} of raw, " if one.stored else ""
    return f"{share}{one.seconds:.2f} s{', **not byte-identical**' if one.identical is False else ''}"
