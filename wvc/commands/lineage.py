"""Show what a commit was made from and what was made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from wvc import console
from wvc.commands._words import decoration, short
from wvc.repo import history
from wvc.repo.graph import Graph, Node
from wvc.repo.repository import Repository
from wvc.repo.revisions import resolve

Steps = Callable[[str], Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Family:
    """A commit with its ancestors and descendants, so far as they were asked for.

    start: id of the commit. nodes: all of them by id. refs: full names of the refs of each.
    """

    start: str
    nodes: Mapping[str, Node]
    refs: Mapping[str, Sequence[str]]
    ancestors: bool
    descendants: bool

    def json(self) -> dict[str, object]:
        nodes = sorted(self.nodes.values(), key=lambda node: (node.generation, node.id))
        edges = [(parent, node.id, share) for node in nodes for parent, share in node.parents if parent in self.nodes]
        return {
            "start": self.start,
            "nodes": [{**node.json(), "refs": list(self.refs.get(node.id, ()))} for node in nodes],
            "edges": [{"parent": parent, "child": child, "coefficient": share} for parent, child, share in edges],
        }

    def parents(self, id: str) -> list[tuple[str, str]]:
        """(commit, coefficient) of those that are part of the family."""
        return [(parent, share) for parent, share in self.nodes[id].parents if parent in self.nodes]

    def children(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Commit -> (commit, coefficient) of those that were made from it, the oldest first."""
        found: dict[str, list[tuple[str, str]]] = {}
        for node in sorted(self.nodes.values(), key=lambda node: (node.generation, node.created, node.id)):
            for parent, share in node.parents:
                found.setdefault(parent, []).append((node.id, share))
        return found


def command(
    revision: Annotated[str, typer.Argument(metavar="REV", help="Commit to begin with")] = "HEAD",
    ancestors: Annotated[bool, typer.Option("--ancestors", help="Show what it was made from only")] = False,
    descendants: Annotated[bool, typer.Option("--descendants", help="Show what was made from it only")] = False,
) -> None:
    """Show what a commit was made from and what was made from it.

    What was averaged stands behind its coefficient.
    """
    repository = Repository()
    found = family(
        repository, revision, ancestors=ancestors or not descendants, descendants=descendants or not ancestors
    )
    console.show(found, lambda family: render(family, repository.branch))


def family(repository: Repository, revision: str, *, ancestors: bool, descendants: bool) -> Family:
    start, graph = resolve(repository, revision), Graph(repository)
    graph.check([start])
    ids = {start} | (graph.ancestors([start]) if ancestors else set())
    ids |= graph.descendants(start) if descendants else set()
    nodes = {id: graph.nodes[id] for id in ids}
    return Family(start, nodes, history.refs_by_commit(repository), ancestors, descendants)


def render(family: Family, current: str) -> str:
    def label(id: str) -> str:
        node = family.nodes[id]
        refs = decoration(family.refs.get(id, ()), current)
        return f"{short(id)} {console.safe(node.kind)}{refs} {console.safe(node.subject)}"

    children = family.children()
    lines = ["[bold]made from[/]", *tree(family.start, family.parents, label)] if family.ancestors else []
    if family.descendants and children.get(family.start):
        lines += ["[bold]used in[/]", *tree(family.start, lambda id: children.get(id, ()), label)]
    return "\n".join(lines)


def tree(start: str, steps: Steps, label: Callable[[str], str]) -> list[str]:
    """A line per commit. A single step goes straight down, several fork; what was shown is not unfolded again."""
    lines: list[str] = []
    seen: set[str] = set()
    todo = [(start, "", "", "")]
    while todo:
        id, lead, below, share = todo.pop()
        following = steps(id)
        again = id in seen and following
        lines.append(f"{lead}{_share(share)}{label(id)}{' [dim](see above)[/]' if again else ''}")
        if again:
            continue
        seen.add(id)
        if len(following) == 1:
            todo.append((following[0][0], below, below, following[0][1]))
            continue
        forks = [(child, f"{below}├─ ", f"{below}│  ", share) for child, share in following[:-1]]
        forks += [(child, f"{below}└─ ", f"{below}   ", share) for child, share in following[-1:]]
        todo += reversed(forks)
    return lines


def _share(coefficient: str) -> str:
    return "" if coefficient in ("", "1") else f"[cyan]{console.safe(coefficient)}[/] × "
