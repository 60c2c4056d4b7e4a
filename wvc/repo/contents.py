"""What commits hold, as the lineage knows it: names and ids of tensors, without reading a manifest.

Good enough to look at history. What must be right reads manifests, which are checked against their ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Self

from sqlalchemy import select

from wvc.repo.graph import Node
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.repo.schema import WIDTH, CommitRow, LayoutRow, ManifestRow
from wvc.store.header import size_of

FIRST, MOST = 16, 512  # commits that are fetched together: few at first, since often only the newest are wanted


@dataclass(frozen=True, eq=False)
class Layout:
    """Name, dtype and shape of tensors, sorted by name. Contents that agree in them share one object."""

    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]

    @classmethod
    def read(cls, body: str) -> Self:
        return cls(tuple((name, dtype, tuple(shape)) for name, dtype, shape in json.loads(body)))

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Position by name."""
        return {name: i for i, (name, _, _) in enumerate(self.tensors)}

    @cached_property
    def sizes(self) -> Sequence[int]:
        """Bytes of the tensors, uncompressed."""
        return [size_of(dtype, shape) for _, dtype, shape in self.tensors]


@dataclass(frozen=True, eq=False)
class Content:
    """What one commit holds.

    ids: of the tensors, in the order of the layout, 32 bytes each. files: id by name.
    """

    layout: Layout
    ids: bytes
    files: Mapping[str, str]

    def every_id(self) -> list[str]:
        """Ids of the tensors, in their order."""
        text = self.ids.hex()
        return [text[start : start + 2 * WIDTH] for start in range(0, len(text), 2 * WIDTH)]

    def find(self, name: str) -> Tensor | None:
        """The tensor `name`, None if there is none."""
        place = self.layout.places.get(name)
        return None if place is None else Tensor(*self.layout.tensors[place], self._id(place).hex())

    def tensors(self) -> Iterator[Tensor]:
        """All of them, sorted by name."""
        return (Tensor(*about, id) for about, id in zip(self.layout.tensors, self.every_id(), strict=True))

    def agrees(self, other: Content, name: str) -> bool:
        """True if `name` is the same tensor in both, or there in neither."""
        if self.layout is not other.layout:
            return self.find(name) == other.find(name)
        place = self.layout.places.get(name)
        return place is None or self._id(place) == other._id(place)

    def equals(self, other: Content) -> bool:
        """True if all tensors are the same."""
        return self.layout is other.layout and self.ids == other.ids

    def _id(self, place: int) -> bytes:
        return self.ids[place * WIDTH : (place + 1) * WIDTH]


class Contents:
    """The contents of commits, fetched when they are asked for; those that were passed by are let go."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._layouts: dict[str, Layout] = {}
        self._held: dict[str, Content] = {}

    def __getitem__(self, commit: str) -> Content:
        """Raises MissingObject or CorruptObject where not even the manifest can be read."""
        if commit not in self._held:
            self._fetch({commit})
        if commit not in self._held:  # the lineage leaves out what could not be read
            self._held[commit] = _content(self._repository.manifest(self._repository.commit(commit)))
        return self._held[commit]

    def along(self, nodes: Iterable[Node]) -> Iterator[Node]:
        """`nodes` in their order; what they and the parents that they were made of hold is at hand, in few queries."""
        todo, count = iter(nodes), FIRST
        while group := list(islice(todo, count)):
            wanted = {id for node in group for id in (node.id, *node.sources)}
            self._held = {id: content for id, content in self._held.items() if id in wanted}
            self._fetch(wanted - self._held.keys())
            yield from group
            count = min(2 * count, MOST)

    def names(self, nodes: Iterable[Node]) -> set[str]:
        """Names of all tensors that one of `nodes` has."""
        with self._repository.lineage.read() as connection:
            columns = select(CommitRow.id, ManifestRow.layout)
            query = columns.join(ManifestRow, CommitRow.manifest == ManifestRow.id)
            used = {row.id: row.layout for row in connection.execute(query)}
        layouts = {used[node.id] for node in nodes if node.id in used}
        self._learn(layouts)
        return {name for id in layouts for name in self._layouts[id].places}

    def _fetch(self, commits: set[str]) -> None:
        columns = select(CommitRow.id, ManifestRow.layout, ManifestRow.tensors, ManifestRow.files)
        query = columns.join(ManifestRow, CommitRow.manifest == ManifestRow.id).where(CommitRow.id.in_(commits))
        with self._repository.lineage.read() as connection:
            rows = connection.execute(query).all()
        self._learn({layout for _, layout, _, _ in rows})
        for commit, layout, ids, files in rows:
            self._held[commit] = Content(self._layouts[layout], ids, json.loads(files))

    def _learn(self, layouts: set[str]) -> None:
        unknown = layouts - self._layouts.keys()
        if unknown:
            with self._repository.lineage.read() as connection:
                rows = connection.execute(select(LayoutRow.id, LayoutRow.body).where(LayoutRow.id.in_(unknown))).all()
            self._layouts.update({id: Layout.read(body) for id, body in rows})


def every_name(repository: Repository) -> set[str]:
    """Names of all tensors of all commits that were ever recorded."""
    with repository.lineage.read() as connection:
        bodies = connection.scalars(select(LayoutRow.body)).all()
    return {name for body in bodies for name, _, _ in json.loads(body)}


def _content(manifest: Manifest) -> Content:
    about = tuple((t.name, t.dtype, t.shape) for t in manifest.tensors)
    ids = b"".join(bytes.fromhex(tensor.id) for tensor in manifest.tensors)
    return Content(Layout(about), ids, dict(manifest.files))
