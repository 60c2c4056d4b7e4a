"""Ranges of options: checked when a strategy is called, before anything is read."""

from __future__ import annotations

from typing import Any, get_args

from wvc.errors import UsageError


def check_density(density: float) -> None:
    """Raises UsageError unless `density` is a share of the elements that leaves some."""
    if not 0 < density <= 1:
        raise UsageError(f"density is {density}, not in (0, 1]", "it is the share of the changes to keep: 1 keeps all")


def check_choice(name: str, value: str, choices: Any) -> None:
    """Raises UsageError unless `value` is one of `choices`, a Literal."""
    if value not in get_args(choices):
        raise UsageError(f"{name} is {value!r}", f"there are {', '.join(get_args(choices))}")
