"""Remotes by name: where they are, how far their history was seen, what is known of them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wvc import plugins
from wvc.errors import RefExists, UsageError, WvcError
from wvc.remotes import Remote
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.store.records import Move, State
from wvc.verbs.mirror import Mirror, Pinned

DOOR = "wvc.remotes"
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")


@dataclass(frozen=True)
class Known:
    """A remote that has a name here."""

    name: str
    url: str
    pinned: Pinned | None = None
    weights: bool = True

    def json(self) -> dict[str, Any]:
        return {"name": self.name, "url": self.url, "weights": self.weights}


def add(repository: Repository, name: str, url: str) -> Known:
    """Raises UsageError, RefExists. Nobody is asked whether the place is there: `probe` does that."""
    if not names.WORD.fullmatch(name) or name == "HEAD":
        raise UsageError(
            f"{name[:40]!r} cannot be the name of a remote", "use up to 128 letters, digits, '.', '_' and '-'"
        )
    _check_address(url)
    if repository.config.get("remotes", name) is not None:
        raise RefExists("remote", name, "choose another name, or `wvc remote remove` it first")
    found = Known(name, absolute(url))
    repository.config.set({"url": found.url}, "remotes", name)
    return found


def move(repository: Repository, name: str, url: str) -> Known:
    """Let a remote have another address: that of the same repository, as the next command will see.

    Raises UsageError.
    """
    known(repository, name)
    _check_address(url)
    repository.config.set(absolute(url), "remotes", name, "url")
    return known(repository, name)


def listed(repository: Repository) -> list[Known]:
    """All, by name."""
    table = repository.config.get("remotes") or {}
    return [_known(name, table[name]) for name in sorted(table) if isinstance(table[name], Mapping)]


def known(repository: Repository, name: str) -> Known:
    """Raises UsageError where there is none of that name."""
    for remote in listed(repository):
        if remote.name == name:
            return remote
    there = ", ".join(remote.name for remote in listed(repository))
    raise UsageError(f"there is no remote {name!r}", f"there is {there}" if there else "`wvc remote add NAME URL`")


def remove(repository: Repository, name: str) -> Known:
    """Forget a remote, and the branches that were seen there."""
    found = known(repository, name)
    prefix = f"{names.REMOTES}{name}/"
    moves = [Move(ref, id, None) for ref, id in repository.refs.items() if ref.startswith(prefix)]
    if moves:
        repository.record(None, moves, f"remote: remove {name}")
    repository.config.set(None, "remotes", name)
    _forget(repository, name)
    return found


def accept(repository: Repository, name: str) -> Known:
    """Forget how far the history of a remote was seen: it is taken as it is the next time."""
    found = known(repository, name)
    repository.config.set(None, "remotes", name, "pinned")
    _forget(repository, name)
    return Known(found.name, found.url)


def probe(repository: Repository, name: str) -> list[tuple[str, bool]]:
    """Try whether a remote keeps its promises."""
    with opened(known(repository, name)) as remote:
        return remote.probe()


def pin(repository: Repository, name: str, state: State) -> None:
    """Remember how far the history of a remote was seen."""
    repository.config.set([state.repository, state.number, state.hash], "remotes", name, "pinned")


def opened(remote: Known) -> Remote:
    """Raises Unreachable, UnknownFormat, UsageError for a kind of address that nobody here knows."""
    return at(remote.url)


def at(url: str) -> Remote:
    """The remote at an address: a folder, or what its scheme says."""
    found: Remote = plugins.load(DOOR, _kind(url)).open(url.removeprefix("file://"))
    return found


def _kind(url: str) -> str:
    """Behind which file of the door the place is. Raises UsageError."""
    scheme = SCHEME.match(url)
    kind = "folder" if scheme is None or scheme[1] == "file" else "http" if scheme[1] == "https" else scheme[1]
    if kind not in plugins.names(DOOR):
        raise UsageError(f"{scheme[1] if scheme else url}:// is no kind of remote here", "a folder, or http(s)://")
    return kind


def _check_address(url: str) -> None:
    """Raises UsageError for what can be no address, and for secrets, which the list of remotes would show."""
    if not url.strip():
        raise UsageError("an address is missing", "a folder, or http(s)://")
    if _kind(url) == "folder":
        return
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        raise UsageError("a secret in an address would be seen by others", "put it into WVC_TOKEN")
    if not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{url} is no address of a repository", "for example https://host:8420")


def _forget(repository: Repository, name: str) -> None:
    """Drop what is known of a remote. Nothing is lost: it can be asked again."""
    shutil.rmtree(repository.folder / "cache" / "remotes" / name, ignore_errors=True)


@contextmanager
def mirrored(repository: Repository, remote: Known) -> Iterator[Mirror]:
    """What is known of a remote, and a connection to it."""
    folder = repository.folder / "cache" / "remotes" / remote.name
    with opened(remote) as connection:
        mirror = Mirror(folder, connection, repository.folder / "packs")
        with mirror.locked():
            yield mirror


def absolute(url: str) -> str:
    """Folders by their whole path: the next command may begin elsewhere."""
    return url if SCHEME.match(url) else str(Path(url).expanduser().resolve())


def _known(name: str, table: Mapping[str, Any]) -> Known:
    pinned, url = table.get("pinned"), table.get("url")
    if not isinstance(url, str):
        raise WvcError(f"remote {name} has no url", f"wvc config remotes.{name}.url ADDRESS")
    seen = Pinned(str(pinned[0]), int(pinned[1]), str(pinned[2])) if isinstance(pinned, list) else None
    return Known(name, url, seen, bool(table.get("weights", True)))
