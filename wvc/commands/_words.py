"""How ids, times, refs and shares are written in renders."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from fractions import Fraction

from wvc.console import safe
from wvc.repo import names


def short(id: str) -> str:
    """The beginning of an id, enough for people."""
    return f"[yellow]{safe(id[:10])}[/]"


def when(seconds: int) -> str:
    """A time in the user's own zone."""
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    except (OverflowError, OSError, ValueError):  # anybody can write any date into a commit
        return f"{seconds} s after 1970"


def percent(share: Fraction | float) -> str:
    """A fraction as people read it."""
    return f"{100 * float(share):.1f} %"


def decoration(refs: Iterable[str], current: str) -> str:
    """The refs that name a commit, in brackets behind its id; the current branch first."""
    ordered = sorted(refs, key=lambda ref: ref != current)
    text = ", ".join(_name(ref, current) for ref in ordered)
    return f" ({text})" if text else ""


def _name(ref: str, current: str) -> str:
    name = safe(names.short(ref))
    if ref.startswith(names.TAGS):
        return f"[bold yellow]tag: {name}[/]"
    if ref.startswith(names.REMOTES):
        return f"[red]{name}[/]"
    return f"[bold cyan]HEAD -> [/][bold green]{name}[/]" if ref == current else f"[green]{name}[/]"
