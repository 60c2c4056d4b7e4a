"""Lineage: the graph of commits, where tensors lie, scores and refs, as a projection of packs and log.

Deleting the file loses nothing. What must be right never rests on it alone: refs come from the log, and every
object is checked against its id when it is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, create_engine, delete, event, insert, select
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from wvc.errors import Damage, DiskProblem, WvcWarning
from wvc.repo.objects import Attachment, Commit, Manifest, parse
from wvc.repo.schema import (
    AppliedRow,
    AttachmentRow,
    Base,
    CommitRow,
    EntryRow,
    LayoutRow,
    ManifestRow,
    MoveRow,
    PackRow,
    ParentRow,
    RefRow,
    ScoreRow,
)
from wvc.store.canonical import digest
from wvc.store.log import Log
from wvc.store.packs import Pack
from wvc.store.records import State, Transaction

VERSION = 2
PRAGMAS = (
    "journal_mode=TRUNCATE",
    "synchronous=EXTRA",
    "busy_timeout=30000",
    "foreign_keys=ON",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    "mmap_size=0",
)


# A child must not use the connections of its parent: SQLite forbids it.
_ENGINES: WeakSet[Engine] = WeakSet()


def _let_go() -> None:
    for engine in _ENGINES:
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_let_go)


class Lineage:
    """lineage.db, brought up to the head of the log whenever it is asked."""

    def __init__(self, path: Path, packs: Path, log: Log) -> None:
        self._path, self._packs, self._log = path, packs, log
        self._number = -1
        self._engine = _engine(path)

    def read(self) -> Connection:
        """A connection to an up-to-date projection; use it in a `with`."""
        self.update()
        return self._engine.connect()

    def update(self) -> int:
        """Apply the transactions that came since the last time; start over where the file does not fit the log.

        The number of the last one: while it stays the same, so does all that is read here.
        """
        head = self._log.head()
        if head.number == self._number:
            return self._number
        try:
            self._catch_up(head)
        except DatabaseError as error:
            if isinstance(error, OperationalError) and "locked" in str(error):
                raise DiskProblem(self._path, "somebody else has been writing to it for 30 seconds") from None
            self._start_over()
            self._catch_up(head)
        self._number = head.number
        return self._number

    def dump(self) -> Mapping[str, list[tuple[Any, ...]]]:
        """All rows of all tables, sorted, to compare two projections."""
        with self.read() as connection:
            tables = Base.metadata.sorted_tables
            return {t.name: sorted((tuple(row) for row in connection.execute(select(t))), key=repr) for t in tables}

    def _start_over(self) -> None:
        """A damaged or unwritable file is replaced; where even that fails, memory will do."""
        self._engine.dispose()
        try:
            for suffix in ("", "-journal"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._engine = _engine(self._path)
            with self._engine.connect() as connection:
                connection.exec_driver_sql("CREATE TABLE probe (x)")
                connection.exec_driver_sql("DROP TABLE probe")
        except (OSError, DatabaseError):
            # One database for all threads; by default, each would have an empty one of its own.
            self._engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    def _catch_up(self, head: State) -> None:
        with self._engine.connect() as connection:
            if _applied(connection) == (VERSION, head.repository, head.number, head.hash):
                return
        with _writing(self._engine) as connection:
            head = self._log.head()  # whoever held the lock before may have gone further
            applied = _applied(connection)
            if applied is not None and applied[1] == head.repository and applied[2] > head.number:
                lost = f"transactions {head.number + 1} to {applied[2]} were in the log and are not any more"
                warnings.warn(f"{lost}: bring the files back if you can", WvcWarning, stacklevel=2)
            if applied is None or not self._continues(applied, head):
                Base.metadata.drop_all(connection)
                Base.metadata.create_all(connection)
                applied = (VERSION, head.repository, 0, "")
            last = applied[2:]
            for transaction, hash in self._log.since(applied[2]):
                if transaction.number > head.number:
                    break
                _apply(connection, transaction, self._packs)
                last = (transaction.number, hash)
            connection.execute(delete(AppliedRow))
            row = {"id": 1, "version": VERSION, "repository": head.repository, "number": last[0], "hash": last[1]}
            connection.execute(insert(AppliedRow), [row])

    def _continues(self, applied: tuple[int, str, int, str], head: State) -> bool:
        """True if the log still holds the transaction that was applied last, unchanged."""
        version, repository, number, hash = applied
        if version != VERSION or repository != head.repository or not 0 < number <= head.number:
            return False
        return self._log.read(number)[1] == hash


def _engine(path: Path) -> Engine:
    path.parent.mkdir(parents=True, exist_ok=True)
    # One connection, kept: opening one for every tensor that is looked up would take most of a commit's time.
    engine = create_engine(f"sqlite:///{path}", pool_size=1)
    _ENGINES.add(engine)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are ours to begin
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


@contextlib.contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    """IMMEDIATE: who will write takes the lock first, or two readers would wait for each other for ever."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.exec_driver_sql("COMMIT")
        except BaseException:
            with contextlib.suppress(OperationalError):  # on a full disk SQLite has rolled back by itself
                connection.exec_driver_sql("ROLLBACK")
            raise


