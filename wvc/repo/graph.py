"""The graph of commits: ancestors, descendants, merge bases, the order in which a log shows them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from wvc.errors import MissingObject
from wvc.repo.repository import Repository
from wvc.repo.schema import CommitRow, ParentRow

FACTS = ("id", "generation", "created", "author", "message", "kind", "weights")


@dataclass(frozen=True)
class Node:
    """A commit as the lineage knows it: enough to walk and to print.

    parents: (commit, coefficient as text) in order.
    """

    id: str
    generation: int
    created: int
    author: str
    message: str
    kind: str
    weights: str
    parents: tuple[tuple[str, str], ...]

    @property
    def subject(self) -> str:
        return self.message.split("\n")[0]

    @property
    def sources(self) -> tuple[str, ...]:
        """Parents that the weights were made of: those whose coefficient is not 0, in order."""
        return tuple(id for id, coefficient in self.parents if coefficient != "0")

    def json(self) -> dict[str, object]:
        parents = [{"commit": id, "coefficient": coefficient} for id, coefficient in self.parents]
        return {**{name: getattr(self, name) for name in FACTS}, "parents": parents}


class Graph:
    """All commits of a repository and how they hang together."""

    def __init__(self, repository: Repository) -> None:
        columns = [getattr(CommitRow, name) for name in FACTS]
        with repository.lineage.read() as connection:
            rows = connection.execute(
                select(ParentRow.commit, ParentRow.parent, ParentRow.coefficient).order_by(
                    ParentRow.commit, ParentRow.position
                )
            ).all()
            commits = connection.execute(select(*columns)).all()
        parents: dict[str, list[tuple[str, str]]] = {}
        for commit, parent, coefficient in rows:
            parents.setdefault(commit, []).append((parent, coefficient))
        self.nodes: Mapping[str, Node] = {row[0]: Node(*(*row, tuple(parents.get(row[0], ())))) for row in commits}

    def check(self, ids: Iterable[str]) -> None:
        """Raises MissingObject for a commit that a ref names and no readable pack holds."""
        for id in ids:
            if id not in self.nodes:
                raise MissingObject(id, "commit")

    def ancestors(self, starts: Iterable[str]) -> set[str]:
        """Every commit reachable from `starts`, themselves included."""
        seen: set[str] = set()
        todo = [id for id in starts if id in self.nodes]
        while todo:
            id = todo.pop()
            if id not in seen:
                seen.add(id)
                todo.extend(parent for parent, _ in self.nodes[id].parents if parent in self.nodes)
        return seen

    def descendants(self, start: str) -> set[str]:
        """Every commit from which `start` can be reached, itself included."""
        children: dict[str, list[str]] = {}
        for node in self.nodes.values():
            for parent, _ in node.parents:
                children.setdefault(parent, []).append(node.id)
        seen: set[str] = set()
        todo = [start]
        while todo:
            id = todo.pop()
            if id not in seen:
                seen.add(id)
                todo.extend(children.get(id, ()))
        return seen

    def children(self, id: str) -> list[str]:
        """Commits that have `id` as a parent, sorted."""
        return sorted(node.id for node in self.nodes.values() if any(parent == id for parent, _ in node.parents))

    def is_ancestor(self, old: str, new: str) -> bool:
        """True if `old` can be reached from `new`; a commit is its own ancestor."""
        return old in self.ancestors([new])

    def bases(self, ids: Iterable[str]) -> list[str]:
        """Best common ancestors of all `ids`: those that no other common ancestor descends from; sorted."""
        common = set.intersection(*(self.ancestors([id]) for id in ids))
        inner = self.ancestors(parent for id in common for parent, _ in self.nodes[id].parents)
        return sorted(common - inner)

    def ordered(self, ids: Iterable[str]) -> Iterator[Node]:
        """`ids` such that no commit comes after its parent; younger and later ones first."""
        wanted = set(ids)
        waiting = dict.fromkeys(wanted, 0)
        for id in wanted:
            for parent in {parent for parent, _ in self.nodes[id].parents} & wanted:
                waiting[parent] += 1
        heap = [self._rank(id) for id, count in waiting.items() if not count]
        heapq.heapify(heap)
        while heap:
            id = heapq.heappop(heap)[-1]
            yield self.nodes[id]
            for parent in {parent for parent, _ in self.nodes[id].parents} & wanted:
                waiting[parent] -= 1
                if not waiting[parent]:
                    heapq.heappush(heap, self._rank(parent))

    def _rank(self, id: str) -> tuple[int, int, str]:
        node = self.nodes[id]
        return -node.created, -node.generation, id
