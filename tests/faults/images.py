"""What a disk may hold after a power cut, from what a program changed and when it asked for durability.

The model is that of ALICE (Pillai et al., All file systems are not created equal, OSDI 2014): what was written to a
file is safe once the file was synced, a name (made, linked, renamed, removed) once its folder was; syncing a file does
not save its name. Anything else may be on the disk or not, whatever came after it, and of a write the second half or
all may be zeros. A rename happens or does not.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .calls import Change

WHOLE, HALF, ZEROS = 0, 1, 2
NEVER = 1 << 60
NAMING = "cdlru"
Files = Mapping[str, bytes | None]  # by path; None for a folder


@dataclass
class Node:
    """A file, or a folder if `entries` is not None."""

    data: bytearray = field(default_factory=bytearray)
    entries: dict[str, int] | None = None

    def copy(self) -> Node:
        return Node(bytearray(self.data), None if self.entries is None else dict(self.entries))


@dataclass(frozen=True)
class Tree:
    """Files and folders below `root`, by a number for each."""

    root: int
    nodes: Mapping[int, Node]


def tree(folder: Path) -> Tree:
    """What lies in `folder`; inodes are the numbers."""
    nodes = {}
    for above, folders, names in os.walk(folder):
        entries = {name: (Path(above) / name).lstat().st_ino for name in (*folders, *names)}
        nodes[Path(above).stat().st_ino] = Node(entries=entries)
        nodes |= {entries[name]: Node(bytearray((Path(above) / name).read_bytes())) for name in names}
    return Tree(folder.stat().st_ino, nodes)


def own(start: Tree, changes: Sequence[Change]) -> list[Change]:
    """The changes to what lies in `start`, and marks. A number that is given to a new file becomes a new number."""
    numbers = {node: node for node in start.nodes}
    fresh = itertools.count(1 << 62)
    found = []
    for change in changes:
        if change.kind in "cd":
            numbers[change.node] = next(fresh)
        if change.kind not in "m" + NAMING + "wtas":
            raise ValueError(f"a change that is not understood: {change}")
        places = (change.folder, change.other)[: 2 if change.kind == "r" else 1] if change.kind in NAMING else ()
        nodes = () if change.kind in "mu" else (change.node,)
        if all(number in numbers for number in (*places, *nodes)):
            node, folder, other = (numbers.get(number, 0) for number in (change.node, change.folder, change.other))
            found.append(replace(change, node=node, folder=folder, other=other))
    return found


@dataclass(frozen=True)
class Image:
    """A disk after a power cut.

    kept: numbers of the changes that reached it. torn: one of them that did so in part, and how, or None.
    cut: how many changes had been made by then.
    """

    cut: int
    kept: frozenset[int]
    torn: tuple[int, int] | None = None


def content(start: Tree, changes: Sequence[Change], image: Image) -> Files:
    """The files and folders of the image."""
    nodes: dict[int, Node] = {}

    def node(number: int) -> Node:
        if number not in nodes:
            nodes[number] = start.nodes[number].copy() if number in start.nodes else Node()
        return nodes[number]

    for at in sorted(image.kept):
        part = image.torn[1] if image.torn is not None and image.torn[0] == at else WHOLE
        _apply(changes[at], part, node)
    return dict(_walk("", start.root, lambda number: nodes.get(number) or start.nodes.get(number) or Node()))


def replayed(start: Tree, changes: Sequence[Change]) -> Files:
    """The files and folders after all of the changes."""
    return content(start, changes, Image(len(changes), frozenset(range(len(changes)))))


def listing(folder: Path) -> Files:
    """The files and folders below `folder`."""
    return content(tree(folder), [], Image(0, frozenset()))


def _apply(change: Change, part: int, node: Callable[[int], Node]) -> None:
    """One change, made to what there is, which may not be what there was."""
    if change.kind in NAMING:
        _rename(change, _entries(node(change.folder)), node)
    elif change.kind == "w":
        _write(node(change.node).data, change.offset, change.data, part)
    elif change.kind in "ta":
        _resize(node(change.node).data, change.offset, shrink=change.kind == "t")


def _rename(change: Change, here: dict[str, int], node: Callable[[int], Node]) -> None:
    if change.kind == "d":
        _entries(node(change.node))
    if change.kind in "cdl":
        here[change.name] = change.node
    else:
        here.pop(change.name, None)
    if change.kind == "r":
        _entries(node(change.other))[change.other_name] = change.node


def _entries(folder: Node) -> dict[str, int]:
    if folder.entries is None:
        folder.entries = {}
    return folder.entries


def _write(data: bytearray, offset: int, new: bytes, part: int) -> None:
    safe = {WHOLE: len(new), HALF: len(new) // 2, ZEROS: 0}[part]
    _resize(data, offset + len(new), shrink=False)
    data[offset : offset + len(new)] = new[:safe] + bytes(len(new) - safe)


def _resize(data: bytearray, size: int, *, shrink: bool) -> None:
    if shrink:
        del data[size:]
    data.extend(bytes(max(0, size - len(data))))


def _walk(path: str, number: int, node: Callable[[int], Node]) -> Iterator[tuple[str, bytes | None]]:
    for name, below in _entries(node(number)).items():
        if node(below).entries is None:
            yield path + name, bytes(node(below).data)
        else:
            yield path + name, None
            yield from _walk(f"{path}{name}/", below, node)


def saved_at(changes: Sequence[Change]) -> list[int]:
    """For each change, the number of the sync after which it is safe; NEVER if there is none."""
    synced: dict[int, list[int]] = {}
    for at, change in enumerate(changes):
        if change.kind == "s":
            synced.setdefault(change.node, []).append(at)
    found = []
    for at, change in enumerate(changes):
        where = change.other if change.kind == "r" else change.folder if change.kind in NAMING else change.node
        found.append(next((later for later in synced.get(where, []) if later > at), NEVER))
    return found


def images(changes: Sequence[Change], *, pairs: int = 0) -> Iterator[Image]:
    """The disks that a power cut may leave, at every moment; where nothing is safe or all is, there is but one.

    With each change that is not safe: everything but it; nothing but it; it alone in part; at last, nothing of them.
    pairs: how many random choices of several changes there are besides, at each moment.
    """
    saved = saved_at(changes)
    numbers = random.Random(0)
    for cut in range(len(changes) + 1):
        made = frozenset(at for at in range(cut) if changes[at].kind not in "sm")
        safe = frozenset(at for at in made if saved[at] < cut)
        loose = sorted(made - safe)
        yield Image(cut, made)
        yield Image(cut, safe)
        for at in loose:
            yield Image(cut, made - {at})
            yield Image(cut, safe | {at})
            if changes[at].kind == "w":
                yield from (Image(cut, made, (at, part)) for part in (HALF, ZEROS))
        for _ in range(pairs if len(loose) > 2 else 0):
            yield Image(cut, safe | frozenset(at for at in loose if numbers.random() < 0.5))
