"""Tiny datasets."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NAMES = [f"{domain}/{label}/{i}.png" for domain in ("ink", "oil") for label in ("cat", "dog") for i in range(3)]


def _draw(path: Path, seed: int, size: tuple[int, int] = (6, 6)) -> None:
    pixels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def draw() -> Callable[..., None]:
    """Function (path, seed, size=(6, 6)) that leaves an image of noise there."""
    return _draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two domains, two classes, three images of 6x6 pixels each."""
    for seed, name in enumerate(NAMES):
        _draw(tmp_path / "pets" / name, seed)
    return tmp_path / "pets"


@pytest.fixture
def packed() -> Callable[..., Path]:
    """Function (folder, mode="w") that packs a folder, itself the top, and returns the tar."""

    def pack(folder: Path, mode: str = "w") -> Path:
        path = folder.with_suffix(".tar")
        with tarfile.open(path, mode) as tar:
            tar.add(folder, folder.name)
        return path

    return pack
