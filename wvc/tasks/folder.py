"""Images in folders: domain/class/image or class/image, in a folder or a tar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wvc.errors import TaskProblem
from wvc.progress import Progress
from wvc.store.canonical import Json, digest, dumps
from wvc.tasks import Task, _decode, _index
from wvc.tasks._index import EMPTY, Facts, Index
from wvc.tasks._layout import Entry, arrange
from wvc.tasks._shelves import Shelf, Stamp, opened, unreadable
from wvc.tasks._threads import in_order


def load(name: str, path: Path | None, parameters: Mapping[str, Json], cache: Path | None, progress: Progress) -> Task:
    """The task in the folder or tar `path`; images are sorted by class and file name.

    parameters: `layout` is "domain/class" or "class", by default the depth decides.
    Raises TaskProblem where the data cannot be used.
    """
    if path is None:
        raise TaskProblem(f"task {name!r} needs a folder or tar with images", "name it: `wvc task add NAME DATA`")
    if unknown := set(parameters) - {"layout"}:
        raise TaskProblem(f"images in folders have no option {min(unknown)!r}", "their only option is layout")
    layout = str(parameters["layout"]) if "layout" in parameters else None
    source = _Source(path, opened(path))
    place = None if cache is None else _index.place(cache, path, str(layout))
    index = EMPTY if place is None else _index.read(place)
    entries, facts = source.examined(layout, index, name, progress)
    if place is not None and index != Index(source.shelf.stamp, facts):
        _index.write(place, Index(source.shelf.stamp, facts))
    by_domain = {domain: tuple(group) for domain, group in groupby(entries, key=lambda entry: entry.domain)}
    classes = {label: i for i, label in enumerate(sorted({entry.label for entry in entries}))}
    return Task(
        name=name,
        kind="folder",
        classes=tuple(classes),
        domains=tuple(by_domain),
        labels=tuple(np.array([classes[e.label] for e in group], np.int64) for group in by_domain.values()),
        fingerprint=_fingerprint(entries, facts),
        own_size=_own_size(facts[entry.path] for entry in entries),
        channels=3,
        augmentation="domainbed",
        pixels=_Images(source, tuple(by_domain.values()), facts),
        cache=cache,
        parameters=dict(parameters),
    )


@dataclass(frozen=True)
class _Source:
    """Where the files are. path: as the user named it, for messages."""

    path: Path
    shelf: Shelf

    def examined(
        self, layout: str | None, index: Index, name: str, progress: Progress
    ) -> tuple[list[Entry], dict[str, Facts]]:
        """The images in order, and the facts about them: from `index` where the file has not changed since."""
        known = index.facts if index.stamp == self.shelf.stamp else {}
        is_same_tar = bool(known) and self.shelf.stamp is not None
        stamps = {path: facts.stamp for path, facts in known.items()} if is_same_tar else self.shelf.files()
        try:
            entries = arrange(stamps, layout)
        except TaskProblem as error:
            raise TaskProblem(f"{self.path}: {error.message}", error.hint) from None
        facts = {e.path: known[e.path] for e in entries if e.path in known and known[e.path].stamp == stamps[e.path]}
        news = [(entry, stamps[entry.path]) for entry in entries if entry.path not in facts]
        return entries, facts | self._facts(news, name, progress)

    def _facts(self, news: Sequence[tuple[Entry, Stamp]], name: str, progress: Progress) -> dict[str, Facts]:
        progress.start(f"reading {name}", len(news), "images")
        facts = {}
        try:
            for (entry, _), found in zip(news, in_order(self._examine, news), strict=True):
                facts[entry.path] = found
                progress.advance()
        finally:
            progress.stop()
        return facts

    def _examine(self, new: tuple[Entry, Stamp]) -> Facts:
        entry, stamp = new
        data = self.read(entry, stamp)
        try:
            width, height = _decode.size(data)
        except ValueError as error:
            raise self.broken(entry, error) from None
        return Facts(stamp, digest(data), width, height)

    def read(self, entry: Entry, stamp: Stamp) -> bytes:
        try:
            return self.shelf.read(entry.path, stamp)
        except OSError as error:
            raise unreadable(self.path / entry.path, error) from None

    def broken(self, entry: Entry, error: ValueError) -> TaskProblem:
        where = f"{entry.domain}/{entry.label}/{entry.file}"
        return TaskProblem(f"{self.path}: {where} cannot be decoded: {error}", "replace the file or remove it")


@dataclass(frozen=True)
class _Images:
    """Pixels of the files, which must still be what they were when the task was loaded."""

    source: _Source
    entries: tuple[tuple[Entry, ...], ...]  # by domain
    facts: Mapping[str, Facts]

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        entry = self.entries[domain][index]
        facts = self.facts[entry.path]
        data = self.source.read(entry, facts.stamp)
        if digest(data) != facts.digest:
            raise TaskProblem(f"{self.source.path}: {entry.path} was changed meanwhile", "run the command again")
        try:
            return _decode.pixels(data, size)
        except ValueError as error:
            raise self.source.broken(entry, error) from None


def _fingerprint(entries: Iterable[Entry], facts: Mapping[str, Facts]) -> str:
    """SHA-256 over the sorted (domain, class, file name, SHA-256 of the file): equal for a folder and its tar."""
    return digest(dumps(sorted([e.domain, e.label, e.file, facts[e.path].digest] for e in entries)))


def _own_size(facts: Iterable[Facts]) -> int | None:
    """The side that all images share, or None."""
    sizes = {(fact.width, fact.height) for fact in facts}
    ((width, height), *others) = sizes
    return width if width == height and not others else None
