"""Tiny datasets."""

from __future__ import annotations

import struct
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


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """MNIST's four files with 300 images: 240 for training and 60 for testing, each digit 30 times."""
    random = np.random.RandomState(7)
    digits = random.permutation(np.arange(300) % 10).astype(np.uint8)
    images = random.randint(0, 256, (300, 28, 28)).astype(np.uint8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, rows in {"train": slice(240), "t10k": slice(240, None)}.items():
        n = len(digits[rows])
        write_idx(folder / f"{part}-images-idx3-ubyte", (n, 28, 28), images[rows].tobytes())
        write_idx(folder / f"{part}-labels-idx1-ubyte", (n,), digits[rows].tobytes())
    return folder


def write_idx(path: Path, shape: tuple[int, ...], body: bytes, magic: int | None = None) -> None:
    """An IDX file whose header says `shape`, whatever `body` is."""
    first = 0x0800 + len(shape) if magic is None else magic
    path.write_bytes(struct.pack(f">{1 + len(shape)}I", first, *shape) + body)


DOMAINS = {
    "PACS": ("art_painting", "cartoon", "photo", "sketch"),
    "VLCS": ("Caltech101", "LabelMe", "SUN09", "VOC2007"),
    "OfficeHome": ("Art", "Clipart", "Product", "Real World"),
    "TerraIncognita": ("location_100", "location_38", "location_43", "location_46"),
    "DomainNet": ("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
}
CLASSES = {"PACS": 7, "VLCS": 5, "OfficeHome": 65, "TerraIncognita": 10, "DomainNet": 345}


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[[str], Path]:
    """Function (dataset) that makes a folder with its domains and classes, one image each, and returns it."""

    def make(dataset: str) -> Path:
        for d, domain in enumerate(DOMAINS[dataset]):
            for c in range(CLASSES[dataset]):
                _draw(tmp_path / dataset / domain / f"class{c:03}" / "0.png", 1000 * d + c)
        return tmp_path / dataset

    return make
