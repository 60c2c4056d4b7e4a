"""Show the history of commits."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Annotated

import typer

from wvc import console
from wvc.commands._dashes import behind_dashes
from wvc.commands._graph import draw
from wvc.commands._words import decoration, percent, short, when
from wvc.repo import history, names, scores
from wvc.repo.contents import Contents
from wvc.repo.graph import Graph, Node
from wvc.repo.repository import Repository
from wvc.repo.revisions import span
from wvc.repo.touching import Touching, check, nearest


@dataclass(frozen=True)
class Entry:
    """A commit in a log.

    lines: where --graph draws lines to: its parents, less those that a..b leaves out; where only some commits are
      wanted, the next of those below it.
    refs: full names of the refs that name it.
    validation: its best accuracy on held-out images of the training domains, None if nobody measured it.
    """

    node: Node
    lines: Sequence[str]
    refs: Sequence[str]
    validation: Fraction | None

    def json(self) -> dict[str, object]:
        return {**self.node.json(), "refs": list(self.refs), "validation": self.validation}


def command(
    revisions: Annotated[
        list[str] | None, typer.Argument(metavar="REV|A..B", help="Where to start, HEAD by default")
    ] = None,
    number: Annotated[
        int | None, typer.Option("-n", "--max-count", metavar="N", min=0, max=2**53, help="Show N commits")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Draw how commits hang together")] = False,
    oneline: Annotated[bool, typer.Option("--oneline", help="Show one line per commit")] = False,
    all: Annotated[bool, typer.Option("--all", help="Start from every branch, tag and probe")] = False,
    globs: Annotated[
        list[str] | None,
        typer.Option("--tensors", metavar="GLOB", help="Only commits that set a tensor with such a name; or behind --"),
    ] = None,
) -> None:
    """Show the history of commits.

    With names of tensors, in which * crosses dots, only commits that set or removed one of them are shown: commits
    that have it in common with none of the parents that their weights were made of.
    """
    repository = Repository()
    found = entries(repository, revisions or ([] if all else ["HEAD"]), number, everything=all, globs=globs or ())
    current = repository.branch
    console.show(found, lambda entries: render(entries, current, graph=graph, oneline=oneline))


def entries(
    repository: Repository,
    revisions: Sequence[str],
    number: int | None,
    *,
    everything: bool,
    globs: Sequence[str] = (),
) -> list[Entry]:
    """The first `number` commits of the history of `revisions`, or of every ref too.

    globs: only those that set a tensor with such a name. Raises WvcError for one that none of the commits has.
    """
    graph = Graph(repository)
    with behind_dashes(repository, "log", revisions):
        spans = [span(repository, text) for text in revisions]
    starts = [id for wanted, _ in spans for id in wanted]
    if everything:
        starts += [id for ref, id in repository.refs.items() if not ref.startswith(names.TASKS)]
    graph.check(starts)
    unwanted = graph.ancestors(id for _, left_out in spans for id in left_out)
    nodes = graph.ordered(graph.ancestors(starts) - unwanted)
    found = _touching(repository, list(nodes), globs, number) if globs else _with_parents(nodes, unwanted, number)
    refs, known = history.refs_by_commit(repository), scores.by_commit(repository)
    return [
        Entry(node, lines, refs.get(node.id, ()), scores.validation(known.get(node.id, []))) for node, lines in found
    ]


def _with_parents(
    nodes: Iterator[Node], unwanted: Container[str], number: int | None
) -> Iterator[tuple[Node, list[str]]]:
    for node in islice(nodes, number):
        yield node, [parent for parent, _ in node.parents if parent not in unwanted]


def _touching(
    repository: Repository, nodes: Sequence[Node], globs: Sequence[str], number: int | None
) -> list[tuple[Node, list[str]]]:
    """Lines lead over what is left out to the next commits that are shown."""
    contents = Contents(repository)
    if nodes:
        check(contents.names(nodes), globs)
    found = list(islice(filter(Touching(contents, globs), contents.along(nodes)), number))
    below = nearest(nodes, {node.id for node in found})
    return [(node, below[node.id]) for node in found]


def render(entries: Sequence[Entry], current: str, *, graph: bool = False, oneline: bool = False) -> str:
    if not graph:
        return ("\n" if oneline else "\n\n").join("\n".join(_text(e, current, oneline=oneline)) for e in entries)
    lines = []
    drawings = draw((entry.node.id, entry.lines) for entry in entries)
    for entry, drawn in zip(entries, drawings, strict=True):
        lines += drawn.beside(_text(entry, current, oneline=oneline) + ([] if oneline else [""]))
    return "\n".join(lines).rstrip()


def _text(entry: Entry, current: str, *, oneline: bool) -> list[str]:
    node, subject = entry.node, console.safe(entry.node.subject)
    refs = decoration(entry.refs, current)
    if oneline:
        return [f"{short(node.id)}{refs} {subject}"]
    facts = [console.safe(node.author), when(node.created)]
    if entry.validation is not None:
        facts.append(f"validation {percent(entry.validation)}")
    shares = [f"{console.safe(share)} of {short(id)}" for id, share in node.parents]
    merged = [" + ".join(shares)] if len(shares) > 1 else []
    return [f"{short(node.id)} {console.safe(node.kind)}{refs}", ", ".join(facts), *merged, f"    {subject}"]
