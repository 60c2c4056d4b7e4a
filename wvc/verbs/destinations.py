"""Which refs of a remote a push means, and what they shall name."""

from __future__ import annotations

from collections.abc import Sequence

from wvc.errors import NoCommitYet, UsageError
from wvc.repo import names
from wvc.repo.repository import Repository


def destinations(
    repository: Repository, refs: Sequence[str], *, all: bool = False, tags: bool = False, delete: bool = False
) -> dict[str, str | None]:
    """Full name of a ref there -> the commit that it shall name; None to remove it.

    refs: "BRANCH", "HERE:THERE" or ":THERE" to delete; HEAD's branch by default. all, tags: all branches, all tags.
    delete: remove `refs`. Raises UsageError, BadName, NoCommitYet.
    """
    found: dict[str, str | None] = {}
    for text in refs or (() if all or tags else (names.short(repository.branch),)):
        here, colon, there = text.partition(":")
        if delete or (colon and not here):
            found[_full(repository, there or here, exists=False)] = None
            continue
        source = _full(repository, here, exists=True)
        found[_full(repository, there, exists=False) if there else source] = repository.refs[source]
    for prefix, wanted in ((names.HEADS, all), (names.TAGS, tags)):
        if wanted:
            found |= {ref: id for ref, id in repository.refs.items() if ref.startswith(prefix)}
    if all and not found:
        raise UsageError("there is no branch to push yet", "commits make branches")
    return found


def _full(repository: Repository, name: str, *, exists: bool) -> str:
    """The branch or tag that `name` means. Raises UsageError, BadName."""
    known = [ref for ref in (name, names.HEADS + name, names.TAGS + name) if ref in repository.refs]
    if known:
        return known[0]
    if exists and names.HEADS + name == repository.branch:
        raise NoCommitYet(name)
    if exists:
        raise UsageError(
            f"there is no branch or tag {name!r}", "`wvc branch` lists them; commits need a branch to travel"
        )
    if name.startswith("refs/") and not name.startswith((names.HEADS, names.TAGS)):
        raise UsageError(
            f"{name} is no branch and no tag", "tasks and probes go along with the commits that mention them"
        )
    if name.startswith(names.TAGS):
        return names.tag(name.removeprefix(names.TAGS))
    return names.branch(name.removeprefix(names.HEADS))
