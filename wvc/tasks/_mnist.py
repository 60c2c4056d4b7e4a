"""MNIST as DomainBed has it: turned by angles, or in colours that mislead.

DomainBed shuffles the digits with the seed of the run, so that its data depend on the run. Here one fixed permutation
and fixed draws serve every run: a task is the same data for all who train on it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wvc.errors import TaskProblem, WvcWarning
from wvc.store.canonical import Json, digest, dumps
from wvc.tasks import Pixels, Task, _idx
from wvc.tasks._idx import SIDE

COMPLETE = sum(_idx.PARTS.values())
ANGLES = (0, 15, 30, 45, 60, 75)
DISAGREEMENT: Mapping[str, float] = {"+90%": 0.1, "+80%": 0.2, "-90%": 0.9}
LABEL_NOISE = 0.25

Rows = tuple[NDArray[np.int64], ...]  # by domain, in the images' order


@dataclass(frozen=True)
class Origin:
    """dataset: DomainBed's name. name: of the task. path: where MNIST is. cache: folder for decoded arrays, or None."""

    dataset: str
    name: str
    path: Path
    cache: Path | None


def rotated(origin: Origin) -> Task:
    """RotatedMNIST: ten digits, turned counter-clockwise by 0 to 75 degrees. Raises TaskProblem, BadFile."""
    images, digits, rows = _dealt(origin, len(ANGLES))
    labels = tuple(digits[own] for own in rows)
    files = tuple([f"{row:05}" for row in own] for own in rows)
    classes = tuple(str(digit) for digit in range(_idx.CLASSES))
    domains = tuple(str(angle) for angle in ANGLES)
    return _task(origin, domains, classes, labels, _print(images, domains, labels, rows, files), _Turned(images, rows))


def colored(origin: Origin) -> Task:
    """ColoredMNIST: is the digit below 5? Raises TaskProblem, BadFile.

    A quarter of the labels are wrong. The colour is the label, but for a share of the images that is the domain's:
    what holds in training domains is turned round in the last (Arjovsky et al., Invariant risk minimization, 2019).
    """
    images, digits, rows = _dealt(origin, len(DISAGREEMENT))
    domains = tuple(DISAGREEMENT)
    drawn = [_drawn(domain, digits[own]) for domain, own in zip(domains, rows, strict=True)]
    labels, colours = tuple(label for label, _ in drawn), tuple(colour for _, colour in drawn)
    files = tuple([f"{row:05}-{c}" for row, c in zip(*pair, strict=True)] for pair in zip(rows, colours, strict=True))
    fingerprint = _print(images, domains, labels, rows, files)
    return _task(origin, domains, ("0", "1"), labels, fingerprint, _Coloured(images, rows, colours))


@dataclass(frozen=True)
class _Turned:
    """Pixels of grey digits. images: (n, 28, 28)."""

    images: NDArray[np.uint8]
    rows: Rows

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        upright = Image.fromarray(self.images[self.rows[domain][index]])
        return _resized(upright.rotate(ANGLES[domain], Image.Resampling.BILINEAR, fillcolor=0), size)[np.newaxis]


@dataclass(frozen=True)
class _Coloured:
    """Pixels of digits in channel 0 or 1, the other one black. images: (n, 28, 28); colours: as the rows."""

    images: NDArray[np.uint8]
    rows: Rows
    colours: Rows

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        made = np.zeros((2, size, size), np.uint8)
        grey = Image.fromarray(self.images[self.rows[domain][index]])
        made[self.colours[domain][index]] = _resized(grey, size)
        return made


def _dealt(origin: Origin, count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], Rows]:
    """Images, digits and the rows of each domain: after one fixed shuffle, image i goes to domain i modulo `count`."""
    images, digits = _idx.read(origin.path)
    if len(images) != COMPLETE:
        message = f"{origin.dataset}: MNIST has {len(images):,} images, {COMPLETE:,} expected"
        warnings.warn(message, WvcWarning, stacklevel=2)
    order = np.random.RandomState(0).permutation(len(images)).astype(np.int64)
    return images, digits, tuple(order[k::count] for k in range(count))


def _drawn(domain: str, digits: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels and colours, 0 or 1, of the digits of a domain: two draws for each, from a generator of the domain's."""
    random = np.random.RandomState(int(digest(f"ColoredMNIST {domain}".encode())[:8], 16))
    noise, disagreement = random.random_sample((2, len(digits)))
    labels = (digits < 5) ^ (noise < LABEL_NOISE)
    colours = labels ^ (disagreement < DISAGREEMENT[domain])
    return labels.astype(np.int64), colours.astype(np.int64)


def _task(
    origin: Origin, domains: tuple[str, ...], classes: tuple[str, ...], labels: Rows, fingerprint: str, pixels: Pixels
) -> Task:
    for domain, own in zip(domains, labels, strict=True):
        if missing := set(range(len(classes))) - set(own.tolist()):
            least = classes[min(missing)]
            raise TaskProblem(f"{origin.dataset}: domain {domain!r} has no image of class {least}", _idx.HINT)
    return Task(
        name=origin.name,
        kind="domainbed",
        classes=classes,
        domains=domains,
        labels=labels,
        fingerprint=fingerprint,
        own_size=SIDE,
        channels=1 if isinstance(pixels, _Turned) else 2,
        augmentation="none",
        pixels=pixels,
        cache=origin.cache,
    )


def _print(
    images: NDArray[np.uint8], domains: Sequence[str], labels: Rows, rows: Rows, files: Sequence[Sequence[str]]
) -> str:
    """The fingerprint, as for files, over MNIST's own pixels: interpolation may differ between versions of Pillow.

    The angle stands in the domain's name, the digit's number (and its colour) in the file's.
    """
    listed: list[Json] = [
        [domains[d], str(labels[d][i]), files[d][i], digest(images[row].tobytes())]
        for d, own in enumerate(rows)
        for i, row in enumerate(own)
    ]
    return digest(dumps(sorted(listed)))


def _resized(image: Image.Image, size: int) -> NDArray[np.uint8]:
    return np.asarray(image if size == SIDE else image.resize((size, size), Image.Resampling.BILINEAR))
