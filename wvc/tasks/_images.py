"""A task from image files in a folder or tar: found, examined once, decoded on demand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wvc.errors import TaskProblem
from wvc.progress import Progress
from wvc.store.canonical import digest, dumps
from wvc.tasks import Task, _decode, _index
from wvc.tasks._index import EMPTY, Facts, Index
from wvc.tasks._layout import Entry, arrange, check_classes
from wvc.tasks._shelves import Shelf, Stamp, opened, unreadable
from wvc.tasks._threads import in_order


@dataclass(frozen=True)
class Source:
    """What to take from where.

    name: of the task. path: a folder or tar; None where the user named none.
    layout: "domain/class" or "class", None to let the depth decide.
    without: images to leave out, as domain/class/file under their NFC names.
    """

    name: str
    path: Path | None
    layout: str | None = None
    without: AbstractSet[str] = frozenset()


def gathered(source: Source, cache: Path | None, progress: Progress) -> Task:
    """The images of `source`, sorted by domain, class and file name, as a task of kind "folder" without parameters.

    Raises TaskProblem where the data cannot be used.
    """
    if source.path is None:
        hint = f"name it: `wvc task add {source.name} DATA`"
        raise TaskProblem(f"task {source.name!r} needs a folder or tar with images", hint)
    files = _Files(source.path, opened(source.path))
    place = None if cache is None else _index.place(cache, source.path, str(source.layout))
    index = EMPTY if place is None else _index.read(place)
    found, facts = files.examined(source, index, progress)
    if place is not None and index != Index(files.shelf.stamp, facts):
        _index.write(place, Index(files.shelf.stamp, facts))
    entries = _without(found, source)
    by_domain = {domain: tuple(group) for domain, group in groupby(entries, key=lambda entry: entry.domain)}
    classes = {label: i for i, label in enumerate(sorted({entry.label for entry in entries}))}
    return Task(
        name=source.name,
        kind="folder",
        classes=tuple(classes),
        domains=tuple(by_domain),
        labels=tuple(np.array([classes[e.label] for e in group], np.int64) for group in by_domain.values()),
        fingerprint=_fingerprint(entries, facts),
        own_size=_own_size(facts[entry.path] for entry in entries),
        channels=3,
        augmentation="domainbed",
        pixels=_Images(files, tuple(by_domain.values()), facts),
        cache=cache,
    )


def _without(entries: list[Entry], source: Source) -> list[Entry]:
    """The entries that are not left out. Raises TaskProblem where a class or everything is gone with those."""
    if not source.without:
        return entries
    kept = [entry for entry in entries if entry.place not in source.without]
    if not kept:
        raise TaskProblem(f"{source.path}: every image is on the list of those to leave out", "give another list")
    check_classes(kept)
    return kept


@dataclass(frozen=True)
class _Files:
    """Where the files are. path: as the user named it, for messages."""

    path: Path
    shelf: Shelf

    def examined(self, source: Source, index: Index, progress: Progress) -> tuple[list[Entry], dict[str, Facts]]:
        """The images in order, and the facts about them: from `index` where the file has not changed since."""
        known = index.facts if index.stamp == self.shelf.stamp else {}
        is_same_tar = bool(known) and self.shelf.stamp is not None
        stamps = {path: facts.stamp for path, facts in known.items()} if is_same_tar else self.shelf.files()
        try:
            entries = arrange(stamps, source.layout)
        except TaskProblem as error:
            raise TaskProblem(f"{self.path}: {error.message}", error.hint) from None
        facts = {e.path: known[e.path] for e in entries if e.path in known and known[e.path].stamp == stamps[e.path]}
        news = [(entry, stamps[entry.path]) for entry in entries if entry.path not in facts]
        return entries, facts | self._facts(news, source.name, progress)

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
        return TaskProblem(f"{self.path}: {entry.place} cannot be decoded: {error}", "replace the file or remove it")


@dataclass(frozen=True)
class _Images:
    """Pixels of the files, which must still be what they were when the task was loaded."""

    files: _Files
    entries: tuple[tuple[Entry, ...], ...]  # by domain
    facts: Mapping[str, Facts]

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        entry = self.entries[domain][index]
        facts = self.facts[entry.path]
        data = self.files.read(entry, facts.stamp)
        if digest(data) != facts.digest:
            raise TaskProblem(f"{self.files.path}: {entry.path} was changed meanwhile", "run the command again")
        try:
            return _decode.pixels(data, size)
        except ValueError as error:
            raise self.files.broken(entry, error) from None


def _fingerprint(entries: Iterable[Entry], facts: Mapping[str, Facts]) -> str:
    """SHA-256 over the sorted (domain, class, file name, SHA-256 of the file): equal for a folder and its tar."""
    return digest(dumps(sorted([e.domain, e.label, e.file, facts[e.path].digest] for e in entries)))


def _own_size(facts: Iterable[Facts]) -> int | None:
    """The side that all images share, or None."""
    sizes = {(fact.width, fact.height) for fact in facts}
    ((width, height), *others) = sizes
    return width if width == height and not others else None
