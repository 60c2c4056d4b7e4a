"""What commands that deal with remotes have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wvc import console
from wvc.repo import names
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.store.records import Move


def default(repository: Repository, given: str | None) -> str:
    """The remote that is meant where none is named: the branch's own, else origin, else the only one."""
    if given is not None:
        return given
    own = repository.config.get("branches", names.short(repository.branch), "remote")
    remotes = repository.config.get("remotes") or {}
    return str(own or (next(iter(remotes)) if len(remotes) == 1 else "origin"))


def bring(repository: Repository, manifests: Iterable[Manifest]) -> None:
    """Have the weights of `manifests` here, where history came without them: for commands that read them themselves."""
    if repository.config.without_weights() is not None:
        from wvc.verbs.need import need

        need(repository, manifests, console.progress())


def moved(moves: Sequence[Move]) -> list[str]:
    """One line for each ref."""
    return [f"  {_what(move)} {console.safe(names.short(move.ref))}" for move in moves]


def size(count: int) -> str:
    """Bytes, for people."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _what(move: Move) -> str:
    if move.new is None:
        return "[red]removed[/]              "
    if move.old is None:
        return f"[green]new[/]       [yellow]{move.new[:10]}[/]"
    return f"{move.old[:8]}..[yellow]{move.new[:10]}[/]"
