"""MNIST's four files, read strictly: what a header says is believed only where the file bears it out."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wvc.errors import TaskProblem
from wvc.repo.safefile import open_regular
from wvc.tasks._shelves import unreadable

SIDE = 28
CLASSES = 10
PARTS = {"train": 60_000, "t10k": 10_000}  # the most images that each part may have
PLACES = (".", "MNIST/raw")  # torchvision keeps them in the second
BYTES = b"\x00\x00\x08"  # the magic number says: unsigned bytes, then how many dimensions
HINT = "give a folder with MNIST's train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, plain or .gz"


def read(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (n, 28, 28) and labels (n,) of 0 to 9: those for training, then those for testing.

    folder: has the four files, plain or as .gz, or has them in MNIST/raw. Raises TaskProblem and BadFile.
    """
    images, labels = zip(*(_part(folder, part, most) for part, most in PARTS.items()), strict=True)
    return np.concatenate(images), np.concatenate(labels).astype(np.int64)


def _part(folder: Path, part: str, most: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    images = _array(_found(folder, f"{part}-images-idx3-ubyte"), (most, SIDE, SIDE))
    path = _found(folder, f"{part}-labels-idx1-ubyte")
    labels = _array(path, (most,))
    if len(images) != len(labels):
        raise TaskProblem(f"{path}: has {len(labels)} labels for {len(images)} images", HINT)
    if labels.size and labels.max() >= CLASSES:
        raise TaskProblem(f"{path}: has the label {labels.max()}, but digits are 0 to 9", HINT)
    return images, labels


def _found(folder: Path, name: str) -> Path:
    for path in (folder / place / (name + end) for place in PLACES for end in ("", ".gz")):
        if path.exists():
            return path
    raise TaskProblem(f"{folder}: has no file {name}", HINT)


def _array(path: Path, largest: tuple[int, ...]) -> NDArray[np.uint8]:
    """The bytes of an IDX file: as many items as `largest` has at most, each of just the shape that it says."""
    start = 4 + 4 * len(largest)
    data = _bytes(path, start + math.prod(largest) + 1)
    if len(data) < start or data[:4] != BYTES + bytes([len(largest)]):
        raise TaskProblem(f"{path}: is no IDX file of bytes in {len(largest)} dimensions", HINT)
    shape = tuple(int(n) for n in np.frombuffer(data[4:start], ">u4"))
    if shape[0] > largest[0] or shape[1:] != largest[1:]:
        raise TaskProblem(f"{path}: claims to be {_spelled(shape)}, at most {_spelled(largest)} expected", HINT)
    if len(data) != start + math.prod(shape):
        longer = "longer" if len(data) > start + math.prod(shape) else "shorter"
        raise TaskProblem(f"{path}: is {longer} than the {_spelled(shape)} that it claims to be", HINT)
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _bytes(path: Path, most: int) -> bytes:
    """The first `most` bytes of a file, inflated where its name ends in .gz."""
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            if path.suffix != ".gz":
                return file.read(most)
            with gzip.GzipFile(fileobj=file) as packed:
                return packed.read(most)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise TaskProblem(f"{path}: not a gzip file that can be read: {error}", HINT) from None
        except OSError as error:
            raise unreadable(path, error) from None


def _spelled(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
