"""What takes how much room: what each commit brought, raw and as it is stored, and what packs are full of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, select

from wvc.repo import names
from wvc.repo.commits import mentioned
from wvc.repo.contents import Content, Contents
from wvc.repo.graph import Graph, Node
from wvc.repo.repository import Repository
from wvc.repo.schema import WIDTH, CommitRow, ManifestRow
from wvc.store.packs import SUFFIX

Rows = npt.NDArray[np.void]
Ids = npt.NDArray[np.bytes_]
Mask = npt.NDArray[np.bool_]

# Ids stand side by side in arrays: in sets, those of a history with millions of tensors would fill the memory.
ID = f"S{WIDTH}"
# id; number of the commit that holds it; its place there, side files behind tensors; bytes of a tensor.
HELD = np.dtype([("id", ID), ("number", "i8"), ("place", "i8"), ("size", "i8")])
# id; bytes of the smallest copy and of all copies; bytes of its own; depth and base of the smallest copy.
ENTRY = np.dtype(
    [("id", ID), ("least", "i8"), ("all", "i8"), ("raw", "i8"), ("object", "?"), ("depth", "i8"), ("base", ID)]
)
# Of the columns that are no sums, SQLite takes those of the row with the minimum.
ENTRIES = "SELECT id, min(stored), sum(stored), raw, object, depth, coalesce(base, '') FROM entries GROUP BY id"
BASES = "SELECT id, base FROM entries WHERE base IS NOT NULL"


@dataclass(frozen=True)
class Item:
    """A tensor or side file that no commit before had.

    raw: its own bytes. stored: bytes of its smallest copy in a pack, 0 if no pack has it. depth: how many differences
    that copy may stand on, 0 for none; base: id of the next one, None for none.
    """

    name: str
    id: str
    commit: str
    raw: int
    stored: int
    depth: int
    base: str | None


@dataclass(frozen=True)
class Added:
    """What a commit brought: tensors and side files, how many, and their bytes; each id once.

    items: all of them, if they were asked for.
    """

    commit: Node
    tensors: int
    files: int
    raw: int
    stored: int
    items: Sequence[Item]


@dataclass(frozen=True)
class Packs:
    """What the packs are full of, in bytes as stored; `bytes` is the sum of the five that follow it.

    count: packs that there are. needed: one copy of each tensor and side file of a commit that a ref reaches, and of
    what these are differences to. copies: further ones. dead: tensors, files, commits and manifests that no ref
    reaches. objects: the others, and what was said of commits. rest: headers and padding.
    raw: what is needed, uncompressed. missing: tensors and files that are needed and in no pack.
    """

    count: int
    bytes: int
    needed: int
    copies: int
    dead: int
    objects: int
    rest: int
    raw: int
    missing: int


class Usage:
    """The room that a repository takes, from its lineage and the sizes of its files."""

    def __init__(self, repository: Repository) -> None:
        self._repository, self._graph, self._contents = repository, Graph(repository), Contents(repository)

    def added(self, starts: Iterable[str], left_out: Iterable[str] = (), *, items: bool = False) -> list[Added]:
        """What each commit of the history of `starts` brought, less that of `left_out`; the newest first.

        What several commits have was brought by the one that comes first when the history is told from its beginning.
        Raises MissingObject for a commit that is not there.
        """
        starts = list(starts)
        self._graph.check(starts)
        old = self._graph.ancestors(left_out)
        nodes = self._oldest_first(old) + self._oldest_first(self._graph.ancestors(starts) - old)
        held = self._held(nodes)
        held = held[np.sort(np.unique(held["id"], return_index=True)[1])]
        edges = np.searchsorted(held["number"], np.arange(len(nodes) + 1))
        found = []
        for number, node in enumerate(self._contents.along(nodes[len(old) :]), len(old)):
            rows = held[edges[number] : edges[number + 1]]
            found.append(_added(node, self._contents[node.id], rows, self._entries.at(rows["id"]), keep=items))
        return found[::-1]

    def packs(self) -> Packs:
        """The whole of them."""
        live = self._live(id for ref, id in self._repository.refs.items() if not ref.startswith(names.TASKS))
        held, unreached = np.unique(self._held(self._oldest_first(live))["id"]), _ids(self._unreached(live))
        entries, rows = self._entries, self._entries.rows
        needed = entries.with_bases(entries.among(held)) & ~rows["object"]
        objects = rows["object"] & ~entries.among(unreached)
        files = self._repository.log.head().packs
        total = sum(_size(self._repository, name) for name in files)
        return Packs(
            count=len(files),
            bytes=total,
            needed=int(rows["least"][needed].sum()),
            copies=int((rows["all"] - rows["least"])[needed].sum()),
            dead=int(rows["all"][~(needed | objects)].sum()),
            objects=int(rows["all"][objects].sum()),
            rest=total - int(rows["all"].sum()),
            raw=int(rows["raw"][needed].sum()),
            missing=len(held) - int(entries.among(held).sum()),
        )

    @cached_property
    def _entries(self) -> _Entries:
        with self._repository.lineage.read() as connection:
            return _Entries(connection)

    def _oldest_first(self, commits: set[str]) -> list[Node]:
        return list(self._graph.ordered(commits))[::-1]

    def _held(self, nodes: Sequence[Node]) -> Rows:
        """What `nodes` hold, in their order; less what the source of one has at the same place, which comes before."""
        parts = [np.zeros(0, HELD)]
        for number, node in enumerate(self._contents.along(nodes)):
            content = self._contents[node.id]
            sources = [self._contents[id] for id in node.sources[:1] if id in self._graph.nodes]
            parts.append(_new(number, content, sources[0] if sources else None))
        return np.concatenate(parts)

    def _live(self, refs: Iterable[str]) -> set[str]:
        """Commits that are reached from `refs`, also by what a commit says of its start."""
        live = self._graph.ancestors(refs)
        told: set[str] = set()
        while len(live) < len(self._graph.nodes) and live - told:  # else there is nothing to look for
            trained = [id for id in live - told if self._graph.nodes[id].kind == "train"]
            told |= live
            live |= self._graph.ancestors(at for id in trained for at in mentioned(self._repository.commit(id)))
        return live

    def _unreached(self, live: set[str]) -> set[str]:
        """Commits that are not `live`, and manifests that only they have."""
        with self._repository.lineage.read() as connection:
            rows = connection.execute(select(CommitRow.id, CommitRow.manifest)).all()
            manifests = set(connection.scalars(select(ManifestRow.id)).all())
        used = {manifest for id, manifest in rows if id in live}
        return {id for id, _ in rows if id not in live} | (manifests - used)


class _Entries:
    """All ids in packs. rows: sorted by id."""

    def __init__(self, connection: Connection) -> None:
        found = connection.exec_driver_sql(ENTRIES)
        self.rows = np.fromiter(((bytes.fromhex(row[0]), *row[1:6], bytes.fromhex(row[6])) for row in found), ENTRY)
        self.rows.sort(order="id")
        self._ids = np.ascontiguousarray(self.rows["id"])
        pairs = connection.exec_driver_sql(BASES).all()
        self._above, self._below = self._find(_ids(id for id, _ in pairs)), _ids(base for _, base in pairs)

    def at(self, ids: Ids) -> Rows:
        """The row of each of `ids`, zeros for one that no pack has."""
        found = np.zeros(len(ids), ENTRY)
        places = self._find(ids)
        found[places >= 0] = self.rows[places[places >= 0]]
        return found

    def among(self, ids: Ids) -> Mask:
        """Which rows are one of `ids`."""
        mask = np.zeros(len(self.rows), np.bool_)
        places = self._find(ids)
        mask[places[places >= 0]] = True
        return mask

    def with_bases(self, mask: Mask) -> Mask:
        """The rows of `mask`, and of all that a copy of them is a difference to."""
        while True:
            wider = mask | self.among(self._below[mask[self._above]])
            if (wider == mask).all():
                return mask
            mask = wider

    def _find(self, ids: Ids) -> npt.NDArray[np.intp]:
        """Places of `ids`, -1 for what is not there."""
        places = np.searchsorted(self._ids, ids)
        there = places < len(self._ids)
        there[there] = self._ids[places[there]] == ids[there]
        return np.where(there, places, -1)


def _ids(texts: Iterable[str]) -> Ids:
    return np.frombuffer(b"".join(map(bytes.fromhex, texts)), ID)


def _new(number: int, content: Content, source: Content | None) -> Rows:
    """What commit `number` holds and `source` does not hold at the same place."""
    tensors, files = np.frombuffer(content.ids, ID), _ids(id for _, id in sorted(content.files.items()))
    rows = np.zeros(len(tensors) + len(files), HELD)
    rows["id"], rows["number"], rows["place"] = np.concatenate([tensors, files]), number, np.arange(len(rows))
    rows["size"][: len(tensors)] = content.layout.sizes
    if source is not None and source.layout is content.layout:
        kept = np.ones(len(rows), np.bool_)
        kept[: len(tensors)] = tensors != np.frombuffer(source.ids, ID)
        return rows[kept]
    return rows


def _added(node: Node, content: Content, rows: Rows, copies: Rows, *, keep: bool) -> Added:
    """rows: what the commit is the first to hold. copies: as they are stored."""
    tensors = int((rows["place"] < len(content.layout.tensors)).sum())
    raw = np.maximum(rows["size"], copies["raw"])  # what no pack has has no raw bytes there, a file none in the commit
    called = [name for name, _, _ in content.layout.tensors] + sorted(content.files)
    items = [
        Item(
            called[row["place"]],
            row["id"].ljust(WIDTH, b"\0").hex(),  # numpy takes zeros at the end for padding
            node.id,
            int(size),
            int(copy["least"]),
            int(copy["depth"]),
            copy["base"].ljust(WIDTH, b"\0").hex() if copy["base"] else None,
        )
        for row, copy, size in zip(rows, copies, raw, strict=True)
        if keep
    ]
    return Added(node, tensors, len(rows) - tensors, int(raw.sum()), int(copies["least"].sum()), items)


def _size(repository: Repository, pack: str) -> int:
    path = repository.folder / "packs" / (pack + SUFFIX)
    return path.stat().st_size if path.exists() else 0
