"""Lay out what a commit says of how it came to be, whatever it says, as lines to read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wvc.console import safe

ID = re.compile(r"[0-9a-f]{64}")
FIRST = ("name", "step")  # what a row is about
REAL = re.compile(r"-?\d+\.\d{5,}")


def layout(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """A line per fact; mappings are indented, lists of mappings become tables, which come last."""
    lines: list[str] = []
    for key, item in sorted(value.items(), key=lambda pair: (_is_table(pair[1]), isinstance(pair[1], Mapping))):
        name = f"{indent}[cyan]{safe(key.replace('_', ' '))}[/]"
        if isinstance(item, Mapping) and item:
            lines += [name, *layout(item, indent + "  ")]
        elif _is_table(item):
            lines += [name, *table(item, indent + "  ")]
        else:
            lines.append(f"{name} {safe(cell(item))}".rstrip())
    return lines


def table(rows: Sequence[Mapping[str, Any]], indent: str = "") -> list[str]:
    """`rows` in columns, a column for every key that one of them has."""
    known = dict.fromkeys(key for row in rows for key in row)
    keys = sorted(known, key=lambda key: key not in FIRST)  # canonical JSON has them in alphabetical order
    cells = [[key.replace("_", " ") for key in keys]]
    cells += [[cell(row[key]) if key in row else "" for key in keys] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
    lines = ["  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)) for line in cells]
    return [f"{indent}{safe(line.rstrip())}" for line in lines]


def cell(value: object) -> str:
    """One value in a few characters: ids are cut, reals rounded, what is nested is strung together."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_share(item)}" for key, item in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell(item) for item in value) or "-"
    text = str(value)
    if ID.fullmatch(text):
        return text[:10]
    return f"{float(text):.4f}" if REAL.fullmatch(text) else text


def _share(value: object) -> str:
    """Per domain, two counts are right and total."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(n, int) for n in value):
        return f"{value[0]}/{value[1]}"
    return cell(value)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)
