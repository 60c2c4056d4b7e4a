"""Bring what a remote has: its branches under refs/remotes, and all that they need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wvc.errors import Damage, RemoteProblem
from wvc.progress import SILENT, Progress
from wvc.repo import names
from wvc.repo.objects import Manifest
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve
from wvc.store.batch import Batch
from wvc.store.header import size_of
from wvc.store.records import Move, State
from wvc.verbs import remote
from wvc.verbs.mirror import Mirror
from wvc.verbs.transfer import Needed, Wanted, needed, pack, statements

SHARED = (names.TAGS, names.TASKS, names.PROBES)  # under the same name on both sides


@dataclass(frozen=True)
class Fetched:
    """moves: of refs here, by full name. received: bytes of weights that came. notes: what did not come, and why."""

    remote: str
    moves: tuple[Move, ...]
    received: int
    notes: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        moves = [{"ref": move.ref, "old": move.old, "new": move.new} for move in self.moves]
        return {"remote": self.remote, "refs": moves, "bytes": self.received, "notes": list(self.notes)}


def fetch(
    repository: Repository,
    name: str,
    branches: Sequence[str] = (),
    *,
    prune: bool = False,
    progress: Progress = SILENT,
) -> Fetched:
    """Bring all branches of remote `name`, or those named, with tags, tasks and probes.

    prune: forget branches that are no longer there. Raises what remotes raise, Rewound, Damage, RefMoved.
    """
    found = remote.known(repository, name)
    with remote.mirrored(repository, found) as mirror:
        state = mirror.update(found.pinned, progress)
        moves, notes = _moves(repository, name, state, branches, prune=prune)
        starts = [move.new for move in moves if move.new is not None]
        wanted = needed(mirror.repository, starts, repository.holds, weights=found.weights)
        said = statements(mirror.repository, wanted.commits)
        known = repository.holds(said)
        said = [id for id in said if id not in known]
        received = receive(repository, mirror, wanted, moves, said, f"fetch: {name}", progress)
        remote.pin(repository, name, state)
        return Fetched(name, tuple(moves), received, tuple(notes))


def complete(repository: Repository, name: str, revisions: Sequence[str] = (), progress: Progress = SILENT) -> Fetched:
    """Bring the weights of a history that came without them: of `revisions`, or of all from now on.

    Raises what remotes raise, Rewound, Damage, UnknownRevision.
    """
    ids = [resolve(repository, text) for text in revisions]
    everywhere = [id for ref, id in repository.refs.items() if ref.startswith((names.HEADS, names.REMOTES, *SHARED))]
    if ids:
        lacking = weights_of(repository.manifest(repository.commit(id)) for id in ids)
    else:
        lacking = dict(needed(repository, everywhere).weights)
    received = bring(repository, name, lacking, progress)
    if not ids:
        repository.config.set(True, "remotes", name, "weights")
    return Fetched(name, (), received)


def bring(repository: Repository, name: str, lacking: Wanted, progress: Progress = SILENT) -> int:
    """Bring of `lacking` what is not here and remote `name` has: bytes that came. Raises as `fetch` does."""
    found = remote.known(repository, name)
    with remote.mirrored(repository, found) as mirror:
        state = mirror.update(found.pinned, progress)
        there = mirror.repository.holds(lacking) - repository.holds(lacking)
        wanted = {id: size for id, size in lacking.items() if id in there}
        nothing = frozenset[str]()
        message = f"fetch: weights from {name}"
        received = receive(repository, mirror, Needed(nothing, nothing, wanted), (), (), message, progress)
        remote.pin(repository, name, state)
    return received


def weights_of(manifests: Iterable[Manifest]) -> dict[str, int | None]:
    """The tensors and side files that `manifests` name, as `Needed` has them."""
    found: dict[str, int | None] = {}
    for manifest in manifests:
        found |= dict.fromkeys(file for _, file in manifest.files)
        found |= {tensor.id: size_of(tensor.dtype, tensor.shape) for tensor in manifest.tensors}
    return found


def receive(
    repository: Repository,
    mirror: Mirror,
    wanted: Needed,
    moves: Sequence[Move],
    said: Sequence[str],
    message: str,
    progress: Progress,
) -> int:
    """Bring what is wanted, check it, and record it together with `moves`. Bytes of weights that are here now."""
    if not moves and not wanted.weights:
        return 0
    everything = Needed(wanted.commits, wanted.objects | frozenset(said), wanted.weights)
    own = repository.reader
    mirror.bring(wanted.weights, own.has, progress)
    theirs = mirror.repository.reader
    received = sum(theirs.best(id, size).stored.size for id, size in wanted.weights.items())
    with repository.batch([(1, 1, 1, 1)] * len(wanted.weights), size_of_objects(mirror, everything)) as batch:
        settle(mirror, everything, batch, repository, progress)
        if moves or everything.objects or everything.weights:
            repository.record(batch, list(moves), message, list(said))
    mirror.trim()
    return received


def settle(
    mirror: Mirror, wanted: Needed, batch: Batch, repository: Repository | None, progress: Progress = SILENT
) -> None:
    """Put what has come into `batch`. What came wrong is forgotten, so that it comes again the next time."""
    own = None if repository is None else repository.reader

    def depth_of(id: str) -> int | None:
        return own.best(id).stored.depth if own is not None and own.has(id) else None

    packs = [opened for opened in mirror.packs() if mirror.sparse(opened.name).complete]
    try:
        pack(mirror.reader(own), packs, wanted, batch, depth_of, progress)
    except Damage:
        mirror.distrust()
        raise


def size_of_objects(mirror: Mirror, wanted: Needed) -> int:
    """Bytes of the JSON objects."""
    return sum(opened.stored(id).size for opened in mirror.packs() for id in opened.objects() if id in wanted.objects)


def _moves(
    repository: Repository, name: str, state: State, branches: Sequence[str], *, prune: bool
) -> tuple[list[Move], list[str]]:
    """What becomes of the refs here, and what is to be said of it. Raises RemoteProblem."""
    there = {names.short(ref): id for ref, id in state.refs.items() if ref.startswith(names.HEADS)}
    unknown = [branch for branch in branches if branch not in there]
    if unknown:
        hint = "it has " + ", ".join(sorted(there)[:8]) if there else "it has none"
        raise RemoteProblem(f"{name} has no branch {unknown[0]!r}", hint)
    prefix = f"{names.REMOTES}{name}/"
    new = {prefix + branch: id for branch, id in there.items() if not branches or branch in branches}
    notes = []
    for ref, id in state.refs.items():
        if not ref.startswith(SHARED):
            continue
        if ref in repository.refs and repository.refs[ref] != id:
            notes.append(f"{ref.removeprefix('refs/')} is another one here, and stays")
        else:
            new[ref] = id
    moves = [Move(ref, repository.refs.get(ref), id) for ref, id in sorted(new.items())]
    if prune:
        gone = [ref for ref in repository.refs if ref.startswith(prefix) and ref.removeprefix(prefix) not in there]
        moves += [Move(ref, repository.refs[ref], None) for ref in sorted(gone)]
    return [move for move in moves if move.old != move.new], notes
