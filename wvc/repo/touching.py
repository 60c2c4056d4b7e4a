"""Which commits set a tensor whose name matches a pattern, as `git log -- PATH` asks of files."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Container, Iterable, Mapping, Sequence

from wvc.errors import WvcError
from wvc.repo.contents import Content, Contents, Layout
from wvc.repo.graph import Node


def matching(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    """Those of `names` that one of `globs` matches, in their order; `*` crosses dots."""
    test = re.compile("|".join(map(fnmatch.translate, globs))).match
    return [name for name in names if test(name)]


def check(names: Iterable[str], globs: Sequence[str]) -> None:
    """Raises WvcError for a glob that matches none of `names`."""
    known = sorted(names)
    for glob in globs:
        if not matching(known, [glob]):
            raise WvcError(f"no tensor is called {glob!r}", _hint(known, glob))


def meant(names: Iterable[str], text: str) -> str | None:
    """The glob for tensors that `text` may mean: itself, or all tensors of the module of this name; None if neither."""
    module, known = text.rstrip(".*"), list(names)
    if text and matching(known, [text]):
        return text
    return f"{module}.*" if any(name.startswith(f"{module}.") for name in known) else None


def _hint(known: Sequence[str], glob: str) -> str:
    """What may have been meant: the tensors of a module, a name that is spelt in nearly the same way."""
    module = meant(known, glob)
    if module:
        return f"for all tensors of a module: {module!r}"
    near = difflib.get_close_matches(glob, known, n=3, cutoff=0.4)
    if near:
        return "did you mean " + " or ".join(map(repr, near)) + "?"
    return f"there are {', '.join(known[:3])} ..." if known else "there are no tensors"


class Touching:
    """Tells whether a commit set, or removed, a tensor whose name one of `globs` matches.

    A commit sets what it has in common with none of the parents that its weights were made of. One without such
    parents sets all that it has.
    """

    def __init__(self, contents: Contents, globs: Sequence[str]) -> None:
        self._contents, self._globs = contents, globs
        self._matching: dict[int, tuple[Layout, list[str]]] = {}

    def __call__(self, node: Node) -> bool:
        own = self._contents[node.id]
        parents = [self._contents[id] for id in node.sources]
        if any(parent.equals(own) for parent in parents):
            return False
        if not parents:
            return bool(self._names(own))
        names = dict.fromkeys(name for content in (own, *parents) for name in self._names(content))
        return any(not any(own.agrees(parent, name) for parent in parents) for name in names)

    def _names(self, content: Content) -> list[str]:
        layout = content.layout
        if id(layout) not in self._matching:  # it is kept as well: the id of what is gone may come again
            self._matching[id(layout)] = (layout, matching(layout.places, self._globs))
        return self._matching[id(layout)][1]


def nearest(nodes: Sequence[Node], shown: Container[str]) -> Mapping[str, list[str]]:
    """For each of `nodes`, in which children come before their parents: the next ones below it that are `shown`."""
    below: dict[str, list[str]] = {}
    for node in reversed(nodes):
        found: dict[str, None] = {}
        for parent, _ in node.parents:
            if parent in shown:
                found[parent] = None
            else:
                found.update(dict.fromkeys(below.get(parent, ())))
        below[node.id] = list(found)
    return below
