"""Send branches to a remote: first what they need and it lacks, then one transaction that moves all of them or none."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from wvc.errors import MissingObject, RemoteProblem, Unclear, UsageError
from wvc.progress import SILENT, Progress
from wvc.remotes import Remote
from wvc.repo import names
from wvc.repo.commits import mentioned
from wvc.repo.config import now
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.store.batch import Batch
from wvc.store.log import LARGEST, compose
from wvc.store.packs import SUFFIX
from wvc.store.reader import Reader
from wvc.store.records import Draft, Move, State
from wvc.store.scratch import scratch
from wvc.verbs import remote
from wvc.verbs.destinations import destinations
from wvc.verbs.mirror import Mirror, Pinned
from wvc.verbs.transfer import Needed, needed, pack, statements

ATTEMPTS = 100  # to be the next in the remote's log


@dataclass(frozen=True)
class Options:
    """What to push, and how much to insist.

    refs: "BRANCH", "HERE:THERE" or ":THERE" to delete; HEAD's branch by default. all, tags: all branches, all tags.
    delete: remove the branches named from the remote. force: move branches there whatever they were.
    lease: full name of a ref there -> where it must be still; for `force` that undoes nobody's work.
    """

    refs: tuple[str, ...] = ()
    all: bool = False
    tags: bool = False
    delete: bool = False
    force: bool = False
    lease: Mapping[str, str | None] | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Pushed:
    """moves: of refs there, by full name. sent: bytes of packs. notes: what stayed behind, and why.

    dry: nothing was sent; `sent` is then what that takes at least.
    """

    remote: str
    url: str
    moves: tuple[Move, ...]
    sent: int
    notes: tuple[str, ...] = ()
    dry: bool = False

    def json(self) -> dict[str, Any]:
        moves = [{"ref": move.ref, "old": move.old, "new": move.new} for move in self.moves]
        return {
            "remote": self.remote,
            "refs": moves,
            "bytes": self.sent,
            "notes": list(self.notes),
            "dry_run": self.dry,
        }


def push(repository: Repository, name: str, options: Options, progress: Progress = SILENT) -> Pushed:
    """Raises RemoteProblem where the remote's branches have what is not here, Damage, UsageError; as remotes do."""
    found = remote.known(repository, name)
    targets = destinations(repository, options.refs, all=options.all, tags=options.tags, delete=options.delete)
    with remote.mirrored(repository, found) as mirror:
        sender = _Sender(repository, mirror, found.name, targets, options, progress)
        pushed = sender.send(found.pinned)
        if not options.dry_run:
            _remember(repository, name, pushed, sender.state)
        return pushed


def _remember(repository: Repository, name: str, pushed: Pushed, state: State) -> None:
    """What the remote has now, as far as is known here."""
    prefix = f"{names.REMOTES}{name}/"
    there = {prefix + names.short(m.ref): m.new for m in pushed.moves if m.ref.startswith(names.HEADS)}
    moves = [Move(ref, repository.refs.get(ref), id) for ref, id in there.items() if repository.refs.get(ref) != id]
    if moves:
        repository.record(None, moves, f"push: {name}")
    remote.pin(repository, name, state)


