"""Read or change the local configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from wvc import console
from wvc.errors import UsageError
from wvc.repo import location
from wvc.repo.config import Config


def command(
    key: Annotated[str | None, typer.Argument(help="For example user.name")] = None,
    value: Annotated[str | None, typer.Argument(help="What to set it to")] = None,
    list: Annotated[bool, typer.Option("--list", "-l", help="List everything that is set")] = False,
    unset: Annotated[bool, typer.Option("--unset", help="Remove the key")] = False,
    user: Annotated[bool, typer.Option("--global", help="Use your own configuration, for all repositories")] = False,
) -> None:
    """Read or change the local configuration.

    It never leaves this machine.
    """
    from wvc.verbs import config as verb

    config = verb.own() if user else Config(location.find(Path()))
    if list or key is None:
        if key is not None or value is not None or unset:
            raise UsageError("--list takes no key", "run `wvc config --help`")
        found = dict(verb.flat(config.get()))
        console.show(found if user else dict(verb.flat(_own())) | found, render)
    elif unset or value is not None:
        if unset and value is not None:
            raise UsageError("--unset takes no value", "run `wvc config --help`")
        verb.put(config, key, value)
        console.show({key: value}, lambda _: "")
    else:
        console.show(verb.look_up(config, key), lambda found: render(found, only=key))


def _own() -> Mapping[str, object]:
    found: Mapping[str, object] = Config(location.user_config().parent).get()
    return found


def render(found: Mapping[str, object], only: str | None = None) -> str:
    """One "key = value" a line, or the value alone where `only` that was asked for."""
    if [*found] == [only]:
        return console.safe(found[only or ""])
    return "\n".join(f"{console.safe(key)} = {console.safe(value)}" for key, value in found.items())
