"""The tables at the end of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from wvc.recipes._axes import Axes
from wvc.recipes._holes import Env, Page
from wvc.recipes._parts import Cell, Row, Table
from wvc.recipes._schema import CHOICES, ROW, TABLE

Matches = Callable[[str], list[str]]


def tables(page: Page, raw: Mapping[str, Any], axes: Axes, env: Env, matches: Matches) -> Iterator[Table]:
    """One table for each value of the axes in `each`. Raises RecipeProblem."""
    page.known(raw, TABLE, "", 0)
    if not raw:
        return
    if raw.get("over") not in axes or "task" not in raw or not isinstance(raw.get("each", []), list):
        page.fail("a table needs a task, and an axis as `over`: that of its trials", "[table]")
    if "columns" in raw and raw["columns"] not in axes:
        page.fail(f"there is no axis {raw['columns']!r}", "columns", "table")
    for i, row in enumerate(raw.get("row", [])):
        _check(page, row, i)
    for found in axes.over(raw.get("each", []), env, "table", 0):
        columns = axes.values(raw["columns"], found, "table") if "columns" in raw else [{}]
        names = tuple(str(column.get(raw.get("columns", ""), "")) for column in columns)
        rows = tuple(
            _row(page, {**row, "index": i}, [{**full, **column} for column in columns], raw["over"], axes, matches)
            for i, row in enumerate(raw.get("row", []))
            for full in axes.over(row.get("each", []), found, "table.row", i)
        )
        yield Table(str(page.fill(raw["task"], found, "table", 0)), names, rows)


def _check(page: Page, raw: Mapping[str, Any], index: int) -> None:
    page.known(raw, ROW, "table.row", index)
    if "name" not in raw or not isinstance(raw.get("models"), list):
        page.fail("a row needs a name, and a list of models", "[[table.row]]", "table.row", index)
    if not isinstance(raw.get("each", []), list) or not isinstance(raw["name"], str):
        page.fail("each must be a list, and name a text", "each", "table.row", index)
    for name in ("choose", "ensemble"):
        if raw.get(name, CHOICES[name][0]) not in CHOICES[name]:
            page.fail(f"{name} = {raw[name]!r} is not one of {', '.join(CHOICES[name])}", name, "table.row", index)
    if not isinstance(raw.get("probe", False), bool):
        page.fail("probe must be true or false", "probe", "table.row", index)


def _row(
    page: Page, raw: Mapping[str, Any], columns: list[dict[str, Any]], over: str, axes: Axes, matches: Matches
) -> Row:
    cells, index = [], int(raw["index"])
    for env in columns:
        trials = [
            tuple(name for pattern in page.fill(raw["models"], full, "table.row", index) for name in matches(pattern))
            for full in ({**env, **value} for value in axes.values(over, env, "table"))
        ]
        cells.append(_once(tuple(trials)))
    test = page.fill(raw.get("test", "all"), columns[0], "table.row", index)
    if test not in CHOICES["test"]:
        page.fail(f"test = {test!r} is not one of {', '.join(CHOICES['test'])}", "test", "table.row", index)
    name = str(page.fill(raw["name"], columns[0], "table.row", index))
    return Row(name, tuple(cells), raw.get("choose", "mean"), raw.get("probe", False), raw.get("ensemble", ""), test)


def _once(trials: Cell) -> Cell:
    """What is the same in all trials is one measurement, not as many."""
    return trials[:1] if len(set(trials)) == 1 else trials
