"""Which commit last set each tensor of a model, and how much of that commit's change the tensor is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from wvc.progress import SILENT, Progress
from wvc.repo import diff
from wvc.repo.contents import Contents
from wvc.repo.diff import Change
from wvc.repo.graph import Graph, Node
from wvc.repo.objects import Manifest, Tensor
from wvc.repo.repository import Repository
from wvc.repo.touching import check, matching
from wvc.store.header import size_of


@dataclass(frozen=True)
class Line:
    """One tensor and the commit that last set it.

    change: what the commit did to it, None where that was not measured or the commit has no source.
    share: of the squared L2 norm of all that the commit changed, in [0, 1]; None where there is nothing to subtract.
    """

    tensor: Tensor
    commit: Node
    change: Change | None = None
    share: float | None = None

    @property
    def layer(self) -> str:
        """The module that the tensor belongs to."""
        return diff.layer_of(self.tensor.name)

    @property
    def bytes(self) -> int:
        """How many bytes the tensor has, uncompressed."""
        return size_of(self.tensor.dtype, self.tensor.shape)


@dataclass(frozen=True)
class Total:
    """Everything that a commit changed in its source, the first parent that its weights were made of.

    tensors: how many of them were changed, added or removed.
    numbers, changed: how many numbers the tensors of the same shape in both have, and how many of those differ.
    l2: norm of the difference; relative: l2 over the norm of what was changed (inf where that is 0).
    """

    commit: Node
    source: str
    tensors: int
    numbers: int
    changed: int
    l2: float
    relative: float


def blame(repository: Repository, start: str, globs: Sequence[str] = ()) -> list[Line]:
    """For each tensor of the commit `start` that one of `globs` matches, the commit that set it; sorted by name.

    A tensor that a source has too comes from that source, from the first one if several have it. No tensor is read.
    Raises WvcError for a glob that matches nothing, MissingObject, CorruptObject.
    """
    graph, contents = Graph(repository), Contents(repository)
    graph.check([start])
    content = contents[start]
    names = [tensor.name for tensor in content.tensors()]
    check(names, globs)
    wanted = set(matching(names, globs) if globs else names)
    found = _setters(graph, contents, start, wanted)
    return [Line(tensor, found[tensor.name]) for tensor in content.tensors() if tensor.name in wanted]


def _setters(graph: Graph, contents: Contents, start: str, names: set[str]) -> Mapping[str, Node]:
    """Name -> the commit that set it. Children come before their parents, so each commit is looked at once."""
    found: dict[str, Node] = {}
    asked = {start: names}
    for node in contents.along(graph.ordered(graph.ancestors([start]))):
        left = asked.pop(node.id, set())
        for source in node.sources if left else ():
            graph.check([source])
            own, before = contents[node.id], contents[source]
            same = left if own.equals(before) else {name for name in left if own.agrees(before, name)}
            asked.setdefault(source, set()).update(same)
            left = left - same
        found.update(dict.fromkeys(left, node))
        if len(found) == len(names):
            break
    return found


def measure(
    repository: Repository, lines: Sequence[Line], progress: Progress = SILENT
) -> tuple[list[Line], list[Total]]:
    """`lines` with change and share, and the total of each of their commits that has a source, the largest first.

    Reads all tensors that one of these commits changed, in chunks. Raises as `Repository.tensor` does.
    """
    commits = {line.commit.id: line.commit for line in lines if line.commit.sources}
    pairs = [
        (node, _manifest(repository, node.sources[0]), _manifest(repository, node.id)) for node in commits.values()
    ]
    sizes = (size_of(t.dtype, t.shape) for _, _, after in pairs for t in after.tensors)
    progress.start("comparing", sum(sizes), "B")
    changes: dict[str, dict[str, Change]] = {}
    for node, before, after in pairs:
        found = diff.diff(repository, before, after, _Part(progress))
        changes[node.id] = {change.name: change for change in found}
    progress.stop()
    totals = {id: _total(commits[id], list(found.values())) for id, found in changes.items()}
    measured = [_measured(line, changes.get(line.commit.id, {}), totals.get(line.commit.id)) for line in lines]
    return measured, sorted(totals.values(), key=lambda total: -total.l2)


def _manifest(repository: Repository, id: str) -> Manifest:
    return repository.manifest(repository.commit(id))


def _total(commit: Node, changes: Sequence[Change]) -> Total:
    compared = [change for change in changes if change.l2 is not None and change.changed is not None]
    l2 = math.hypot(*(change.l2 or 0.0 for change in compared))
    before = math.hypot(*(_before(change) for change in compared))
    return Total(
        commit,
        commit.sources[0],
        len(changes),
        sum(change.numbers for change in compared),
        sum(change.changed or 0 for change in compared),
        l2,
        l2 / before if before else math.inf if l2 else 0.0,
    )


def _before(change: Change) -> float:
    """Norm of the old tensor, as far as its relative change tells it."""
    return change.l2 / change.relative if change.l2 and change.relative else 0.0


def _measured(line: Line, changes: Mapping[str, Change], total: Total | None) -> Line:
    change = changes.get(line.tensor.name)
    if change is None or change.l2 is None or not total or not total.l2:
        return replace(line, change=change)
    return replace(line, change=change, share=(change.l2 / total.l2) ** 2)


class _Part:
    """A piece of a larger piece of work, whose bar it moves on."""

    def __init__(self, whole: Progress) -> None:
        self._whole = whole

    def start(self, title: str, total: int, unit: str = "") -> None:
        pass

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._whole.advance(amount, note)

    def stop(self) -> None:
        pass
