"""Take a record that a client puts: check all that it says and all that it needs, then let it count.

Everything is checked against one state of the log. Put-if-absent of the number after it is what makes that state the
one that the record follows, whatever local commands and other pushers do meanwhile.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wvc.errors import CorruptLog, WvcError
from wvc.repo.graph import Graph
from wvc.repo.repository import Repository
from wvc.store.durable import create, disk, sync_folder
from wvc.store.log import EVERY, LARGEST
from wvc.store.packs import SUFFIX
from wvc.store.records import State, Transaction, parse
from wvc.web import policy
from wvc.web.connected import Connected
from wvc.web.incoming import Incoming
from wvc.web.problems import Problem, conflict
from wvc.web.quarantine import BadPack, Quarantine
from wvc.web.tokens import Token

MOST = 1000  # pushes of which is known that their packs were verified
Seen = tuple[frozenset[tuple[str, int, int, int]], frozenset[str]]  # packs as they lie there; what was condemned


@dataclass
class Receiver:
    """Takes records for the repository in `folder`, from several threads.

    folder: the .wvc folder. protected: globs of full names of refs. largest: bytes of a pack.
    """

    folder: Path
    protected: Sequence[str] = ()
    largest: int = 16 << 30
    _verified: set[Seen] = field(default_factory=set)
    _free: list[Repository] = field(default_factory=list)  # opened, and in nobody's hands now
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def quarantine(self, caller: Token) -> Quarantine:
        """Where the packs of `caller` wait."""
        return Quarantine(self.folder, f"{caller.name}-{caller.hash[:8]}", self.largest)

    def take(self, number: int, data: bytes, caller: Token) -> bool:
        """Put record `number` into the log; False if this very one is there already. Raises Problem."""
        try:
            return not self._is_there(number, data) and self._take(number, data, caller)
        except Problem:
            if self._is_there(number, data):  # since a moment ago, by another connection
                return False
            raise

    def ask(self, number: int, data: bytes, caller: Token) -> None:
        """Raises Problem where record `number`, with its packs, would be refused for what it says and who says it."""
        transaction, _ = _parsed(number, data)
        policy.check_record(transaction, caller)
        policy.check_moves(transaction.moves, caller)
        with self._repository() as repository:
            policy.check_default(transaction, caller, repository.log.head())
        policy.check_protected(transaction.moves, caller, self.protected, lambda new, old: True)

    def _take(self, number: int, data: bytes, caller: Token) -> bool:
        transaction, full = _parsed(number, data)
        policy.check_record(transaction, caller)
        policy.check_moves(transaction.moves, caller)
        with self._repository() as repository:
            return self._append(repository, transaction, full, data, caller)

    def _append(
        self, repository: Repository, transaction: Transaction, full: object, data: bytes, caller: Token
    ) -> bool:
        state, number, quarantine = repository.log.head(), transaction.number, self.quarantine(caller)
        _check_follows(transaction, full, state)
        policy.check_default(transaction, caller, state)
        with quarantine.held(transaction.packs), disk(self.folder):
            self._check_content(repository, state, transaction, caller, quarantine)
            with self._exclusive():
                if not self._put(number, data, transaction.packs, quarantine):
                    return False
        with contextlib.suppress(WvcError, OSError):  # it counts now; the next command will bring the lineage up to it
            repository.lineage.update()
            for name in transaction.packs:
                quarantine.remove(name)
        return True

    @contextlib.contextmanager
    def _repository(self) -> Iterator[Repository]:
        """One for this thread alone: it remembers how far it has read the log."""
        with self._lock:
            repository = self._free.pop() if self._free else None
        repository = repository or Repository(self.folder.parent)
        try:
            yield repository
        except Problem:
            self._free.append(repository)
            raise
        self._free.append(repository)

    def _check_content(
        self, repository: Repository, state: State, transaction: Transaction, caller: Token, quarantine: Quarantine
    ) -> None:
        """Raises Problem unless packs are whole and hold all that is needed, and protected refs lose nothing."""
        if known := (state.packs | state.condemned) & set(transaction.packs):
            raise Problem(422, f"pack {min(known)[:12]} counts already, or was condemned", "give it a fresh nonce")
        incoming = Incoming(repository, state, {name: quarantine.path(name) for name in transaction.packs})
        seen = (frozenset(_place(pack.path) for pack in incoming.new.values()), state.condemned)
        if seen not in self._verified:
            self._verify(incoming, quarantine)
            self._verified = {*list(self._verified)[-MOST:], seen}
        graph = Graph(repository)
        connected = Connected(incoming, graph.ancestors(state.refs.values()))
        connected.check(transaction.moves, transaction.attachments)

        def leads_to(new: str, old: str) -> bool:
            return connected.leads_to(new, old, graph.descendants(old))

        policy.check_protected(transaction.moves, caller, self.protected, leads_to)

    def _verify(self, incoming: Incoming, quarantine: Quarantine) -> None:
        """Raises Problem; what is not what its name promises is then forgotten, so that it can be sent again."""
        try:
            incoming.verify()
        except BadPack as problem:
            quarantine.remove(problem.name)
            raise

    def _put(self, number: int, data: bytes, packs: Sequence[str], quarantine: Quarantine) -> bool:
        """Packs get their names, then the record gets its own; packs lose theirs again where somebody was first."""
        if self._is_there(number, data):
            return False
        promoted = [path for name in packs if (path := self._promote(name, quarantine))]
        if promoted:
            sync_folder(self.folder / "packs")
        try:
            create(self.folder / "log" / f"{number:012d}.json", data, self.folder / "tmp")
        except FileExistsError:
            for path in promoted:
                path.unlink()
            raise conflict(f"transaction {number} is somebody else's") from None
        for path in promoted:
            path.chmod(0o444)
        return True

    def _promote(self, name: str, quarantine: Quarantine) -> Path | None:
        """Make pack `name` durable in its place, which it has besides the one in quarantine; None if it had."""
        source, target = quarantine.path(name), self.folder / "packs" / (name + SUFFIX)
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(fd)
            os.fchmod(fd, 0o644)  # not yet for good: it may be sent anew if the record is refused
        finally:
            os.close(fd)
        try:
            os.link(source, target, follow_symlinks=False)
        except FileExistsError:
            if not target.samefile(source):
                raise Problem(422, f"the name of pack {name[:12]} is taken", "give it a fresh nonce") from None
            return None  # the server was killed before the record had its name
        return target

    def _is_there(self, number: int, data: bytes) -> bool:
        """True if record `number` is this very one: the reply to it was lost. Raises Problem if it is another."""
        with contextlib.suppress(FileNotFoundError):
            with (self.folder / "log" / f"{number:012d}.json").open("rb") as file:
                if file.read(LARGEST + 1) == data:
                    return True
            raise conflict(f"transaction {number} is somebody else's")
        return False

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One record at a time, of this process and of other servers of the same repository."""
        with self._lock:
            fd = os.open(self.folder / "log", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                with contextlib.suppress(OSError):  # some network file systems cannot; put-if-absent decides anyway
                    fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)


def _parsed(number: int, data: bytes) -> tuple[Transaction, object]:
    try:
        return parse(data, number)
    except CorruptLog as error:
        raise Problem(422, f"not a record: {error.message[:300]}") from None


def _check_follows(transaction: Transaction, full: object, state: State) -> None:
    """Raises Problem unless the record continues the log after `state`."""
    if transaction.number != state.number + 1 or transaction.previous != state.hash:
        raise conflict(f"the log is at transaction {state.number}: this record does not follow it")
    if transaction.repository != state.repository:
        raise Problem(422, "the record belongs to another repository", "fetch first: this may not be what it was")
    try:
        after = state.after(transaction, "")
    except CorruptLog as error:
        raise Problem(422, error.message, "fetch, then push again") from None
    if full != (after.json() if transaction.number % EVERY == 0 else None):
        raise Problem(422, f"every {EVERY}th record carries the full state, and no other")


def _place(path: Path) -> tuple[str, int, int, int]:
    about = path.stat()
    return path.name, about.st_ino, about.st_size, about.st_mtime_ns
