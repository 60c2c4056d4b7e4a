"""Copy a repository: everything that its branches, tags and tasks need, checked on the way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from wvc.errors import UsageError, WvcError
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.config import Config, now
from wvc.repo.repository import Repository, create, is_empty
from wvc.store.batch import Batch
from wvc.store.durable import disk, make_folder
from wvc.store.reader import Reader
from wvc.store.records import Draft, Move, State
from wvc.store.scratch import scratch
from wvc.verbs import remote
from wvc.verbs.fetch import SHARED, settle, size_of_objects
from wvc.verbs.mirror import Mirror
from wvc.verbs.transfer import Needed, needed, statements


def clone(
    source: str | Path, path: Path, branch: str | None = None, *, weights: bool = True, progress: Progress = SILENT
) -> Repository:
    """Make a repository at `path` with a log of its own. Raises Unreachable, Damage, WvcError; as remotes do.

    source: address of a remote. branch: the one to begin on, or None for the source's own choice.
    weights: False for the history alone; weights come when `fetch --weights` asks for them.
    """
    if not is_empty(path):
        raise WvcError(f"{path} exists and is not an empty folder", "name another folder")
    url = remote.absolute(str(source))
    with disk(path):
        began_empty = make_folder(path)
        try:
            with scratch(path) as folder, remote.at(url) as place:
                mirror = Mirror(folder / "mirror", place)
                return _clone(mirror, mirror.update(None, progress), path, folder, branch, url, weights, progress)
        except BaseException:
            if began_empty:
                shutil.rmtree(path, ignore_errors=True)
            raise


def _clone(
    mirror: Mirror,
    state: State,
    path: Path,
    folder: Path,
    branch: str | None,
    url: str,
    weights: bool,
    progress: Progress,
) -> Repository:
    first = _first_branch(state.refs, branch, state.default_branch)
    moves = [Move(*move) for move in _moves(state.refs, first)]
    wanted = needed(mirror.repository, [move.new for move in moves if move.new is not None], weights=weights)
    said = statements(mirror.repository, wanted.commits)
    everything = Needed(wanted.commits, wanted.objects | frozenset(said), wanted.weights)
    mirror.bring(wanted.weights, lambda id: False, progress)
    draft = Draft(
        message=f"clone: {names.short(first)}",
        actor=Config(Path("/")).author(),
        created=now(),
        moves=tuple(moves),
        attachments=tuple(said),
        default_branch=names.short(first),
    )
    pinned = [state.repository, state.number, state.hash]
    settings: dict[str, Any] = {"remotes.origin.url": url, "remotes.origin.pinned": pinned}
    if not weights:
        settings["remotes.origin.weights"] = False
    packs = folder / "packs"
    packs.mkdir()
    shapes = [(1, 1, 1, 1)] * len(wanted.weights)
    size = size_of_objects(mirror, everything)
    with Batch(packs, folder / "tmp", Reader(packs, lambda _: ()), shapes, size) as batch:
        settle(mirror, everything, batch, None, progress)
        made = replace(draft, packs=batch.publish())
    return create(path, made, packs, str(draft.default_branch), settings)


def _first_branch(refs: Mapping[str, str], wanted: str | None, default: str | None) -> str:
    """The named one, else the log's default, else main, else the only one; else the user must say."""
    branches = sorted(ref for ref in refs if ref.startswith(names.HEADS))
    if wanted is not None:
        if names.branch(wanted) not in branches:
            there = ", ".join(map(names.short, branches))
            raise UsageError(f"the source has no branch {wanted!r}", f"it has {there}" if there else "it is empty")
        return names.branch(wanted)
    for name in (default, "main"):
        if name is not None and names.HEADS + name in branches:
            return names.HEADS + name
    if len(branches) > 1:
        raise UsageError("which branch?", "name one with --branch: " + ", ".join(map(names.short, branches)))
    return branches[0] if branches else names.HEADS + (default or "main")


def _moves(refs: Mapping[str, str], first: str) -> Iterator[tuple[str, None, str]]:
    for ref, id in sorted(refs.items()):
        if ref.startswith(names.HEADS):
            yield names.REMOTES + "origin/" + names.short(ref), None, id
        if ref == first or ref.startswith(SHARED):
            yield ref, None, id
