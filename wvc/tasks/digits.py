"""Handwritten digits (scikit-learn's, bundled), with rotations as domains.

1797 images of 8x8 pixels, enlarged to 16x16, then rotated about their centre. Every image belongs to one domain only,
so that none is trained on at one angle and tested on at another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from wvc.errors import TaskProblem
from wvc.progress import Progress
from wvc.store.canonical import Json, digest, dumps
from wvc.tasks import Task

SIDE = 16
SOURCE = 900  # the first images of the permutation are for foundation models, the other 897 for tasks
ROTATIONS = (0, 15, 30, 45, 60, 75)
FEWEST = 20  # images a domain


def load(name: str, path: Path | None, parameters: Mapping[str, Json], cache: Path | None, progress: Progress) -> Task:
    """The task whose domains are rotations of disjoint sets of digits.

    parameters: `rotations` in degrees, counter-clockwise, as a list or as text with commas; `pool` is "target" or
    "source", which share no image. The pool is cut into equal blocks in order, one a rotation; what is left is unused.
    Raises TaskProblem where the parameters make no sense.
    """
    if path is not None:
        raise TaskProblem("the digits are bundled and need no folder", "leave the path out")
    if unknown := set(parameters) - {"rotations", "pool"}:
        raise TaskProblem(f"digits have no option {min(unknown)!r}", "their options are rotations and pool")
    rotations = _rotations(parameters.get("rotations", list(ROTATIONS)))
    pool = parameters.get("pool", "target")
    images, labels = _digits()
    blocks = _blocks(len(images), pool, len(rotations))
    domains = tuple(str(angle) for angle in rotations)
    return Task(
        name=name,
        kind="digits",
        classes=tuple(str(digit) for digit in range(10)),
        domains=domains,
        labels=tuple(labels[block] for block in blocks),
        fingerprint=_fingerprint(images, labels, domains, blocks),
        own_size=SIDE,
        channels=1,
        augmentation="none",
        pixels=_Rotated(images, rotations, blocks),
        cache=cache,
        parameters={"rotations": list(rotations), "pool": pool},
    )


@dataclass(frozen=True)
class _Rotated:
    """Pixels of digits, each turned as its domain says. images: (1797, 8, 8); blocks: indices by domain."""

    images: NDArray[np.uint8]
    rotations: tuple[int, ...]
    blocks: tuple[NDArray[np.int64], ...]

    def __call__(self, domain: int, index: int, size: int) -> NDArray[np.uint8]:
        small = Image.fromarray(self.images[self.blocks[domain][index]])
        image = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        image = image.rotate(self.rotations[domain], Image.Resampling.BILINEAR, fillcolor=0)
        if size != SIDE:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image)[np.newaxis]


def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (1797, 8, 8), their values 0 to 16 stretched to 0 to 255, and labels (1797,)."""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target.astype(np.int64)


def _rotations(given: Json) -> tuple[int, ...]:
    """Angles from [0, 15], "0,15" or 15."""
    parts = given.split(",") if isinstance(given, str) else given if isinstance(given, Sequence) else [given]
    try:
        angles = tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        raise TaskProblem(f"rotations must be whole degrees, not {given!r}", "such as rotations=0,15,-30") from None
    if not angles or len(set(angles)) != len(angles) or max(abs(angle) for angle in angles) >= 360:
        raise TaskProblem(f"rotations must differ and lie within a full turn: {given!r}", "such as rotations=0,15,-30")
    return angles


def _blocks(n: int, pool: Json, count: int) -> tuple[NDArray[np.int64], ...]:
    """Indices of the images of each of `count` domains; disjoint, of equal length."""
    order = np.random.RandomState(0).permutation(n).astype(np.int64)
    pools = {"source": order[:SOURCE], "target": order[SOURCE:]}
    if pool not in pools:
        raise TaskProblem(f"unknown pool of digits {pool!r}", "the pools are target and source")
    length = len(pools[pool]) // count
    if length < FEWEST:
        raise TaskProblem(f"{count} rotations leave {length} digits each", f"name at most {len(pools[pool]) // FEWEST}")
    return tuple(pools[pool][i * length : (i + 1) * length] for i in range(count))


def _fingerprint(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    domains: Sequence[str],
    blocks: Sequence[NDArray[np.int64]],
) -> str:
    """As for files, over the unrotated digits: interpolation may differ between versions of Pillow.

    The angle stands in the domain's name, the digit's number in the file's.
    """
    rows = [
        [domain, str(labels[i]), f"{i:04}", digest(images[i].tobytes())]
        for domain, block in zip(domains, blocks, strict=True)
        for i in block
    ]
    return digest(dumps(sorted(rows)))
