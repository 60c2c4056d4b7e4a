from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wvc.progress import SILENT
from wvc.tasks import _cache

SHAPE = (5, 3, 4, 4)


class Source:
    """Rows of noise, counting how many were asked for."""

    def __init__(self) -> None:
        self.rows = np.random.RandomState(0).randint(0, 256, SHAPE).astype(np.uint8)
        self.asked = 0

    def __call__(self, i: int) -> np.ndarray:
        self.asked += 1
        return self.rows[i]


def fetch(path: Path | None, source: Callable[[int], np.ndarray]) -> np.ndarray:
    return _cache.array(path, SHAPE, source, SILENT)


@pytest.fixture
def source() -> Source:
    return Source()


def test_an_array_is_made_once_and_then_mapped(tmp_path: Path, source: Source):
    for _ in range(2):
        assert (fetch(tmp_path / "a" / "0.npy", source) == source.rows).all()

    assert source.asked == 5
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["0.npy"]
    assert isinstance(fetch(tmp_path / "a" / "0.npy", source), np.memmap)


def test_writing_into_the_array_leaves_the_file_alone(tmp_path: Path, source: Source):
    fetch(tmp_path / "0.npy", source)[:] = 0

    assert (fetch(tmp_path / "0.npy", source) == source.rows).all()


@pytest.mark.parametrize("damage", ["empty", "short", "flipped", "zeros", "other shape", "a folder"])
def test_a_damaged_file_is_made_again(tmp_path: Path, source: Source, damage: str):
    path = tmp_path / "0.npy"
    fetch(path, source)
    data = path.read_bytes()
    flipped = data[:200] + bytes([data[200] ^ 1]) + data[201:]
    path.unlink()
    if damage == "other shape":
        _cache.array(path, (2, 3, 4, 4), source, SILENT)
    elif damage == "a folder":
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "short": data[:-30], "flipped": flipped, "zeros": bytes(len(data))}[damage])

    assert (fetch(path, source) == source.rows).all()


def test_where_nothing_can_be_written_memory_serves(tmp_path: Path, source: Source):
    (tmp_path / "file").write_text("in the way")

    assert (fetch(tmp_path / "file" / "0.npy", source) == source.rows).all()
    assert (fetch(None, source) == source.rows).all()


def test_an_error_while_decoding_leaves_nothing_behind(tmp_path: Path):
    def broken(i: int) -> np.ndarray:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fetch(tmp_path / "0.npy", broken)
    assert list(tmp_path.iterdir()) == []
