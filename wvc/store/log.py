"""The log: numbered, hash-chained transactions, each put where nothing was before.

Put-if-absent of the next number is the one primitive: it is the compare-and-swap for refs, it makes moving several
refs atomic, and the chain of records is the reflog.
"""

from __future__ import annotations

import errno
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wvc.errors import CorruptLog, RefMoved, WvcError
from wvc.store.canonical import Json, digest, dumps, loads
from wvc.store.durable import create
from wvc.store.packs import ID, NAME

TYPE = "wvc.transaction/1"
EVERY = 256  # transactions between two that carry the full state
RETRIES = 64
LARGEST = 2**26  # bytes of one record; a full state with 100,000 packs has 9 MB
REF = re.compile(r"refs(/(?!\.)[A-Za-z0-9_.-]{1,128}(?<!\.)){1,16}")


@dataclass(frozen=True)
class Move:
    """A ref that goes from one object to another; None is 'not there'."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Transaction:
    """One record of the log.

    number: 1, 2, 3 ... without gaps.
    previous: SHA-256 of the record before, None for the first.
    nonce: random; tells whose record it is when a reply was lost.
    repository: random id of the repository, the same in all its records.
    created: seconds since 1970, informational.
    packs: names of packs that now count.
    attachments: ids of attachments that now count.
    condemned: names of packs that nobody may rely on any more.
    default_branch: set in the first record, or when it changes.
    """

    number: int
    previous: str | None
    nonce: str
    repository: str
    created: int
    actor: str
    message: str
    moves: tuple[Move, ...] = ()
    packs: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    condemned: tuple[str, ...] = ()
    default_branch: str | None = None

    def json(self) -> dict[str, Json]:
        names = ("number", "previous", "nonce", "repository", "created", "actor", "message", "default_branch")
        return {
            "_type": TYPE,
            **{name: getattr(self, name) for name in names},
            "moves": [[m.ref, m.old, m.new] for m in self.moves],
            "packs": list(self.packs),
            "attachments": list(self.attachments),
            "condemned": list(self.condemned),
        }


@dataclass(frozen=True)
class State:
    """What the log says in sum, up to and including transaction `number` with hash `hash`."""

    repository: str
    number: int = 0
    hash: str | None = None
    refs: Mapping[str, str] = field(default_factory=dict)
    packs: frozenset[str] = frozenset()
    condemned: frozenset[str] = frozenset()
    default_branch: str | None = None

    def after(self, transaction: Transaction, hash: str) -> State:
        """The state once `transaction` has happened. Raises CorruptLog where it cannot follow this one."""
        if transaction.number != self.number + 1 or transaction.previous != self.hash:
            raise CorruptLog(transaction.number, "it does not follow the one before it")
        if self.number and transaction.repository != self.repository:
            raise CorruptLog(transaction.number, "it belongs to another repository")
        refs = dict(self.refs)
        for move in transaction.moves:
            if refs.pop(move.ref, None) != move.old:
                raise CorruptLog(transaction.number, f"it moves {move.ref} from where it was not")
            if move.new is not None:
                refs[move.ref] = move.new
        return State(
            repository=transaction.repository,
            number=transaction.number,
            hash=hash,
            refs=refs,
            packs=(self.packs | set(transaction.packs)) - set(transaction.condemned),
            condemned=self.condemned | set(transaction.condemned),
            default_branch=transaction.default_branch or self.default_branch,
        )

    def json(self) -> Json:
        return {
            "refs": dict(self.refs),
            "packs": sorted(self.packs),
            "condemned": sorted(self.condemned),
            "default_branch": self.default_branch,
        }


@dataclass(frozen=True)
class Draft:
    """What a transaction shall say; the log adds number, chain and nonce.

    needs: names of packs that the new objects rely on, added or reused; none of them may be condemned.
    """

    message: str
    actor: str
    created: int
    moves: tuple[Move, ...] = ()
    packs: tuple[str, ...] = ()
    attachments: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    default_branch: str | None = None


class Log:
    """The records in a folder. Reading needs no lock; any number of writers may append at once."""

    def __init__(self, folder: Path, tmp: Path) -> None:
        self._folder, self._tmp = folder, tmp
        self._head: State | None = None

    def head(self) -> State:
        """The newest state, read on from the last time. Raises CorruptLog."""
        last = 0
        if self._head is None:
            last, self._head = self._last(), self._from_checkpoint()
        while (data := self._read(self._head.number + 1)) is not None:
            transaction, _ = _parse(data, self._head.number + 1)
            self._head = self._head.after(transaction, digest(data))
        if self._head.number < last:
            missing, self._head = self._head.number + 1, None  # nothing may be written over a gap
            raise CorruptLog(missing, "it is missing")
        return self._head

    def read(self, number: int) -> tuple[Transaction, str]:
        """Transaction `number` and its hash. Raises CorruptLog."""
        data = self._read(number)
        if data is None:
            raise CorruptLog(number, "it is missing")
        return _parse(data, number)[0], digest(data)

    def since(self, number: int) -> Iterator[tuple[Transaction, str]]:
        """All transactions after `number`, oldest first, with their hashes."""
        while (data := self._read(number := number + 1)) is not None:
            yield _parse(data, number)[0], digest(data)

    def append(self, draft: Callable[[State], Draft], *, first: str | None = None) -> Transaction:
        """Append what `draft` makes of the newest state, again after every lost race. Raises RefMoved.

        first: the repository id, for transaction 1.
        """
        for attempt in range(RETRIES):
            state = State(first) if first else self.head()
            wanted = draft(state)
            _check(state, wanted)
            transaction = _transaction(state, wanted)
            if self._put(transaction, state):
                self._head = None if first else self._head
                return transaction
            time.sleep(random.uniform(0, min(0.5, 0.002 * 2**attempt)))
        raise WvcError("too many others write to this repository at once", "try again")

    def verify(self) -> State:
        """Read every record from the first and check chain and checkpoints. Raises CorruptLog."""
        state = State("")
        for number in range(1, self._last() + 1):
            data = self._read(number)
            if data is None:
                raise CorruptLog(number, "it is missing")
            transaction, checkpoint = _parse(data, number)
            state = state.after(transaction, digest(data))
            if (number % EVERY == 0) != (checkpoint is not None):
                raise CorruptLog(number, f"every {EVERY}th record carries the full state, and no other")
            if checkpoint is not None and checkpoint != state.json():
                raise CorruptLog(number, "the full state in it is not the sum of what came before")
        return state

    def _put(self, transaction: Transaction, state: State) -> bool:
        value = transaction.json()
        if transaction.number % EVERY == 0:
            value["state"] = state.after(transaction, "").json()
        try:
            create(self._path(transaction.number), dumps(value), self._tmp)
        except FileExistsError:
            return False
        return True

    def _from_checkpoint(self) -> State:
        """The newest full state, or the state before transaction 1."""
        number = self._last() // EVERY * EVERY
        if number == 0:
            return State("")
        data = self._read(number)
        if data is None:
            raise CorruptLog(number, "it is missing")
        transaction, full = _parse(data, number)
        if full is None:
            raise CorruptLog(number, "it should hold the full state")
        packs, condemned = frozenset(full["packs"]), frozenset(full["condemned"])
        return State(
            transaction.repository, number, digest(data), full["refs"], packs, condemned, full["default_branch"]
        )

    def _last(self) -> int:
        with os.scandir(self._folder) as entries:
            numbers = [int(e.name[:12]) for e in entries if re.fullmatch(r"\d{12}\.json", e.name)]
        return max(numbers, default=0)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.json"

    def _read(self, number: int) -> bytes | None:
        try:
            fd = os.open(self._path(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                data = file.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR):
                raise
            raise CorruptLog(number, "a link or a folder is in its place") from None
        if len(data) > LARGEST:
            raise CorruptLog(number, "it is far too large")
        return data


def _check(state: State, draft: Draft) -> None:
    if len({move.ref for move in draft.moves}) < len(draft.moves):
        raise WvcError("one transaction cannot move a ref twice")
    for move in draft.moves:
        if not REF.fullmatch(move.ref):
            raise WvcError(f"{move.ref!r} is not a valid ref")
        if state.refs.get(move.ref) != move.old:
            raise RefMoved(move.ref.removeprefix("refs/heads/"))
    if draft.needs & state.condemned:
        raise WvcError("a pack that this needs was just condemned by gc", "try again")


def _transaction(state: State, draft: Draft) -> Transaction:
    return Transaction(
        number=state.number + 1,
        previous=state.hash,
        nonce=secrets.token_hex(16),
        repository=state.repository,
        created=draft.created,
        actor=draft.actor,
        message=draft.message,
        moves=draft.moves,
        packs=draft.packs,
        attachments=draft.attachments,
        default_branch=draft.default_branch,
    )


def _parse(data: bytes, number: int) -> tuple[Transaction, Json]:
    """The transaction in `data`, and the full state if it carries one."""
    try:
        value = loads(data)
        full = value.pop("state", None)
        if value.pop("_type") != TYPE or value["number"] != number:
            raise ValueError("not the transaction that its name says")
        lists = {key: _list(value.pop(key)) for key in ("moves", "packs", "attachments", "condemned")}
        moves = tuple(Move(ref, old, new) for ref, old, new in lists.pop("moves"))
        transaction = Transaction(**{**value, **{key: tuple(items) for key, items in lists.items()}, "moves": moves})
        _check_names(transaction)
        _check_types(transaction)
        _check_full(full)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptLog(number, str(error)) from None
    return transaction, full


def _check_names(transaction: Transaction) -> None:
    """Names from a log become file names and refs: only those of the grammar."""
    ids = [id for move in transaction.moves for id in (move.old, move.new) if id is not None]
    if not all(ID.fullmatch(id) for id in (*ids, *transaction.attachments)):
        raise ValueError("an id that is none")
    if not all(NAME.fullmatch(name) for name in (*transaction.packs, *transaction.condemned)):
        raise ValueError("a pack name that is none")
    if not all(REF.fullmatch(move.ref) for move in transaction.moves):
        raise ValueError("a ref name that is none")


def _check_types(transaction: Transaction) -> None:
    texts = (transaction.nonce, transaction.repository, transaction.actor, transaction.message)
    if not all(isinstance(text, str) for text in texts) or type(transaction.created) is not int:
        raise ValueError("a field of the wrong type")
    _check_branch(transaction.default_branch)


def _check_full(full: Json) -> None:
    """A full state is taken at its word until `verify`, so it must at least be one."""
    if full is None:
        return
    if set(full) != {"refs", "packs", "condemned", "default_branch"}:
        raise ValueError("a full state with unknown or missing fields")
    if not all(NAME.fullmatch(name) for name in (*_list(full["packs"]), *_list(full["condemned"]))):
        raise ValueError("a pack name that is none")
    if not all(REF.fullmatch(ref) and ID.fullmatch(id) for ref, id in full["refs"].items()):
        raise ValueError("a ref that is none")
    _check_branch(full["default_branch"])


def _check_branch(name: Json) -> None:
    if name is not None and not (isinstance(name, str) and REF.fullmatch(f"refs/heads/{name}")):
        raise ValueError("a default branch that is none")


def _list(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value
