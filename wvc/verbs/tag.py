"""Make and remove tags: names for commits that stay where they are."""

from __future__ import annotations

from wvc.errors import RefExists, UnknownRevision
from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.records import Move


def create(repository: Repository, name: str, revision: str = "HEAD", *, force: bool = False) -> Move:
    """Let tag `name` name the commit `revision`. Raises BadName, RefExists, UnknownRevision."""
    ref, id = names.tag(name), resolve(repository, revision)
    old = repository.refs.get(ref)
    if old is not None and not force:
        raise RefExists("tag", name)
    move = Move(ref, old, id)
    repository.record(None, [move], f"tag: {revision}")
    return move


def delete(repository: Repository, name: str) -> Move:
    """Remove tag `name`. Raises UnknownRevision."""
    ref = names.tag(name)
    if ref not in repository.refs:
        raise UnknownRevision(name)
    move = Move(ref, repository.refs[ref], None)
    repository.record(None, [move], "tag: deleted")
    return move
