"""A repository: read what is stored, put what is new, record it in the log, resolve names."""

from __future__ import annotations

import contextlib
import copy
import secrets
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

from wvc.errors import CorruptObject, Damage, MissingObject, NoCommitYet, RepositoryExists
from wvc.repo import damage, location, names
from wvc.repo.config import Config, now
from wvc.repo.lineage import Lineage
from wvc.repo.objects import Attachment, Commit, Manifest, TaskDescription, Tensor, parse
from wvc.store import scratch
from wvc.store.batch import Batch
from wvc.store.durable import disk, make_folder, replace, sweep, sync_folder
from wvc.store.header import size_of
from wvc.store.log import Log
from wvc.store.reader import Reader
from wvc.store.records import REF, Draft, Move, Transaction

FRESH = 0.05  # seconds for which nobody looks again whether others have written
FOLDERS = ("packs", "log", "runs", "cache", "tmp")
T = TypeVar("T", Commit, Manifest, Attachment, TaskDescription)


class Repository:
    """A folder of packs and a log, opened for reading and writing.

    folder: the .wvc folder itself.
    """

    def __init__(self, path: Path | str = ".") -> None:
        """Open the repository at `path` or above. Raises NotARepository, UnknownFormat, NotOwner."""
        self._open(location.find(Path(path)))
        sweep(self.folder / "tmp")  # not in another's repository: its `tmp` may be anything
        scratch.sweep(self.path)

    @classmethod
    def source(cls, path: Path, scratch: Path) -> Self:
        """Open the repository at `path`, somebody else's, to read its data: nothing in it is written or believed.

        scratch: folder for a lineage of its own, projected anew from packs and log.
        """
        self = cls.__new__(cls)
        self._open(location.at(path))
        self.lineage = Lineage(scratch / "lineage.db", self.folder / "packs", self.log)
        return self

    def _open(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log(folder / "log", folder / "tmp")
        self.reader = Reader(folder / "packs", self.packs_with, self._explain)
        self._branch: str | None = None
        self._lock = threading.Lock()  # the lineage has one connection, readers may be many
        self._holders: dict[str, tuple[str, ...]] = {}  # packs by id, as of a transaction
        self._absent: set[str] = set()  # what no pack holds, as of the same one
        self._held_at, self._looked = -1, 0.0

    @property
    def path(self) -> Path:
        """The folder that the user sees."""
        return self.folder.parent

    @cached_property
    def config(self) -> Config:
        return Config(self.folder)

    @cached_property
    def lineage(self) -> Lineage:
        path = location.lineage_path(self.folder, self.log.head().repository)
        return Lineage(path, self.folder / "packs", self.log)

    @property
    def refs(self) -> Mapping[str, str]:
        """Every ref and the object it names, as the log says."""
        return self.log.head().refs

    @property
    def branch(self) -> str:
        """Full name of the branch that HEAD names. Raises Damage."""
        if self._branch is not None:
            return self._branch
        try:
            text = (self.folder / "HEAD").read_text(encoding="utf-8").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            raise Damage("HEAD is missing or cannot be read") from None
        ref = text.removeprefix("ref: ")
        if ref == text or not ref.startswith(names.HEADS) or not REF.fullmatch(ref):
            raise Damage("HEAD does not name a branch", "mend it: wvc switch main, or another branch")
        return ref

    def on(self, branch: str) -> Self:
        """The same repository with HEAD at `branch`, a full name, for this process only."""
        other = copy.copy(self)
        other._branch = branch
        return other

    def switch(self, branch: str) -> None:
        """Let HEAD name `branch`, a full name."""
        with disk(self.folder):
            replace(self.folder / "HEAD", f"ref: {branch}\n".encode(), self.folder / "tmp")

    def json(self) -> dict[str, object]:
        """What `init` and `clone` say of it."""
        return {"path": str(self.path), "branch": names.short(self.branch), "head": self.refs.get(self.branch)}

    def head(self) -> Commit:
        """The commit that HEAD names. Raises NoCommitYet."""
        id = self.refs.get(self.branch)
        if id is None:
            raise NoCommitYet(names.short(self.branch))
        return self.commit(id)

    # Reading

    def read(self, id: str) -> memoryview:
        """The bytes of tensor, side file or object `id`, checked against it. Raises MissingObject, CorruptObject."""
        return self.reader.read(id)

    def tensor(self, tensor: Tensor) -> memoryview:
        """The bytes of `tensor`, as many as its dtype and shape need. Raises as `read` does."""
        return self.reader.read(tensor.id, size_of(tensor.dtype, tensor.shape))

    def chunks(self, tensor: Tensor) -> Iterator[memoryview]:
        """The bytes of `tensor` piece by piece, in order, in little memory.

        They are checked as a whole: what was yielded must not be relied on before the iteration has ended without an
        error. Raises as `read` does.
        """
        return self.reader.chunks(tensor.id, size_of(tensor.dtype, tensor.shape))

    def _explain(self, id: str, problem: Damage) -> None:
        """Let `problem` say what it is that cannot be read, and which commits and refs it touches."""
        with self._lock, contextlib.suppress(Damage):  # whatever else is wrong is another matter
            (item,) = damage.touched(self.lineage, self.refs, [id], self.branch)
            item.explain(problem)
        origin = self.config.without_weights()
        if origin is not None and isinstance(problem, MissingObject) and id[:12] in problem.message:
            problem.hint = f"history came without weights: `wvc fetch --weights {origin} REV` brings those of REV"

    def packs_with(self, id: str) -> Sequence[str]:
        """Names of the packs that hold `id`."""
        with self._lock:
            fresh = time.monotonic() - self._looked < FRESH
            if not fresh or id not in self._holders:  # what is nowhere may have come a moment ago
                self._locate([id])
            return self._holders.get(id, ())

    def locate(self, ids: Sequence[str]) -> None:
        """Look up which packs hold `ids`, all at once: who reads a model asks for each of its tensors."""
        with self._lock:
            self._locate(ids)

    def holds(self, ids: Iterable[str]) -> set[str]:
        """Those of `ids` that a pack is known to hold, whether they can be read or not."""
        wanted = list(ids)
        with self._lock:
            self._locate(wanted)
            return {id for id in wanted if self._holders.get(id)}

    def _locate(self, ids: Sequence[str]) -> None:
        number = self.lineage.update()
        self._looked = time.monotonic()
        if number != self._held_at:
            self._held_at, self._holders, self._absent = number, {}, set()
        unknown = [id for id in dict.fromkeys(ids) if id not in self._holders and id not in self._absent]
        if not unknown:
            return
        found: dict[str, list[str]] = {}
        with self.lineage.read() as connection:
            for start in range(0, len(unknown), 500):
                some = unknown[start : start + 500]
                # As text: put together by SQLAlchemy, it would take ten times as long, once for every tensor.
                marks = ", ".join("?" * len(some))
                rows = connection.exec_driver_sql(f"SELECT id, pack FROM entries WHERE id IN ({marks})", tuple(some))
                for id, pack in rows:
                    found.setdefault(id, []).append(pack)
        self._holders |= {id: tuple(packs) for id, packs in found.items()}
        self._absent.update(id for id in unknown if id not in found)

    def commit(self, id: str) -> Commit:
        return self._object(id, Commit)

    def manifest(self, commit: Commit) -> Manifest:
        """The tensors, files and model spec of `commit`; what it says of its weights is checked."""
        manifest = self._object(commit.manifest, Manifest)
        if manifest.weights != commit.weights:
            raise CorruptObject(commit.id, "commit")
        return manifest

    def attachment(self, id: str) -> Attachment:
        return self._object(id, Attachment)

    def task(self, id: str) -> TaskDescription:
        return self._object(id, TaskDescription)

    def _object(self, id: str, kind: type[T]) -> T:
        item = parse(self.reader.object(id))
        if not isinstance(item, kind):
            raise Damage(f"object {id[:12]} is a {type(item).__name__}, not a {kind.__name__}")
        return item

    # Writing

    def batch(self, shapes: Iterable[tuple[int, ...]] = (), objects: int = 0) -> Batch:
        """Room for new tensors of `shapes` and `objects` bytes of JSON; use it in a `with`, then `record` it."""
        return Batch(self.folder / "packs", self.folder / "tmp", self.reader, shapes, objects)

    def record(
        self, batch: Batch | None, moves: Sequence[Move], message: str, attachments: Sequence[str] = ()
    ) -> Transaction:
        """Make `batch` durable and announce it together with `moves`, all or nothing. Raises RefMoved."""
        with disk(self.folder):
            packs = batch.publish() if batch else ()
            draft = Draft(
                message=message,
                actor=self.config.author(),
                created=now(),
                moves=tuple(moves),
                packs=packs,
                attachments=tuple(attachments),
                needs=frozenset(batch.needs if batch else ()),
            )
            transaction = self.log.append(lambda _: draft)
            self.lineage.update()
        return transaction


def create(
    path: Path, draft: Draft, packs: Path | None = None, default: str = "main", settings: Mapping[str, Any] = {}
) -> Repository:
    """Make a repository at `path` whose first transaction is `draft`. It appears whole or not at all.

    packs: a folder of packs to move in. settings: by dotted key. Raises RepositoryExists.
    """
    target = path / location.FOLDER
    if target.exists():
        raise RepositoryExists(target)
    try:
        with disk(path):
            make_folder(path)
            with scratch.scratch(path) as folder:
                made = folder / location.FOLDER
                _fill(made, draft, packs, default, settings)
                made.rename(target)
            sync_folder(path)
    except FileExistsError:
        raise RepositoryExists(target) from None
    return Repository(path)


def _fill(made: Path, draft: Draft, packs: Path | None, default: str, settings: Mapping[str, Any]) -> None:
    made.mkdir()
    if packs is not None:
        packs.rename(made / "packs")
    for name in FOLDERS:
        (made / name).mkdir(exist_ok=True)
    tmp = made / "tmp"
    replace(made / "HEAD", f"ref: {names.branch(default)}\n".encode(), tmp)
    for key, value in settings.items():
        Config(made).set(value, *key.split("."))
    Log(made / "log", tmp).append(lambda _: draft, first=secrets.token_hex(32))
    replace(made / "format", f"{location.FORMAT}\n".encode(), tmp)


def is_empty(path: Path) -> bool:
    """True if `path` is not there or is a folder with nothing in it but what a killed `clone` left."""
    return not path.exists() or (path.is_dir() and all(scratch.NAME.fullmatch(child.name) for child in path.iterdir()))