class _Sender:
    """One push. state: of the remote, as it was seen last."""

    def __init__(
        self,
        repository: Repository,
        mirror: Mirror,
        name: str,
        targets: Mapping[str, str | None],
        options: Options,
        progress: Progress,
    ) -> None:
        self._repository, self._mirror, self._name = repository, mirror, name
        self._targets, self._options, self._progress = targets, options, progress
        self._sent: dict[str, str] = {}  # packs that are there, by the hash of their header
        self._bytes = 0
        self.state = State("")

    def send(self, pinned: Pinned | None) -> Pushed:
        self.state = self._mirror.update(pinned, self._progress)
        moves, notes = self._moves()
        if not moves:
            return self._pushed(moves, notes)
        draft = self._prepared(moves)
        if self._options.dry_run:
            return self._pushed(moves, notes)
        for attempt in range(ATTEMPTS):
            if self._announce(draft):
                self.state = self._mirror.update(pinned, self._progress)
                return self._pushed(moves, notes)
            time.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))
            # Somebody was first. Mostly with something else: then all but the number stays, and others wait less.
            self.state = self._mirror.follow(pinned)
            if any(self.state.refs.get(move.ref) != move.old for move in moves):
                self.state = self._mirror.update(pinned, self._progress)
                moves, notes = self._moves()
                if not moves:
                    return self._pushed(moves, notes)
                draft = self._prepared(moves)
        raise RemoteProblem(f"too many others push to {self._mirror.remote.url} at once", "try again")

    def _pushed(self, moves: Sequence[Move], notes: Sequence[str]) -> Pushed:
        dry = self._options.dry_run
        return Pushed(self._name, self._mirror.remote.url, tuple(moves), self._bytes, tuple(notes), dry)

    def _announce(self, draft: Draft) -> bool:
        """Put the transaction. False if somebody else was first."""
        transaction, data = compose(self.state, draft)
        return announce(self._mirror.remote, f"{transaction.number:012d}.json", data)

    def _prepared(self, moves: Sequence[Move]) -> Draft:
        """The transaction, once the packs that it needs are there; in a dry run, once it is known what they are."""
        there = self._mirror.repository.holds
        wanted = needed(self._repository, [move.new for move in moves if move.new is not None], there)
        said = statements(self._repository, wanted.commits)
        known = there(said)
        said = [id for id in said if id not in known]
        everything = Needed(wanted.commits, wanted.objects | frozenset(said), wanted.weights)
        draft = Draft(
            message=f"push: {', '.join(names.short(move.ref) for move in moves)}",
            actor=self._mirror.remote.actor or self._repository.config.author(),
            created=now(),
            moves=tuple(moves),
            attachments=tuple(said),
        )
        transaction, data = compose(self.state, draft)
        self._mirror.remote.ask(f"{transaction.number:012d}.json", data)
        if self._options.dry_run:
            best = self._repository.reader.best
            self._bytes = sum(best(id).stored.size for id in (*everything.objects, *everything.weights))
            return draft
        return replace(draft, packs=self._packs(everything))

    def _packs(self, wanted: Needed) -> tuple[str, ...]:
        """Names of the packs that are there now, and that nobody knows of yet."""
        if not wanted.objects and not wanted.weights:
            return ()
        theirs = self._mirror.repository.reader

        def depth_of(id: str) -> int | None:
            return theirs.best(id).stored.depth if theirs.has(id) else None

        own = self._repository
        with scratch(own.folder / "tmp") as folder:
            packs = folder / "packs"
            packs.mkdir()
            opened = [own.reader.pack(name) for name in sorted(own.log.head().packs)]
            size = sum(pack.stored(id).size for pack in opened for id in pack.objects() if id in wanted.objects)
            shapes = [(1, 1, 1, 1)] * len(wanted.weights)
            with Batch(packs, folder / "tmp", Reader(packs, lambda _: ()), shapes, size) as batch:
                # What lies here was whole when it came or was made, and who receives it decodes it anyway.
                pack(own.reader, opened, wanted, batch, depth_of, self._progress, raw=False)
                made = batch.publish()
            return self._upload(packs, made)

    def _upload(self, folder: Path, made: Sequence[str]) -> tuple[str, ...]:
        """Put packs there; what an earlier attempt put there already need not go again."""
        files = [(name, folder / (name + SUFFIX)) for name in made if _hash(name) not in self._sent]
        self._progress.start("sending", sum(path.stat().st_size for _, path in files), "B")
        for name, path in files:
            size = path.stat().st_size
            with path.open("rb") as file:
                counted = cast(BinaryIO, _Counted(file, self._progress.advance))
                if not self._mirror.remote.put("packs", name + SUFFIX, counted, size):
                    raise RemoteProblem(f"{self._mirror.remote.url} has another pack {name[:12]}", "try again")
            self._sent[_hash(name)] = name
            self._bytes += size
        self._progress.stop()
        return tuple(self._sent[_hash(name)] for name in made)

    def _moves(self) -> tuple[list[Move], list[str]]:
        """What becomes of the refs there. Raises RemoteProblem where that would undo what others did."""
        options, notes = self._options, []
        moves = [Move(ref, self.state.refs.get(ref), id) for ref, id in self._targets.items()]
        for move in moves:
            self._check(move)
        for ref, id in _mentioned(self._repository, [id for id in self._targets.values() if id is not None]).items():
            old = self.state.refs.get(ref)
            if old is None:
                moves.append(Move(ref, None, id))
            elif old != id:
                notes.append(f"{ref.removeprefix('refs/')} is another one there, and stays")
        missing = [move.ref for move in moves if move.old is None and move.new is None]
        if missing and options.delete:
            raise UsageError(
                f"{self._name} has no {names.short(missing[0])}", "`wvc branch --all` lists what was seen there"
            )
        return [move for move in moves if move.old != move.new], notes

    def _check(self, move: Move) -> None:
        options, short = self._options, names.short(move.ref)
        if options.lease is not None and move.ref in options.lease and options.lease[move.ref] != move.old:
            raise RemoteProblem(
                f"{short} at {self._name} is not where you saw it", "`wvc fetch`, look, then push again"
            )
        if move.old is None or move.new is None or move.old == move.new or options.force or options.lease is not None:
            return
        if move.ref.startswith(names.TAGS):
            raise RemoteProblem(f"tag {short} at {self._name} is another one", "tags stay; --force moves it")
        if not self._repository.reader.has(move.old):
            hint = f"`wvc pull {self._name} {short}` brings it, then push again"
            raise RemoteProblem(f"{short} at {self._name} has what is not here", hint)
        if not Graph(self._repository).is_ancestor(move.old, move.new):
            hint = f"`wvc pull --merge {self._name} {short}` joins both, or `wvc push --force-with-lease` replaces it"
            raise RemoteProblem(f"{short} at {self._name} is no ancestor of what would be pushed", hint)


class _Counted(io.RawIOBase):
    """A file that tells how far it was read."""

    def __init__(self, file: io.BufferedReader, advance: Callable[[int], None]) -> None:
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._advance(len(data))
        return data


def announce(place: Remote, name: str, data: bytes) -> bool:
    """Put a record into the log of `place`. False if another one is there. A lost reply is settled by looking."""
    try:
        return place.put("log", name, io.BytesIO(data), len(data))
    except Unclear:
        pass
    try:
        there = b"".join(place.read("log", name, 0, LARGEST))
    except MissingObject:
        return False
    return there == data


def _mentioned(repository: Repository, tips: Sequence[str]) -> dict[str, str]:
    """Refs of the tasks and probes that the history of `tips` names: they travel along."""
    reached = set(Graph(repository).ancestors(list(tips)))
    ids = {id for commit in reached for id in mentioned(repository.commit(commit))}
    prefixes = (names.TASKS, names.PROBES)
    return {ref: id for ref, id in repository.refs.items() if ref.startswith(prefixes) and id in ids}


def _hash(name: str) -> str:
    return name.split(".", maxsplit=1)[0]
