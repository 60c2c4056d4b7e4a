"""Draw a graph of commits with lines, for any number of parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

# What a cell shows, by where its lines go: up, down, left, right.
GLYPHS = {
    "": " ", "lr": "─", "ud": "│", "udl": "┤", "udr": "├", "udlr": "┼",
    "dl": "╮", "dr": "╭", "dlr": "┬", "ul": "╯", "ur": "╰", "ulr": "┴",
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """The lines beside the text of one commit.

    rows: the row with the star, and the row that leads to the parents if they are not just below.
    pad: what stands beside further text.
    """

    rows: tuple[str, ...]
    pad: str

    def beside(self, text: Sequence[str]) -> list[str]:
        """`text`, whose first line goes with the star, behind the graph."""
        count = max(len(text), len(self.rows))
        graph = [*self.rows, *[self.pad] * (count - len(self.rows))]
        width = max(map(len, graph))
        both = zip(graph, [*text, *[""] * (count - len(text))], strict=True)
        return [f"{left:{width}} {right}".rstrip() for left, right in both]


def draw(commits: Iterable[tuple[str, Sequence[str]]]) -> Iterator[Drawn]:
    """One drawing per (id, parents), in an order in which no commit comes after its parent."""
    columns: list[str | None] = []  # the commit that each column leads to
    ended: int | None = None
    for id, parents in commits:
        # A new tip right below a root would look like its parent.
        place = columns.index(id) if id in columns else _free(columns, avoid=ended)
        columns[place] = None
        star = _row(["*" if i == place else _line(column) for i, column in enumerate(columns)])
        before = [*columns]
        targets = _lead(columns, place, parents)
        rows = (star, _link(before, columns, place, targets)) if targets - {place} else (star,)
        ended = None if targets else place
        while columns and columns[-1] is None:
            columns.pop()
        pad = _row([_line(column) for column in columns])
        yield Drawn(rows, pad)


def _lead(columns: list[str | None], place: int, parents: Sequence[str]) -> set[int]:
    """Give every parent a column, the one that leads to it already or a free one; return them."""
    targets = set()
    for parent in dict.fromkeys(parents):
        if parent not in columns:
            columns[place if columns[place] is None else _free(columns)] = parent
        targets.add(columns.index(parent))
    return targets


def _free(columns: list[str | None], avoid: int | None = None) -> int:
    """The first free column; there is always one more."""
    for i, column in enumerate(columns):
        if column is None and i != avoid:
            return i
    columns.extend([None] * (2 if avoid == len(columns) else 1))
    return len(columns) - 1


def _link(before: Sequence[str | None], after: Sequence[str | None], place: int, targets: set[int]) -> str:
    """The row from the star in column `place` to the columns `targets`."""
    low, high = min(targets | {place}), max(targets | {place})
    cells = []
    for i, column in enumerate(after):
        joins = i == place or i in targets
        up = i == place or (i < len(before) and before[i] is not None)
        sides = "u" * up + "d" * (column is not None)
        if joins:
            sides += "l" * (low < i) + "r" * (i < high)
        elif not sides and low < i < high:
            sides = "lr"
        cells.append(GLYPHS[sides] + ("─" if low <= i < high else " "))
    return "".join(cells).rstrip()


def _line(column: str | None) -> str:
    return " " if column is None else "│"


def _row(cells: Sequence[str]) -> str:
    return " ".join(cells).rstrip()
