"""Let HEAD name another branch; there are no files to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wvc.errors import Damage, RefExists, UsageError, WvcError
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.durable import disk, replace
from wvc.store.records import Move
from wvc.verbs.branch import tip


@dataclass(frozen=True)
class Switched:
    """branch, previous: full names. source: what a branch that was just made was made from; None for an old one."""

    branch: str
    previous: str
    source: str | None = None


def switch(repository: Repository, name: str) -> Switched:
    """Switch to branch `name`, "-" for the one before. Raises WvcError where there is none.

    A name that only one remote knows becomes a branch of one's own.
    """
    if name == "-":
        return _go(repository, _before(repository))
    ref = names.branch(name)
    if ref in repository.refs or ref == _current(repository):
        return _go(repository, ref)
    remote = [r for r in repository.refs if r.startswith(names.REMOTES) and names.short(r).partition("/")[2] == name]
    if len(remote) > 1:
        known = ", ".join(map(names.short, remote))
        raise UsageError(f"several remotes have a branch {name!r}", f"`wvc switch -c {name} REV` with one of {known}")
    if not remote:
        tip(repository, name)
    return _make(repository, ref, repository.refs[remote[0]], names.short(remote[0]))


def begin(repository: Repository, name: str, start: str = "HEAD") -> Switched:
    """Make branch `name` at the commit `start` and switch to it. Raises BadName, RefExists, UnknownRevision."""
    ref = names.branch(name)
    if ref in repository.refs:
        raise RefExists("branch", name)
    if start == "HEAD" and repository.branch not in repository.refs:
        return _go(repository, ref)  # nothing is there yet, and nothing is there under the new name
    return _make(repository, ref, resolve(repository, start), start)


def _current(repository: Repository) -> str:
    """The branch that HEAD names, or the default one where HEAD is damaged, which switching mends."""
    try:
        return repository.branch
    except Damage:
        return names.branch(repository.log.head().default_branch or "main")


def _make(repository: Repository, ref: str, id: str, source: str) -> Switched:
    repository.record(None, [Move(ref, None, id)], f"branch: from {source}")
    return _go(repository, ref, source)


def _go(repository: Repository, ref: str, source: str | None = None) -> Switched:
    previous = _current(repository)
    if ref != previous:
        with disk(repository.folder):
            replace(_note(repository), previous.encode("ascii"), repository.folder / "tmp")
    repository.switch(ref)
    return Switched(ref, previous, source)


def _before(repository: Repository) -> str:
    try:
        ref = _note(repository).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        ref = ""
    if ref not in repository.refs:
        raise WvcError("there is no branch to go back to", "name one; `wvc branch` lists them")
    return ref


def _note(repository: Repository) -> Path:
    """Which branch was left last: worth remembering, not worth missing."""
    return repository.folder / "cache" / "previous-branch"
