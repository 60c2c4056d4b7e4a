"""What is known of history besides the commits: which refs name them, where refs have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from wvc.repo import names
from wvc.repo.repository import Repository
from wvc.repo.schema import MoveRow


@dataclass(frozen=True)
class Line:
    """One move of a ref, as `reflog` shows it.

    back: how many moves ago, so that `ref@{back}` is `new`.
    old, new: what it named before and after; None is 'not there'.
    """

    ref: str
    back: int
    old: str | None
    new: str | None
    created: int
    actor: str
    message: str


def reflog(repository: Repository, ref: str) -> list[Line]:
    """Where `ref`, a full name, has been, the newest first; a deleted ref keeps its history."""
    with repository.lineage.read() as connection:
        query = select(MoveRow).where(MoveRow.ref == ref).order_by(MoveRow.number.desc())
        rows = connection.execute(query).all()
    return [Line(ref, i, r.old, r.new, r.created, r.actor, r.message) for i, r in enumerate(rows)]


def ever_named(repository: Repository, prefix: str) -> list[str]:
    """Every commit that a ref below `prefix` has named, also one that is deleted or was moved, the oldest first."""
    with repository.lineage.read() as connection:
        query = select(MoveRow).where(MoveRow.ref.startswith(prefix), MoveRow.new.is_not(None)).order_by(MoveRow.number)
        rows = connection.execute(query).all()
    return list(dict.fromkeys(str(row.new) for row in rows))


def refs_by_commit(repository: Repository) -> Mapping[str, list[str]]:
    """Commit id -> full names of the branches, remote-tracking names and tags that name it, in this order."""
    found: dict[str, list[str]] = {}
    for prefix in (names.HEADS, names.REMOTES, names.TAGS):
        for ref, id in sorted(repository.refs.items()):
            if ref.startswith(prefix):
                found.setdefault(id, []).append(ref)
    return found
