"""Let the current branch name another commit; the one it named stays in the reflog."""

from __future__ import annotations

from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.records import Move


def reset(repository: Repository, revision: str) -> Move:
    """Move the current branch to the commit `revision`. Raises UnknownRevision, RefMoved."""
    branch, id = repository.branch, resolve(repository, revision)
    move = Move(branch, repository.refs.get(branch), id)
    if move.old != id:
        repository.record(None, [move], f"reset: to {revision}")
    return move
