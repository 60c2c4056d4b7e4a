"""Bring a remote's branch and let the current one follow it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from wvc.errors import MergeProblem, UsageError
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.store.records import Move
from wvc.verbs import merge, terms
from wvc.verbs.fetch import Fetched, fetch


@dataclass(frozen=True)
class Pulled:
    """fetched: what came. move: of the current branch, None where it stays. merged: what a merge came to."""

    fetched: Fetched
    move: Move | None
    merged: terms.Merged | None = None

    def json(self) -> dict[str, Any]:
        move = None if self.move is None else {"ref": self.move.ref, "old": self.move.old, "new": self.move.new}
        merged = None if self.merged is None else self.merged.json()
        return {"fetched": self.fetched.json(), "moved": move, "merged": merged}


def pull(
    repository: Repository,
    name: str,
    branch: str | None = None,
    merging: terms.Options | None = None,
    progress: Progress = SILENT,
) -> Pulled:
    """Fetch, then fast-forward to `branch` of remote `name`, or merge it as `merging` says.

    branch: the one of the current branch's name by default. merging: None where nothing may be merged.
    Raises MergeProblem where both sides have moved, and whatever fetch and merge raise.
    """
    wanted = branch or names.short(repository.branch)
    fetched = fetch(repository, name, progress=progress)
    ref = f"{names.REMOTES}{name}/{wanted}"
    theirs, ours = repository.refs.get(ref), repository.refs.get(repository.branch)
    if theirs is None:
        there = [names.short(other) for other in sorted(repository.refs) if other.startswith(f"{names.REMOTES}{name}/")]
        hint = f"it has {', '.join(there[:8])}" if there else "it has no branch"
        raise UsageError(f"{name} has no branch {wanted!r}", hint)
    graph = Graph(repository)
    if ours is not None and graph.is_ancestor(theirs, ours):
        return Pulled(fetched, None)
    if ours is None or graph.is_ancestor(ours, theirs):
        move = Move(repository.branch, ours, theirs)
        repository.record(None, [move], f"pull: fast-forward to {names.short(ref)}")
        return Pulled(fetched, move)
    if merging is None:
        raise MergeProblem(
            f"{names.short(repository.branch)} and {names.short(ref)} have both moved",
            f"`wvc pull --merge --task T` joins them by validation, `wvc reset {names.short(ref)}` drops yours",
        )
    merged = merge.merge(repository, [names.short(ref)], replace(merging, with_head=True), progress)
    return Pulled(fetched, None, merged)
