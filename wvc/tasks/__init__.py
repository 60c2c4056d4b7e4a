"""Kinds of datasets: a task has domains, classes, labels and a way to get its pixels.

A file behind this door is a kind, with `load(name, path, parameters, cache, progress) -> Task`. Kinds differ in how
they find images and in their `Pixels`; keeping decoded arrays is done here, for all of them. A kind that cannot do
without a path says `NEEDS_DATA = True`. One with parameters that name files of this machine says which, as in
`LOCAL = ("duplicates",)`. One that knows datasets by name says how the papers train on them: `BENCHMARKS`, by the
parameter `dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wvc import plugins
from wvc.errors import TaskProblem
from wvc.progress import SILENT, Progress
from wvc.repo.objects import TaskDescription
from wvc.store.canonical import Json
from wvc.tasks import _cache

__all__ = ["Benchmark", "Pixels", "Task", "benchmark", "kinds", "load", "local_parameters", "needs_data", "parse_kind"]

DOOR = "wvc.tasks"


class Pixels(Protocol):
    """How a kind gets the pixels of one image. Called from several threads at once."""

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        """Image `index` of `domain` as (channels, size, size). Raises TaskProblem where it cannot be decoded."""
        ...


@dataclass(frozen=True)
class Benchmark:
    """How the papers train on a dataset of DomainBed (protocols of DiWA and SWAD).

    dataset: its name there, which the seeds of runs rest on, whatever the user calls the task.
    steps: optimizer steps; DomainBed counts from 0 and evaluates at the last, so they end in 1.
    evaluate_every: steps between evaluations on the validation images.
    tolerance: SWAD's tolerance ratio, the share by which the validation loss may exceed its minimum; not negative.
    """

    dataset: str
    steps: int = 5001
    evaluate_every: int = 100
    tolerance: float = 0.3


@dataclass(frozen=True, eq=False)
class Task:
    """A dataset to train and evaluate on.

    name: the user's; kind: the file behind the door.
    labels: per domain the class index of each image, in the images' order.
    fingerprint: 64 hexadecimal digits; equal data have equal ones, wherever they lie.
    own_size: side in pixels if all images are square and share one size, else None.
    channels: 3 (RGB), 2 (red and green) or 1.
    augmentation: of training images, "domainbed" or "none".
    pixels: where the images come from.
    cache: folder for decoded arrays, or None to keep them in memory only.
    parameters: what the kind was given, as numbers, text or lists.
    local: parameters that name files of this machine; never part of the description.
    benchmark: the protocol of the dataset, or None where it is not a known one.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    labels: tuple[NDArray[np.int64], ...]
    fingerprint: str
    own_size: int | None
    channels: int
    augmentation: str
    pixels: Pixels
    cache: Path | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    local: Mapping[str, str] = field(default_factory=dict)
    benchmark: Benchmark | None = None
    _kept: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict, init=False, repr=False)

    def images(self, domain: int, size: int, progress: Progress = SILENT) -> NDArray[np.uint8]:
        """All images of a domain as (n, channels, size, size), resized bilinearly without crop; decoded once.

        Raises TaskProblem where an image cannot be decoded. Treat the array as read-only.
        """
        if (domain, size) not in self._kept:
            path = None if self.cache is None else self.cache / self.fingerprint / f"{domain}-{size}.npy"
            shape = (len(self.labels[domain]), self.channels, size, size)
            progress.start(f"decoding {self.name}/{self.domains[domain]}", shape[0], "images")
            try:
                kept = _cache.array(path, shape, lambda i: self.pixels(domain, i, size), progress)
            finally:
                progress.stop()
            self._kept[domain, size] = kept
        return self._kept[domain, size]

    def description(self) -> TaskDescription:
        """What others may know of it."""
        counts = tuple((domain, len(labels)) for domain, labels in zip(self.domains, self.labels, strict=True))
        return TaskDescription(
            name=self.name,
            kind=self.kind,
            domains=counts,
            classes=self.classes,
            fingerprint=self.fingerprint,
            parameters=self.parameters,
        )

    def limit(self, n: int) -> Task:
        """The same task with at most `n` images a domain, each class in turn giving its next one. For smoke runs.

        Fingerprint and parameters stay, the counts in the description do not; decoded images stay in memory.
        """
        chosen = tuple(_in_turns(labels)[:n] for labels in self.labels)
        chosen = tuple(np.sort(rows) for rows in chosen)
        labels = tuple(labels[rows] for labels, rows in zip(self.labels, chosen, strict=True))
        return replace(self, labels=labels, pixels=_Chosen(self.pixels, chosen), cache=None)


@dataclass(frozen=True)
class _Chosen:
    """Some of the images of another source: per domain, their indices there."""

    pixels: Pixels
    rows: tuple[NDArray[np.int64], ...]

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        return self.pixels(domain, int(self.rows[domain][index]), size)


class _Kind(Protocol):
    """What a file behind the door offers."""

    def load(
        self, name: str, path: Path | None, parameters: Mapping[str, Json], cache: Path | None, progress: Progress
    ) -> Task: ...


def kinds() -> list[str]:
    """Names of the kinds, sorted."""
    return plugins.names(DOOR)


def parse_kind(text: str) -> tuple[str, dict[str, Json]]:
    """Kind and parameters of "digits" or "domainbed:PACS": what follows the colon is the parameter `dataset`."""
    kind, _, dataset = text.partition(":")
    return kind, {"dataset": dataset} if dataset else {}


def needs_data(kind: str) -> bool:
    """True if a task of this kind cannot be loaded without a path. Raises TaskProblem where the kind is unknown."""
    return bool(getattr(_kind(kind), "NEEDS_DATA", False))


def local_parameters(kind: str) -> frozenset[str]:
    """Parameters that name files of this machine, so that nobody else may choose them. Raises TaskProblem, as above."""
    return frozenset(getattr(_kind(kind), "LOCAL", ()))


def benchmark(kind: str, parameters: Mapping[str, Json]) -> Benchmark | None:
    """The protocol of a dataset that the kind knows by name, without its data. Raises TaskProblem, as above."""
    known: Mapping[str, Benchmark] = getattr(_kind(kind), "BENCHMARKS", {})
    return known.get(str(parameters.get("dataset")))


def load(
    kind: str,
    name: str,
    path: Path | None,
    parameters: Mapping[str, Json],
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> Task:
    """The task `name` of a kind. Raises TaskProblem where the kind is unknown or the data cannot be used.

    path: where the data are, or None for kinds that bring their own.
    parameters: as the kind understands them; numbers and lists may come as text.
    cache: folder for decoded arrays and for what is known of files.
    """
    return _kind(kind).load(name, path, parameters, cache, progress)


def _kind(kind: str) -> _Kind:
    if kind not in kinds():
        raise TaskProblem(f"unknown kind of task {kind!r}", f"the kinds are {', '.join(kinds())}")
    return cast(_Kind, plugins.load(DOOR, kind))


def _in_turns(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the first image of each class, then the second of each, and so on."""
    rank = np.zeros_like(labels)
    for label in np.unique(labels):
        rank[labels == label] = np.arange(np.count_nonzero(labels == label))
    return np.lexsort((labels, rank)).astype(np.int64)
