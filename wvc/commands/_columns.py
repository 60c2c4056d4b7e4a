"""Write rows in aligned columns, and sizes as people read them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.cells import cell_len

from wvc.console import safe

UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def columns(
    rows: Sequence[Sequence[str]], *, right: Collection[int] = (), styles: Mapping[int, str] | None = None
) -> list[str]:
    """A line of markup for each of `rows`, which have equally many cells of plain text.

    right: positions of the columns that are aligned to the right. styles: how the others that need one look.
    """
    safe_rows = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*safe_rows, strict=True)]
    lines = []
    for row in safe_rows:
        cells = []
        for i, (text, width) in enumerate(zip(row, widths, strict=True)):
            blanks = " " * (width - cell_len(text))
            shown = f"[{styles[i]}]{safe(text)}[/]" if styles and i in styles else safe(text)
            cells.append(blanks + shown if i in right else shown + blanks)
        lines.append("  ".join(cells).rstrip())
    return lines


def shortened(text: str, width: int) -> str:
    """The beginning of `text` where it has more than `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def size(count: int) -> str:
    """Bytes as people read them: "1.5 MiB"."""
    value, unit = float(count), "B"
    for larger in UNITS:
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
