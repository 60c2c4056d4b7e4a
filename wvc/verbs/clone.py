"""Copy a repository: everything that its branches, tags and tasks need, checked on the way."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wvc.errors import Damage, UsageError, WvcError
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.commits import mentioned
from wvc.repo.config import Config, now
from wvc.repo.objects import Commit, parse
from wvc.repo.repository import Repository, create, is_empty
from wvc.store import threads
from wvc.store.batch import Batch
from wvc.store.blobs import Blob
from wvc.store.copies import Copy
from wvc.store.durable import disk, make_folder
from wvc.store.header import BITS, size_of
from wvc.store.packs import Pack
from wvc.store.reader import Reader
from wvc.store.records import Draft, Move, State
from wvc.store.scratch import scratch

COPIED = (names.TAGS, names.TASKS, names.PROBES)
Wanted = Mapping[str, int | None]  # ids, and of tensors the bytes that they must have

# Nothing says how large a side file must be: it may not be larger than this and so many times what is stored of it.
LARGE, PROPORTION = 1 << 30, 1000


def clone(source: Path, path: Path, branch: str | None = None, progress: Progress = SILENT) -> Repository:
    """Make a repository at `path` with a log of its own. Raises NotARepository, Damage, WvcError.

    branch: the one to begin on, or None for the source's own choice.
    """
    if not is_empty(path):
        raise WvcError(f"{path} exists and is not an empty folder", "name another folder")
    with disk(path), tempfile.TemporaryDirectory(prefix="wvc-", ignore_cleanup_errors=True) as folder:
        origin = Repository.source(source, Path(folder))
        return _clone(origin, origin.log.verify(), path, branch, progress)


def _clone(origin: Repository, state: State, path: Path, branch: str | None, progress: Progress) -> Repository:
    first = _first_branch(state.refs, branch, state.default_branch)
    moves = [Move(*move) for move in _moves(state.refs, first)]
    wanted = _reachable(origin, [move.new for move in moves if move.new is not None])
    attachments = _attachments(origin, wanted)
    draft = Draft(
        message=f"clone: {names.short(first)}",
        actor=Config(Path("/")).author(),
        created=now(),
        moves=tuple(moves),
        attachments=tuple(attachments),
        default_branch=names.short(first),
    )
    pinned = [state.repository, state.number, state.hash]
    settings = {"remotes.origin.url": str(origin.path.resolve()), "remotes.origin.pinned": pinned}
    return _make(origin, wanted | dict.fromkeys(attachments), path, draft, settings, progress)


def _make(
    origin: Repository, wanted: Wanted, path: Path, draft: Draft, settings: Mapping[str, Any], progress: Progress
) -> Repository:
    """The new repository; what fails leaves `path` as it was."""
    began_empty = make_folder(path)
    try:
        with scratch(path) as folder:
            packs = folder / "packs"
            copied = _copy(origin, wanted, packs, progress)
            return create(path, replace(draft, packs=copied), packs, str(draft.default_branch), settings)
    except BaseException:
        if began_empty:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _first_branch(refs: Mapping[str, str], wanted: str | None, default: str | None) -> str:
    """The named one, else the log's default, else main, else the only one; else the user must say."""
    branches = sorted(ref for ref in refs if ref.startswith(names.HEADS))
    if wanted is not None:
        if names.branch(wanted) not in branches:
            raise UsageError(f"the source has no branch {wanted!r}", "it has " + ", ".join(map(names.short, branches)))
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
        if ref == first or ref.startswith(COPIED):
            yield ref, None, id


def _reachable(origin: Repository, starts: Sequence[str]) -> dict[str, int | None]:
    """Everything that `starts` need: commits, their ancestors, manifests, tasks, probes, tensors, files.

    By id; of tensors the bytes that they must have.
    """
    wanted: dict[str, int | None] = {}
    done: set[str] = set()
    todo = list(starts)
    while todo:
        id = todo.pop()
        if id in done:
            continue
        done.add(id)
        wanted.setdefault(id, None)
        item = parse(origin.reader.object(id))
        if isinstance(item, Commit):
            manifest = origin.manifest(item)
            wanted |= dict.fromkeys([item.manifest, *(file for _, file in manifest.files)])
            wanted |= {tensor.id: size_of(tensor.dtype, tensor.shape) for tensor in manifest.tensors}
            todo += [*(parent.commit for parent in item.parents), *mentioned(item)]
    return wanted


def _attachments(origin: Repository, wanted: Container[str]) -> list[str]:
    """Statements about the commits that travel."""
    with origin.lineage.read() as connection:
        rows = connection.exec_driver_sql("SELECT id, subject FROM attachments ORDER BY number, id").all()
    return [id for id, subject in rows if subject in wanted]


def _copy(origin: Repository, wanted: Wanted, packs: Path, progress: Progress) -> tuple[str, ...]:
    """Write new packs with exactly what is wanted, each entry checked against its id."""
    packs.mkdir()
    opened = [Pack(origin.folder / "packs", name) for name in sorted(origin.log.head().packs)]
    objects = {id: pack for pack in opened for id in pack.objects() if id in wanted}
    entries = {id: pack for pack in opened for id in pack.ids() if id in wanted and id not in objects}
    missing = wanted.keys() - objects.keys() - entries.keys()
    if missing:
        origin.read(min(missing))  # raises an error that says what it is
        raise Damage(f"the source lacks {len(missing)} objects, {min(missing)[:12]} among them")
    shapes = [pack.entries[id].shape for id, pack in entries.items()]
    size = sum(pack.stored(id).size for id, pack in objects.items())
    progress.start("cloning", sum(pack.stored(id).raw for id, pack in entries.items()), "B")
    with Batch(packs, packs.parent / "tmp", Reader(packs, lambda _: ()), shapes, size) as batch:
        for id in objects:
            batch.put(origin.reader.object(id))
        _copy_entries(origin, {id: wanted[id] for id in entries}, batch, progress)
        progress.stop()
        return batch.publish()


def _copy_entries(origin: Repository, entries: Wanted, batch: Batch, progress: Progress) -> None:
    """Tensors and files as they are stored; a difference to what stays behind is stored anew."""
    depths: dict[str, int] = {}
    whole = threads.spread(lambda item: _whole(origin, *item), entries.items())
    for copy in sorted(whole, key=lambda copy: copy.stored.depth):
        stored = copy.stored
        if stored.base is None or depths.get(stored.base, stored.depth) < stored.depth:
            batch.copy(copy)
            depths[copy.id] = stored.depth
        else:
            numbers = stored.raw * 8 // BITS[stored.dtype]
            batch.store([Blob(stored.dtype, (numbers,), copy.piece)])
            depths[copy.id] = 0
        progress.advance(stored.raw)


def _whole(origin: Repository, id: str, size: int | None) -> Copy:
    """A copy that is what its id promises. Raises Damage, also for a file that would grow out of all proportion."""
    if size is None:
        stored = origin.reader.best(id).stored
        if stored.raw > max(LARGE, PROPORTION * stored.size):
            raise Damage(f"file {id[:12]} of {stored.size} bytes would grow to {stored.raw}")
    return origin.reader.whole(id, size)
