"""Make, remove and rename branches: names for commits, nothing else."""

from __future__ import annotations

import difflib

from wvc.errors import RefExists, WvcError
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.records import Move


def create(repository: Repository, name: str, start: str = "HEAD", *, force: bool = False) -> Move:
    """Let branch `name` name the commit `start`. Raises BadName, RefExists, UnknownRevision."""
    ref, id = names.branch(name), resolve(repository, start)
    old = repository.refs.get(ref)
    if old is not None and not force:
        raise RefExists("branch", name)
    move = Move(ref, old, id)
    repository.record(None, [move], f"branch: from {start}")
    return move


def delete(repository: Repository, name: str) -> Move:
    """Remove branch `name`, not its commits. Raises WvcError where there is none, or it is the current one."""
    ref = names.branch(name)
    if ref == repository.branch:
        raise WvcError(f"{name!r} is the current branch", "switch to another one first")
    move = Move(ref, tip(repository, name), None)
    repository.record(None, [move], "branch: deleted")
    return move


def rename(repository: Repository, old: str, new: str, *, force: bool = False) -> Move:
    """Call branch `old` `new`; HEAD goes with it. Raises BadName, RefExists, WvcError where there is none."""
    before, after = names.branch(old), names.branch(new)
    taken = repository.refs.get(after)
    if taken is not None and not force and before != after:
        raise RefExists("branch", new)
    current = repository.branch == before
    if current and before not in repository.refs:  # without a commit, a branch is but a word in HEAD
        repository.switch(after)
        return Move(after, None, None)
    move = Move(after, taken, tip(repository, old))
    if before == after:
        return move
    if current:
        repository.switch(after)  # first, so that the same command can be run again if it is killed in between
    try:
        repository.record(None, [Move(before, move.new, None), move], f"branch: renamed from {old}")
    except BaseException:
        if current and before in repository.refs:
            repository.switch(before)
        raise
    return move


def tip(repository: Repository, name: str) -> str:
    """The commit that branch `name` names. Raises WvcError with a near match where there is none."""
    id = repository.refs.get(names.branch(name))
    if id is None:
        known = [names.short(ref) for ref in repository.refs if ref.startswith(names.HEADS)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"`wvc switch -c {name}` starts one at HEAD"
        raise WvcError(f"there is no branch {name!r}", hint)
    return id
