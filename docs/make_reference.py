"""Print the reference page, what every command says to --help: `python docs/make_reference.py > docs/reference.md`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version

from wvc import main, plugins

WIDTH = 80  # columns, whatever the terminal has
TOP = f"""\
# Reference

What every command says to `--help`, and `wvc merge` to `-o help`. This page is made by `docs/make_reference.py`; a test
compares the two.

<!-- typer {version("typer")} -->
"""


def page() -> str:
    """The whole page."""
    return TOP + "".join(f"\n## {title}\n\n```\n{text(line)}```\n" for title, line in sections())


def sections() -> Iterator[tuple[str, list[str]]]:
    """(title, command line that asks for help) of `wvc` itself, of every command, and of those in groups."""
    yield "wvc", ["--help"]
    for name in plugins.names(main.DOOR):
        yield f"wvc {name}", [name, "--help"]
        if plugins.is_group(main.DOOR, name):
            for inner in plugins.names(f"{main.DOOR}.{name}"):
                yield f"wvc {name} {inner}", [name, inner, "--help"]
    yield "Options of strategies", ["merge", "-o", "help"]


def text(line: list[str]) -> str:
    """What a command line that asks for help prints, without blanks at the ends of lines."""
    out = io.StringIO()
    with _fixed_terminal(), contextlib.redirect_stdout(out):
        code = main.run(line)
    if code != 0:
        raise RuntimeError(f"wvc {' '.join(line)} ended with {code}")
    return "".join(f"{row.rstrip()}\n" for row in out.getvalue().rstrip().splitlines())


@contextlib.contextmanager
def _fixed_terminal() -> Iterator[None]:
    """The same width and no colours, whatever the environment says."""
    before = dict(os.environ)
    for name in ("FORCE_COLOR", "TERMINAL_WIDTH"):
        os.environ.pop(name, None)
    os.environ.update({"COLUMNS": str(WIDTH), "NO_COLOR": "1"})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    sys.stdout.write(page())