def _applied(connection: Connection) -> tuple[int, str, int, str] | None:
    with contextlib.suppress(OperationalError):  # no such table: a new file
        row = connection.execute(select(AppliedRow.__table__)).first()
        return None if row is None else (row.version, row.repository, row.number, row.hash)
    return None


def _apply(connection: Connection, transaction: Transaction, packs: Path) -> None:
    for name in transaction.packs:
        _add_pack(connection, packs, name)
    for name in transaction.condemned:
        connection.execute(delete(PackRow).where(PackRow.name == name))
    for id in transaction.attachments:
        _add_attachment(connection, packs, id, transaction.number)
    for move in transaction.moves:
        connection.execute(delete(RefRow).where(RefRow.name == move.ref))
        if move.new is not None:
            connection.execute(insert(RefRow).values(name=move.ref, target=move.new))
        shared = {"created": transaction.created, "actor": transaction.actor, "message": transaction.message}
        line = {"number": transaction.number, "ref": move.ref, "old": move.old, "new": move.new, **shared}
        connection.execute(insert(MoveRow), [line])


def _add_pack(connection: Connection, packs: Path, name: str) -> None:
    """A pack that cannot be read is left out: `fsck` reports it, and its objects are reported as missing."""
    connection.execute(insert(PackRow).prefix_with("OR IGNORE").values(name=name))
    try:
        pack = Pack(packs, name)
    except Damage:
        return
    objects = set(pack.objects())
    _insert(connection, EntryRow, ({**_entry(pack, id), "object": id in objects} for id in pack.ids()))
    for id in pack.objects():
        with contextlib.suppress(Damage):
            item = parse(bytes(pack.read(id)))
            if isinstance(item, Commit):
                _add_commit(connection, item)
            elif isinstance(item, Manifest):
                _add_manifest(connection, item)


def _entry(pack: Pack, id: str) -> Mapping[str, Any]:
    stored = pack.stored(id)
    sizes = {"stored": stored.size, "raw": stored.raw, "depth": stored.depth, "base": stored.base}
    return {"id": id, "pack": pack.name, **sizes}


def _add_commit(connection: Connection, commit: Commit) -> None:
    names = ("id", "generation", "created", "author", "message", "kind", "weights", "manifest")
    _insert(connection, CommitRow, [{name: getattr(commit, name) for name in names}])
    parents = (
        {"commit": commit.id, "position": i, "parent": p.commit, "coefficient": str(p.coefficient)}
        for i, p in enumerate(commit.parents)
    )
    _insert(connection, ParentRow, parents)


def _add_manifest(connection: Connection, manifest: Manifest) -> None:
    layout = json.dumps([[t.name, t.dtype, t.shape] for t in manifest.tensors])
    key = digest(layout.encode())
    ids = b"".join(bytes.fromhex(tensor.id) for tensor in manifest.tensors)
    files = json.dumps(dict(manifest.files), sort_keys=True)
    _insert(connection, LayoutRow, [{"id": key, "body": layout}])
    _insert(connection, ManifestRow, [{"id": manifest.id, "layout": key, "files": files, "tensors": ids}])


def _add_attachment(connection: Connection, packs: Path, id: str, number: int) -> None:
    """Listed by the transaction; its bytes are in one of the packs so far."""
    for name in connection.scalars(select(EntryRow.pack).where(EntryRow.id == id)).all():
        with contextlib.suppress(Damage):
            item = parse(bytes(Pack(packs, name).read(id)))
            if isinstance(item, Attachment):
                body = json.dumps(dict(item.body), sort_keys=True)
                row = {"id": id, "subject": item.subject, "kind": item.kind, "body": body, "number": number}
                _insert(connection, AttachmentRow, [row])
                if item.kind == "score":
                    _add_score(connection, item)
                return


def _add_score(connection: Connection, item: Attachment) -> None:
    """A score that is not one (anybody may write attachments) is left out."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        shared = {"attachment": item.id, **{key: str(item.body[key]) for key in ("weights", "task", "split")}}
        rows = [(str(d), int(right), int(total)) for d, right, total in item.body["domains"]]
        _insert(connection, ScoreRow, ({**shared, "domain": d, "right": r, "total": t} for d, r, t in rows))


def _insert(connection: Connection, table: type[Base], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows that are there already stay: an object may arrive twice, in two packs."""
    values = list(rows)
    if values:
        connection.execute(insert(table).prefix_with("OR IGNORE"), values)
