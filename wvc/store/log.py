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
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from wvc.errors import CorruptLog, RefMoved, WvcError
from wvc.store.canonical import digest, dumps
from wvc.store.durable import create
from wvc.store.records import REF, Draft, State, Transaction, parse

EVERY = 256  # transactions between two that carry the full state
RETRIES = 64
LARGEST = 2**26  # bytes of one record; a full state with 100,000 packs has 9 MB


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
            transaction, _ = parse(data, self._head.number + 1)
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
        return parse(data, number)[0], digest(data)

    def since(self, number: int) -> Iterator[tuple[Transaction, str]]:
        """All transactions after `number`, oldest first, with their hashes."""
        while (data := self._read(number := number + 1)) is not None:
            yield parse(data, number)[0], digest(data)

    def append(self, draft: Callable[[State], Draft], *, first: str | None = None) -> Transaction:
        """Append what `draft` makes of the newest state, again after every lost race. Raises RefMoved.

        first: the repository id, for transaction 1.
        """
        for attempt in range(RETRIES):
            state = State(first) if first else self.head()
            wanted = draft(state)
            transaction, data = compose(state, wanted)
            if self._put(transaction.number, data):
                self._head = None if first else self._head
                return transaction
            time.sleep(random.uniform(0, min(0.5, 0.002 * 2**attempt)))
        raise WvcError("too many others write to this repository at once", "try again")

    def verify(self) -> State:
        """Read every record from the first and check chain and checkpoints. Raises CorruptLog."""
        return verified((self._present(number) for number in range(1, self._last() + 1)), State(""))

    def _present(self, number: int) -> bytes:
        data = self._read(number)
        if data is None:
            raise CorruptLog(number, "it is missing")
        return data

    def _put(self, number: int, data: bytes) -> bool:
        try:
            create(self._path(number), data, self._tmp)
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
        transaction, full = parse(data, number)
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
            fd = os.open(self._path(number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise CorruptLog(number, "something else than a file is in its place")
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


def compose(state: State, draft: Draft) -> tuple[Transaction, bytes]:
    """The record that follows `state`, and its bytes. Raises RefMoved, WvcError where it cannot follow."""
    _check(state, draft)
    transaction = _transaction(state, draft)
    value = transaction.json()
    if transaction.number % EVERY == 0:
        value["state"] = state.after(transaction, "").json()
    return transaction, dumps(value)


def verified(records: Iterable[bytes], state: State) -> State:
    """The state after `records`, which follow `state`, all of them looked at. Raises CorruptLog."""
    for data in records:
        number = state.number + 1
        transaction, checkpoint = parse(data, number)
        state = state.after(transaction, digest(data))
        if (number % EVERY == 0) != (checkpoint is not None):
            raise CorruptLog(number, f"every {EVERY}th record carries the full state, and no other")
        if checkpoint is not None and checkpoint != state.json():
            raise CorruptLog(number, "the full state in it is not the sum of what came before")
    return state


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
