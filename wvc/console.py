"""The only module that prints: answers go to stdout, everything else to stderr.

What comes from a repository (names, messages, task descriptions) was written by strangers: `safe` it before it
goes into a render, or it could move the cursor, turn lines around or pretend to be markup.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import PurePath
from typing import Any, TypeVar

from rich.console import Console, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Drawing
from rich.table import Column
from rich.text import Text

from wvc.errors import WvcError
from wvc.progress import NO_BOARD, SILENT, Board, Progress

T = TypeVar("T")
WIDE = 100_000  # columns of a pipe: a table is never cut to fit what nobody looks at
BLANKS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class _State:
    """json: answers are wanted as JSON. bars: the bars that are on the screen now."""

    json = False
    bars: Bars | Lines | None = None


def use_json(on: bool) -> None:
    """Say whether `show` prints JSON."""
    _State.json = on


def wants_json() -> bool:
    """True if `show` prints JSON: nothing else may then go to stdout."""
    return _State.json


def show(result: T, render: Callable[[T], RenderableType]) -> None:
    """Print `result` on stdout: as JSON where that was asked for, else as what `render` makes of it."""
    if _State.json:
        print(json.dumps(plain(result), indent=2), flush=True)  # rich would take seconds for a long history
        return
    text = render(result)
    if text != "":
        _print(_console(), text)


def note(text: str) -> None:
    """Say on stderr what happens besides; `text` is markup."""
    _print(_aside(), text)


def line(text: str) -> None:
    """Write a line of a log to stderr, plain: laying it out would take longer than most of what is logged."""
    kept = text if text.isascii() and text.isprintable() else "".join(_character(c) for c in text)
    with contextlib.suppress(BrokenPipeError):  # who reads the log may stop before those who are served do
        sys.stderr.write(kept + "\n")
        sys.stderr.flush()


def warn(text: str) -> None:
    """Say on stderr what the user should know; `text` is markup."""
    _print(_aside(), f"[yellow]warning:[/] {text}")


def fail(error: WvcError) -> None:
    """Say on stderr what went wrong and what to do."""
    stop()
    if _State.json:
        _print(_aside(), Text(json.dumps({"error": error.message, "hint": error.hint})))
        return
    _print(_aside(), f"[bold red]error:[/] {safe(error.message)}")
    if error.hint is not None:
        _print(_aside(), f"[cyan]hint:[/] {safe(error.hint)}")


def trace() -> None:
    """Print the traceback of the exception that is being handled on stderr."""
    stop()
    _print(_aside(), Text(traceback.format_exc().rstrip()))


def progress() -> Progress:
    """Bars on stderr, or silence where that is no terminal."""
    console = _console(stderr=True)
    if not console.is_terminal:
        return SILENT
    stop()
    _State.bars = Bars(console)
    return _State.bars


def board() -> Board:
    """A line on stderr for each piece of work and one for all of it, or nothing where that is no terminal."""
    console = _console(stderr=True)
    if not console.is_terminal:
        return NO_BOARD
    stop()
    _State.bars = Lines(console)
    return _State.bars


def stop() -> None:
    """Take bars that a failure left behind off the screen."""
    if _State.bars is not None:
        _State.bars.stop()


def safe(text: object) -> str:
    """`text` as markup for just these characters, without those that control a terminal or the direction of text."""
    kept = "".join(_character(c) for c in str(text))
    # Every bracket, tag or not: half a tag here and half a tag in the next text would make one.
    escaped = re.sub(r"(\\*)\[", r"\1\1\\[", kept)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return escaped + "\\" * trailing


def lines(text: str) -> list[str]:
    """The lines of `text`, each of them `safe`."""
    return [safe(line) for line in text.splitlines()]


def plain(value: object) -> Any:
    """`value` as what JSON knows: fractions, paths and what is no finite number become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | Set) and not isinstance(value, bytes):
        return [plain(item) for item in (sorted(value, key=str) if isinstance(value, Set) else value)]
    if isinstance(value, Fraction | PurePath):
        return str(value)
    return plain(_facts(value))


def _facts(value: object) -> Mapping[str, object]:
    """What `value` says of itself in `json()`, with its id if it has one; else the fields of a dataclass."""
    if hasattr(value, "json"):
        return {**({"id": value.id} if hasattr(value, "id") else {}), **value.json()}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} has no place in JSON")


class Bars:
    """A Progress that draws: bar, how much of how much, rate, elapsed and remaining time, note."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._drawing: Drawing | None = None
        self._task = TaskID(0)

    def start(self, title: str, total: int, unit: str = "") -> None:
        self.stop()
        columns = (TextColumn("{task.description}"), BarColumn(20), _Amount(Column(no_wrap=True)), TimeElapsedColumn())
        rest = (TextColumn("eta"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self._drawing = Drawing(*columns, *rest, console=self.console)
        self._task = self._drawing.add_task(safe(title), total=total, unit=unit, note="")
        self._drawing.start()

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._drawing is not None and note:
            self._drawing.update(self._task, advance=amount, note=safe(note))
        elif self._drawing is not None:
            self._drawing.update(self._task, advance=amount)

    def stop(self) -> None:
        if self._drawing is not None:
            self._drawing.stop()
            self._drawing = None


class Lines:
    """A Board that draws."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    def draw(self, lines: Sequence[str], together: str) -> None:
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        text = "\n".join([*(f"  {safe(line)}" for line in lines), f"[bold]{safe(together)}[/]"])
        self._live.update(Text.from_markup(text, overflow="ellipsis"), refresh=True)

    def stop(self) -> None:
        if self._live is not None:
            self._live.update(Text(""), refresh=True)
            self._live.stop()
            self._live = None


class _Amount(ProgressColumn):
    """Done of total and the rate, in the unit of the work."""

    def render(self, task: Task) -> Text:
        unit, speed = task.fields["unit"], task.finished_speed or task.speed or 0.0
        done, total = int(task.completed), int(task.total or 0)
        if unit == "B":
            return Text(f"{decimal(done)} of {decimal(total)}, {decimal(int(speed))}/s")
        return Text(f"{done}/{total} {unit} {speed:.1f}/s" if unit else f"{done}/{total}")


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def _aside() -> Console:
    """stderr; through the bars while there are some, which then stay below."""
    return _State.bars.console if _State.bars is not None else _console(stderr=True)


def _print(console: Console, text: RenderableType) -> None:
    """Text is left to the terminal to wrap, so that ids can be copied; a table fits itself to the terminal."""
    long = isinstance(text, str | Text)
    try:
        console.print(text, soft_wrap=long)
    except BrokenPipeError:
        hush()
        raise SystemExit(1) from None


def hush() -> None:
    """The reader of stdout has gone: let nothing, not even Python at its exit, complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _character(c: str) -> str:
    if c in BLANKS:
        return " "
    category = unicodedata.category(c)
    if category == "Cs":
        return "\ufffd"
    return "" if category == "Cc" or c in BIDI else c
